"""A population of fully connected nets trained on one transfer set, each member by its own objective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import distillation_loss, hard_target_loss
from repro.models.mlp import BatchedMLP
from repro.training.compute import Compute
from repro.training.random_streams import BatchSampler, Dropout, random_translations
from repro.training.recipe import Recipe
from repro.training.trainer import LabelledData, Trainer


@dataclass(frozen=True)
class TransferSet:
    """What nets are trained on. Pixels in 0 .. 1; ``teacher`` holds the teacher's logits for each case."""

    images: Float[Tensor, "case pixel"]
    labels: Int[Tensor, "case"]
    teacher: Float[Tensor, "case classes"] | None = None


@dataclass(frozen=True)
class MemberSpec:
    """What sets one net of a population apart: its seed, its objective, and its share of the cases."""

    seed: int
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    cases: Int[Tensor, "case"] | None = None


class MLPTrainer(Trainer[BatchedMLP]):
    """One population on its way through one recipe."""

    def __init__(
        self,
        sizes: Sequence[int],
        members: Sequence[MemberSpec],
        transfer: TransferSet,
        recipe: Recipe,
        compute: Compute,
        checkpoint: Path | None = None,
        validation: LabelledData | None = None,
    ):
        """``validation``, where given, is watched at every snapshot for early stopping.

        Raises:
            ValueError: members differ in their number of cases, for they take one step together; or a
                member wants soft targets and there is no teacher.
        """
        device = compute.device
        everything = torch.arange(len(transfer.labels))
        cases = [everything if member.cases is None else member.cases for member in members]
        if len({len(c) for c in cases}) != 1:
            raise ValueError("the members of a population must have the same number of cases")
        # One order serves all members that share their seed and their cases: then one batch does, too.
        shared = len({member.seed for member in members}) == 1 and all(torch.equal(c, cases[0]) for c in cases)
        self.orders = [
            BatchSampler(member.seed, own, recipe.batch_size)
            for member, own in list(zip(members, cases, strict=True))[: 1 if shared else None]
        ]
        images = transfer.images.to(device, compute.dtype)
        self.images = translations(images, recipe.max_translation) if recipe.max_translation else images
        self.labels = transfer.labels.to(device)
        self.teacher = None if transfer.teacher is None else transfer.teacher.to(device)
        self.temperature = torch.tensor([member.temperature for member in members], device=device)
        self.hard_label_weight = torch.tensor([member.hard_label_weight for member in members], device=device)
        if self.teacher is None and bool((self.hard_label_weight != 1).any()):
            raise ValueError("soft targets need a teacher's logits")
        population = BatchedMLP(sizes, [member.seed for member in members], compute.dtype).to(device)
        super().__init__(population, recipe, len(cases[0]), checkpoint, validation)

    def losses(self, step: int) -> Float[Tensor, "models"]:
        """Section 2's objective where there is a teacher, hard targets where there is none."""
        images, labels, teacher = self.batch(step)
        noise = None
        if self.recipe.input_dropout or self.recipe.hidden_dropout:
            noise = Dropout(self.net.seeds, step, self.recipe.input_dropout, self.recipe.hidden_dropout, images.device)
        logits = self.net(images, noise)
        if teacher is None:
            return hard_target_loss(logits, labels)
        return distillation_loss(logits, teacher, labels, self.temperature, self.hard_label_weight)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images, labels and teacher's logits of a step, all taken by the same indices."""
        picked = torch.stack([order.indices(step) for order in self.orders]).to(self.labels.device)
        if self.recipe.max_translation:
            offsets = [random_translations(o.seed, step, o.batch, self.recipe.max_translation) for o in self.orders]
            rows, columns = (torch.stack(part).to(picked.device) for part in zip(*offsets, strict=True))
            images = self.images[picked, rows, columns].flatten(-2)
        else:
            images = self.images[picked]
        return images, self.labels[picked], None if self.teacher is None else self.teacher[picked]


def translations(images: Float[Tensor, "case pixel"], pixels: int) -> Tensor:
    """All translations by up to ``pixels`` as one view, (case, row offset, column offset, row, column).

    Square images are padded with zeros; the view costs no memory beyond the padding, and indexing it by
    case and offsets gives translated images.
    """
    side = math.isqrt(images.shape[-1])
    padded = torch.nn.functional.pad(images.view(-1, side, side), (pixels,) * 4)
    return padded.unfold(1, side, 1).unfold(2, side, 1)
