"""The training loop that every experiment shares: steps, snapshots, selection of the best weights, checkpoints.

No function here takes a test set. A caller that wants the test error of a run asks for snapshots and evaluates
them outside; nothing flows back. Training always runs to its last step: "early stopping" in this project is the
selection, afterwards, of the snapshot with the fewest validation errors.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.engine import files
from repro.models.base import ModelType
from repro.training.compute import Compute
from repro.training.recipe import Recipe

if TYPE_CHECKING:
    from repro.training.fused_update import FusedUpdate

CHECKPOINT_SECONDS = 5.0
AVERAGING_STEPS = 16  # steps between two averaged weights


@runtime_checkable
class LabelledData(Protocol):
    """Examples with labels, such as the validation set by which the best snapshot is selected."""

    @property
    def images(self) -> Tensor:
        """Inputs of the models, one row per example."""

    @property
    def labels(self) -> Int[Tensor, "example"]:
        """True classes."""


@dataclass(frozen=True)
class Snapshot(Generic[ModelType]):
    """The model during training; ``loss`` is the mean training loss in nats since the previous snapshot."""

    step: int
    epoch: float
    net: ModelType
    loss: Float[Tensor, "model"]


@dataclass(frozen=True, kw_only=True)
class TrainerContext:
    """Settings and resources that every trainer takes.

    Attributes:
        recipe: hyperparameters of the training run.
        compute: device and precision.
        checkpoint: file that training resumes from, and is saved to on the way; default: no checkpoints.
        validation: examples on which every snapshot is evaluated to select the best one; default: no selection.
    """

    recipe: Recipe
    compute: Compute
    checkpoint: Path | None = None
    validation: LabelledData | None = None


class Trainer(Generic[ModelType]):
    """Train one model, or several side by side, by one recipe; resume from the checkpoint if there is one.

    A subclass defines the objective: ``losses`` returns the loss of each model at a step. It may set ``fused`` after
    the start, which then updates the weights that it has copies of.
    """

    fused: "FusedUpdate | None" = None

    def __init__(self, net: ModelType, num_examples: int, context: TrainerContext):
        """Create the optimizer and resume from the checkpoint if there is one.

        Args:
            net: the model, on the device where it is trained.
            num_examples: examples in an epoch.
            context: recipe, device, checkpoint and validation set.
        """
        recipe, validation = context.recipe, context.validation
        self.net, self.recipe, self.num_examples, self.checkpoint = net, recipe, num_examples, context.checkpoint
        self.steps = recipe.steps(num_examples)
        self.parameters = list(net.parameters())
        self.optimizer = recipe.make_optimizer(self.parameters)
        self.step = 0
        self.history: list[Any] = []
        self.validation = validation
        if validation is not None:
            self.best = {name: value.clone() for name, value in net.state_dict().items()}
            self.best_errors = torch.full((len(net),), len(validation.labels) + 1)
            self.best_step = torch.zeros(len(net), dtype=torch.long)
            self.errors_seen = self.best_errors  # those of the last snapshot
        averaged = self.parameters if recipe.weight_averaging_fraction else []
        self.average = [torch.zeros_like(parameter) for parameter in averaged]
        self._losses = torch.zeros(len(net), device=self.parameters[0].device)
        self._losses_over = 0
        self._seconds = 0.0
        self._saved_at, self._save_took = time.monotonic(), 0.0
        self._resume()

    def losses(self, step: int) -> Float[Tensor, "model"]:
        """Return the loss of each model on the batch of a step, in nats."""
        raise NotImplementedError

    def run(self, snapshots: int = 1, on_step: Callable[[], None] | None = None) -> Iterator[Snapshot[ModelType]]:
        """Train to the last step and yield ``snapshots`` snapshots, evenly spaced, the last one at the end.

        The caller may add to ``history`` at each snapshot; checkpoints hold it.

        Args:
            snapshots: number of snapshots. Default: 1, at the end.
            on_step: function called after each step. Default: none.
        """
        started = time.monotonic() - self._seconds
        pauses = {math.ceil(self.steps * (k + 1) / snapshots) for k in range(snapshots)}
        while self.step < self.steps:
            self._train_step()
            if self.step in pauses and self._losses.is_cuda:
                torch.cuda.synchronize(self._losses.device)  # the time of the steps is to include their kernels
            self._seconds = time.monotonic() - started
            if on_step:
                on_step()
            if self.step in pauses:
                self._select_best()
                yield self._snapshot()
            if self.step < self.steps and self._checkpoint_due():
                self.save()

    def _checkpoint_due(self) -> bool:
        """Return whether it is time to save: every few seconds, in at most a twentieth of the time."""
        return time.monotonic() - self._saved_at > max(CHECKPOINT_SECONDS, 20 * self._save_took)

    def _train_step(self) -> None:
        """Take one step: forward, backward, update, bound on the weight norms."""
        loss = self.losses(self.step)
        self.optimizer.rate = self.recipe.rate(self.step, self.steps)
        self._update(loss)
        self._end_step()

    def _update(self, loss: Float[Tensor, "model"]) -> None:
        """Update the weights by the gradient of the loss."""
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.optimizer.momentum = self.recipe.momentum_at(self.step, self.steps)
        self.optimizer.step()
        if self.fused is not None:
            self.fused.step()
        elif self.recipe.max_norm is not None:
            self.net.clip_weight_norms(self.recipe.max_norm)
        self._losses += loss.detach()

    @torch.no_grad()
    def _end_step(self) -> None:
        """Count the step and average the weights if the recipe averages; the last weights become the average."""
        self._losses_over += 1
        self.step += 1
        first = math.ceil((1 - self.recipe.weight_averaging_fraction) * self.steps)
        if not self.average or self.step < first or (self.steps - self.step) % AVERAGING_STEPS:
            return
        count = 1 + (self.step - first) // AVERAGING_STEPS
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.lerp_(parameter, 1 / count)
            if self.step == self.steps:
                parameter.copy_(average)

    def _snapshot(self) -> Snapshot[ModelType]:
        loss = self._losses / max(self._losses_over, 1)
        self._losses.zero_()  # in place, because CUDA graphs add to it
        self._losses_over = 0
        return Snapshot(self.step, self.step * self.recipe.batch_size / self.num_examples, self.net, loss)

    def _select_best(self) -> None:
        """Copy the weights of each model whose validation errors are fewer than ever before."""
        if self.validation is None:
            return
        errors = self.errors_seen = self.validation_errors(self.validation)
        better = errors < self.best_errors
        self.best_errors = torch.where(better, errors, self.best_errors)
        self.best_step = torch.where(better, self.step, self.best_step)
        for name, value in self.net.state_dict().items():
            self.best[name][better] = value[better]

    def validation_errors(self, examples: LabelledData) -> Int[Tensor, "model"]:
        """Return the number of examples that each model misclassifies."""
        return (self.net.logits(examples.images).argmax(-1) != examples.labels).sum(-1)

    @property
    def seconds(self) -> float:
        """Wall time of training in seconds, that before resuming included."""
        return self._seconds

    def best_net(self) -> ModelType:
        """Return a copy of the model at its best snapshot on validation; side by side, each at its own best.

        The context must have a validation set.
        """
        best = copy.deepcopy(self.net)
        best.load_state_dict(self.best)
        return best

    def save(self) -> None:
        """Write the checkpoint atomically; without a checkpoint file, do nothing."""
        if self.checkpoint is None:
            return
        start = time.monotonic()
        counts = [self.step, self._losses_over, self._seconds]
        files.save_tensors(self.checkpoint, self._tensors(), {"counts": counts, "history": self.history})
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - start

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        try:
            tensors, state = files.load_tensors(self.checkpoint)
        except files.CorruptFile as damage:
            files.quarantine(self.checkpoint, f"{damage}; training restarts")
            return
        for name, target in self._tensors().items():
            target.copy_(tensors[name])
        self.step, self._losses_over, self._seconds = state["counts"]
        self.history = state["history"]

    def _tensors(self) -> dict[str, Tensor]:
        """Return all that changes during training, by name: the tensors themselves, not copies."""
        tensors = {f"weights.{name}": value for name, value in self.net.state_dict().items()}
        for number, state in enumerate(self.optimizer.state):
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        tensors |= {f"average.{number}": average for number, average in enumerate(self.average)}
        tensors |= {"losses": self._losses}
        if self.validation is not None:
            tensors |= {f"best.{name}": value for name, value in self.best.items()}
            tensors |= {"best_errors": self.best_errors, "best_step": self.best_step}
        return tensors
