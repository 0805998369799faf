"""The training loop that every experiment shares: steps, snapshots, early stopping, checkpoints on the way.

No function here takes a test set. Whoever wants to know the test error of a run asks for snapshots and
evaluates them outside; nothing flows back.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.engine import files
from repro.models.base import ModelType
from repro.training.recipe import Recipe

CHECKPOINT_SECONDS = 5.0


@runtime_checkable
class LabelledData(Protocol):
    """Cases with labels: what early stopping watches."""

    @property
    def images(self) -> Tensor:
        """What the nets are shown."""

    @property
    def labels(self) -> Int[Tensor, "case"]:
        """What they should say."""


@dataclass(frozen=True)
class Snapshot(Generic[ModelType]):
    """Nets during training, to look at; ``loss`` is the mean since the last snapshot."""

    step: int
    epoch: float
    net: ModelType
    loss: Float[Tensor, "models"]


class Trainer(Generic[ModelType]):
    """One net, or one population, on its way through one recipe; goes on from ``checkpoint`` where there is one.

    What is trained on what is for the subclass to say: ``losses`` gives the loss of each net at a step.
    """

    def __init__(
        self,
        net: ModelType,
        recipe: Recipe,
        cases: int,
        checkpoint: Path | None = None,
        validation: LabelledData | None = None,
    ):
        """``cases`` are seen in a pass. ``validation``, where given, is watched at every snapshot for early
        stopping."""
        self.net, self.recipe, self.cases, self.checkpoint = net, recipe, cases, checkpoint
        self.steps = recipe.steps(cases)
        self.parameters = list(net.parameters())
        self.optimizer = recipe.make_optimizer(self.parameters)
        self.step = 0
        self.history: list[Any] = []
        self.validation = validation
        if validation is not None:
            self.best = {name: value.clone() for name, value in net.state_dict().items()}
            self.best_errors = torch.full((len(net),), len(validation.labels) + 1)
            self.best_step = torch.zeros(len(net), dtype=torch.long)
            self.errors_seen = self.best_errors  # at the last snapshot
        self._losses = torch.zeros(len(net), device=self.parameters[0].device)
        self._losses_over = 0
        self._unimproved, self._seconds = 0, 0.0
        self._saved_at, self._save_took = time.monotonic(), 0.0
        self._resume()

    def losses(self, step: int) -> Float[Tensor, "models"]:
        """The loss of each net on the batch of a step."""
        raise NotImplementedError

    def run(self, snapshots: int = 1, on_step: Callable[[], None] | None = None) -> Iterator[Snapshot[ModelType]]:
        """Train to the end, pausing ``snapshots`` times at equal distances, the last time at the end.

        The caller may add to ``history`` at each snapshot: it is kept in checkpoints.

        Args:
            snapshots: how often to pause.
            on_step: called after each step.
        """
        started = time.monotonic() - self._seconds
        pauses = {math.ceil(self.steps * (k + 1) / snapshots) for k in range(snapshots)}
        while self.step < self.steps:
            self._train_step()
            self._seconds = time.monotonic() - started
            if on_step:
                on_step()
            if self.step in pauses:
                stop = self._watch_validation()
                yield self._snapshot()
                if stop:
                    return
            if self.step < self.steps and self._checkpoint_due():
                self.save()

    def _checkpoint_due(self) -> bool:
        """Every few seconds, but never so often that writing takes more than a twentieth of the time."""
        return time.monotonic() - self._saved_at > max(CHECKPOINT_SECONDS, 20 * self._save_took)

    def _train_step(self) -> None:
        """Forward, backward, update, constraint."""
        loss = self.losses(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step, self.steps)
        self.optimizer.step()
        if self.recipe.max_norm is not None:
            self.net.clip_weight_norms(self.recipe.max_norm)
        self._losses += loss.detach()
        self._losses_over += 1
        self.step += 1

    def _snapshot(self) -> Snapshot[ModelType]:
        loss = self._losses / max(self._losses_over, 1)
        self._losses, self._losses_over = torch.zeros_like(loss), 0
        return Snapshot(self.step, self.step * self.recipe.batch_size / self.cases, self.net, loss)

    def _watch_validation(self) -> bool:
        """Keep each net's weights where its validation errors were fewest; true when it is time to stop."""
        if self.validation is None:
            return False
        errors = self.errors_seen = self.validation_errors(self.validation)
        better = errors < self.best_errors
        self.best_errors = torch.where(better, errors, self.best_errors)
        self.best_step = torch.where(better, self.step, self.best_step)
        for name, value in self.net.state_dict().items():
            self.best[name][better] = value[better]
        self._unimproved = 0 if bool(better.any()) else self._unimproved + 1
        return self.recipe.patience is not None and self._unimproved >= self.recipe.patience

    def validation_errors(self, cases: LabelledData) -> Int[Tensor, "models"]:
        """How many validation cases each net has wrong."""
        return (self.net.logits(cases.images).argmax(-1) != cases.labels).sum(-1)

    @property
    def seconds(self) -> float:
        """Wall time spent so far, that of earlier sittings included."""
        return self._seconds

    def best_net(self) -> ModelType:
        """The nets as early stopping leaves them, each at its own best snapshot on validation."""
        best = copy.deepcopy(self.net)
        best.load_state_dict(self.best)
        return best

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if self.checkpoint is None:
            return
        start = time.monotonic()
        counts = [self.step, self._losses_over, self._unimproved, self._seconds]
        files.save_tensors(self.checkpoint, self._tensors(), {"counts": counts, "history": self.history})
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - start

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        try:
            tensors, state = files.load_tensors(self.checkpoint)
        except files.CorruptFile as damage:
            files.quarantine(self.checkpoint, f"{damage}; this run starts again")
            return
        for name, target in self._tensors().items():
            target.copy_(tensors[name])
        self.step, self._losses_over, self._unimproved, self._seconds = state["counts"]
        self.history = state["history"]

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that changes while training, by name; the tensors themselves, not copies."""
        tensors = {f"weights.{name}": value for name, value in self.net.state_dict().items()}
        for number, parameter in enumerate(self.parameters):
            state = self.optimizer.state[parameter]
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        tensors |= {"losses": self._losses}
        if self.validation is not None:
            tensors |= {f"best.{name}": value for name, value in self.best.items()}
            tensors |= {"best_errors": self.best_errors, "best_step": self.best_step}
        return tensors
