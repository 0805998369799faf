"""The training loop: one population, one transfer set, checkpoints on the way.

No function here takes a test set. Whoever wants to know the test error of a run asks for snapshots and
evaluates them outside; nothing flows back.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from repro.config import Settings
from repro.core import store
from repro.core.compute import Compute
from repro.core.distill import distillation_loss, hard_target_loss
from repro.core.noise import Noise, Order, jitter_offsets
from repro.core.population import Population

CHECKPOINT_SECONDS = 5.0


class Recipe(Settings):
    """How a net is trained."""

    epochs: float = Field(gt=0, le=10_000, description="passes over the transfer set")
    batch: int = Field(256, ge=1, le=65_536)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0, le=100, allow_inf_nan=False)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(0.0, ge=0, le=1, description="share of the steps in which the rate rises from zero")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd (Nesterov); adamw keeps betas 0.9, 0.999")
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_norm: float | None = Field(None, gt=0, le=1000, description="L2 bound on a hidden unit's incoming weights")
    drop_input: float = Field(0.0, ge=0, le=0.9)
    drop_hidden: float = Field(0.0, ge=0, le=0.9)
    patience: int | None = Field(
        None, ge=1, description="stop when no member got better in so many snapshots; needs a validation set"
    )
    jitter: int = Field(0, ge=0, le=8, description="largest translation in pixels, each way")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 .. steps - 1."""
        rise = self.warmup * steps
        if step < rise:
            return self.learning_rate * (step + 1) / (rise + 1)
        done = (step - rise) / max(steps - rise, 1)
        shape = {"linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done), "constant": 1.0}
        return self.learning_rate * shape[self.schedule]


@dataclass(frozen=True)
class TransferSet:
    """What nets are trained on. Pixels in 0 .. 1; ``teacher`` holds the teacher's logits for each case."""

    images: Float[Tensor, "case pixel"]
    labels: Int[Tensor, "case"]
    teacher: Float[Tensor, "case classes"] | None = None


@dataclass(frozen=True)
class Member:
    """What sets one net of a population apart: its seed, its objective, and its share of the cases."""

    seed: int
    temperature: float = 1.0
    hard_weight: float = 1.0
    cases: Int[Tensor, "case"] | None = None


@dataclass(frozen=True)
class Snapshot:
    """A population during training, to look at; ``loss`` is the mean since the last snapshot."""

    step: int
    epoch: float
    population: Population
    loss: Float[Tensor, "models"]
    last: bool


class Training:
    """One population on its way through one recipe; goes on from ``checkpoint`` where there is one."""

    def __init__(
        self,
        sizes: Sequence[int],
        members: Sequence[Member],
        transfer: TransferSet,
        recipe: Recipe,
        compute: Compute,
        checkpoint: Path | None = None,
        validation: TransferSet | None = None,
    ):
        """``validation``, where given, is watched at every snapshot for early stopping.

        Raises:
            ValueError: members differ in their number of cases, for they take one step together; or a
                member wants soft targets and there is no teacher.
        """
        self.members, self.recipe, self.checkpoint = members, recipe, checkpoint
        device = compute.device
        everything = torch.arange(len(transfer.labels))
        cases = [everything if member.cases is None else member.cases for member in members]
        if len({len(c) for c in cases}) != 1:
            raise ValueError("the members of a population must have the same number of cases")
        # One order serves all members that share their seed and their cases: then one batch does, too.
        shared = len({member.seed for member in members}) == 1 and all(torch.equal(c, cases[0]) for c in cases)
        self.orders = [
            Order(member.seed, own, recipe.batch)
            for member, own in list(zip(members, cases, strict=True))[: 1 if shared else None]
        ]
        self.steps = max(1, round(recipe.epochs * len(cases[0]) / recipe.batch))
        self.population = Population(sizes, [member.seed for member in members], compute.dtype).to(device)
        images = transfer.images.to(device, compute.dtype)
        self.images = jittered(images, recipe.jitter) if recipe.jitter else images
        self.labels = transfer.labels.to(device)
        self.teacher = None if transfer.teacher is None else transfer.teacher.to(device)
        self.temperature = torch.tensor([member.temperature for member in members], device=device)
        self.hard_weight = torch.tensor([member.hard_weight for member in members], device=device)
        if self.teacher is None and bool((self.hard_weight != 1).any()):
            raise ValueError("soft targets need a teacher's logits")
        self.optimiser = _optimiser(recipe, self.population)
        self.step, self.history = 0, []
        self.validation = validation
        if validation is not None:
            self.best = {name: value.clone() for name, value in self.population.state_dict().items()}
            self.best_errors = torch.full((len(members),), len(validation.labels) + 1)
            self.best_step = torch.zeros(len(members), dtype=torch.long)
        self._losses = torch.zeros(len(members), device=device)
        self._losses_over = 0
        self._unimproved, self._seconds = 0, 0.0
        self._saved_at, self._save_took = time.monotonic(), 0.0
        self._resume()

    def run(self, snapshots: int = 1, on_step: Callable[[], None] | None = None) -> Iterator[Snapshot]:
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
                yield self._snapshot(last=stop or self.step == self.steps)
                if stop:
                    return
            if self.step < self.steps and self._checkpoint_due():
                self.save()

    def _checkpoint_due(self) -> bool:
        """Every few seconds, but never so often that writing takes more than a twentieth of the time."""
        return time.monotonic() - self._saved_at > max(CHECKPOINT_SECONDS, 20 * self._save_took)

    def _train_step(self) -> None:
        """Forward, backward, update, constraint."""
        recipe, step = self.recipe, self.step
        images, labels, teacher = self.batch(step)
        noise = None
        if recipe.drop_input or recipe.drop_hidden:
            seeds = self.population.seeds
            noise = Noise(seeds, step, recipe.drop_input, recipe.drop_hidden, images.device)
        logits = self.population(images, noise)
        if teacher is None:
            loss = hard_target_loss(logits, labels)
        else:
            loss = distillation_loss(logits, teacher, labels, self.temperature, self.hard_weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.sum().backward()
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(step, self.steps)
        self.optimiser.step()
        if recipe.max_norm is not None:
            self.population.constrain(recipe.max_norm)
        self._losses += loss.detach()
        self._losses_over += 1
        self.step += 1

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images, labels and teacher's logits of a step, all taken by the same indices."""
        picked = torch.stack([order.indices(step) for order in self.orders]).to(self.labels.device)
        if self.recipe.jitter:
            offsets = [jitter_offsets(o.seed, step, o.batch, self.recipe.jitter) for o in self.orders]
            rows, columns = (torch.stack(part).to(picked.device) for part in zip(*offsets, strict=True))
            images = self.images[picked, rows, columns].flatten(-2)
        else:
            images = self.images[picked]
        return images, self.labels[picked], None if self.teacher is None else self.teacher[picked]

    def _snapshot(self, last: bool) -> Snapshot:
        loss = self._losses / max(self._losses_over, 1)
        self._losses, self._losses_over = torch.zeros_like(loss), 0
        epoch = self.step * self.recipe.batch / len(self.orders[0].cases)
        return Snapshot(self.step, epoch, self.population, loss, last)

    def _watch_validation(self) -> bool:
        """Keep each member's weights where its validation errors were fewest; true when it is time to stop."""
        if self.validation is None:
            return False
        wrong = self.population.logits(self.validation.images).argmax(-1) != self.validation.labels
        errors = wrong.sum(-1)
        better = errors < self.best_errors
        self.best_errors = torch.where(better, errors, self.best_errors)
        self.best_step = torch.where(better, self.step, self.best_step)
        for name, value in self.population.state_dict().items():
            self.best[name][better] = value[better]
        self._unimproved = 0 if bool(better.any()) else self._unimproved + 1
        return self.recipe.patience is not None and self._unimproved >= self.recipe.patience

    @property
    def seconds(self) -> float:
        """Wall time spent so far, that of earlier sittings included."""
        return self._seconds

    def best_population(self) -> Population:
        """The members as early stopping leaves them, each at its own best snapshot on validation."""
        members = copy.deepcopy(self.population)
        members.load_state_dict(self.best)
        return members

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if self.checkpoint is None:
            return
        start = time.monotonic()
        counts = [self.step, self._losses_over, self._unimproved, self._seconds]
        store.save_tensors(self.checkpoint, self._tensors(), {"counts": counts, "history": self.history})
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - start

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        try:
            tensors, state = store.load_tensors(self.checkpoint)
        except store.Damaged as damage:
            store.set_aside(self.checkpoint, f"{damage}; this run starts again")
            return
        for name, target in self._tensors().items():
            target.copy_(tensors[name])
        self.step, self._losses_over, self._unimproved, self._seconds = state["counts"]
        self.history = state["history"]

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that changes while training, by name; the tensors themselves, not copies."""
        tensors = {f"weights.{name}": value for name, value in self.population.state_dict().items()}
        for number, parameter in enumerate(self.population.parameters()):
            state = self.optimiser.state[parameter]
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        tensors |= {"losses": self._losses}
        if self.validation is not None:
            tensors |= {f"best.{name}": value for name, value in self.best.items()}
            tensors |= {"best_errors": self.best_errors, "best_step": self.best_step}
        return tensors


def _optimiser(recipe: Recipe, population: Population) -> torch.optim.Optimizer:
    """The optimiser with its state laid out, so that a checkpoint can be read straight into it."""
    parameters = list(population.parameters())
    options = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "sgd":
        nesterov = recipe.momentum > 0
        optimiser = torch.optim.SGD(parameters, momentum=recipe.momentum, nesterov=nesterov, **options)
        for parameter in parameters:
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimiser
    optimiser = torch.optim.AdamW(parameters, **options)
    for parameter in parameters:
        optimiser.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimiser


def jittered(images: Float[Tensor, "case pixel"], pixels: int) -> Tensor:
    """All translations by up to ``pixels`` as one view, (case, row offset, column offset, row, column).

    Square images are padded with zeros; the view costs no memory beyond the padding, and indexing it by
    case and offsets gives translated images.
    """
    side = math.isqrt(images.shape[-1])
    padded = torch.nn.functional.pad(images.view(-1, side, side), (pixels,) * 4)
    return padded.unfold(1, side, 1).unfold(2, side, 1)
