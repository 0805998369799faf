"""Training of a batched MLP on one transfer set, each member on its own objective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import distillation_loss, hard_target_loss
from repro.models.mlp import BatchedMLP
from repro.training.random_streams import BatchSampler, Dropout, random_translations
from repro.training.trainer import Trainer, TrainerContext


@dataclass(frozen=True)
class TransferSet:
    """The transfer set: images with pixels in 0 .. 1, labels, and the teacher's logits for each example."""

    images: Float[Tensor, "example pixel"]
    labels: Int[Tensor, "example"]
    teacher: Float[Tensor, "example class"] | None = None


@dataclass(frozen=True)
class MemberSpec:
    """Seed, objective and training examples of one member of a ``BatchedMLP``.

    Attributes:
        seed: seed of initial weights, data order, translations and dropout.
        temperature: T of the soft targets. Default: 1.
        hard_label_weight: w in (1 - w) T^2 KL + w CE. Default: 1, hard targets alone.
        examples: indices of the training examples. Default: all.
    """

    seed: int
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    examples: Int[Tensor, "example"] | None = None


class MLPTrainer(Trainer[BatchedMLP]):
    """Train the members of a ``BatchedMLP`` side by side by one recipe."""

    def __init__(
        self, *, sizes: Sequence[int], members: Sequence[MemberSpec], transfer: TransferSet, context: TrainerContext
    ):
        """Create the members and resume from the checkpoint if there is one.

        Args:
            sizes: units of every layer, inputs first, classes last.
            members: one specification for each member.
            transfer: images, labels and soft targets of all members.
            context: recipe, device, checkpoint and validation set.

        Raises:
            ValueError: members differ in their number of examples, though they take each step together; or a
                member needs soft targets and there is no teacher.
        """
        recipe, compute = context.recipe, context.compute
        device = compute.device
        everything = torch.arange(len(transfer.labels))
        examples = [everything if member.examples is None else member.examples for member in members]
        if len({len(indices) for indices in examples}) != 1:
            raise ValueError("the members of a population must have the same number of examples")
        # Members that share their seed and their examples share the sampler, too: one batch then serves them all.
        shared = len({member.seed for member in members}) == 1 and all(torch.equal(e, examples[0]) for e in examples)
        self.samplers = [
            BatchSampler(member.seed, indices, recipe.batch_size)
            for member, indices in list(zip(members, examples, strict=True))[: 1 if shared else None]
        ]
        images = transfer.images.to(device, compute.dtype)
        self.images = translations(images, recipe.max_translation) if recipe.max_translation else images
        self.labels = transfer.labels.to(device)
        self.teacher = None if transfer.teacher is None else transfer.teacher.to(device)
        self.temperature = torch.tensor([member.temperature for member in members], device=device)
        self.hard_label_weight = torch.tensor([member.hard_label_weight for member in members], device=device)
        if self.teacher is None and bool((self.hard_label_weight != 1).any()):
            raise ValueError("soft targets need a teacher's logits")
        net = BatchedMLP(sizes, [member.seed for member in members], compute.dtype).to(device)
        super().__init__(net, len(examples[0]), context)

    def losses(self, step: int) -> Float[Tensor, "model"]:
        """Return section 2's objective of each member; without a teacher, the loss on hard targets."""
        images, labels, teacher = self.batch(step)
        dropout = None
        if self.recipe.input_dropout or self.recipe.hidden_dropout:
            dropout = Dropout(
                self.net.seeds, step, self.recipe.input_dropout, self.recipe.hidden_dropout, images.device
            )
        logits = self.net(images, dropout)
        if teacher is None:
            return hard_target_loss(logits, labels)
        return distillation_loss(logits, teacher, labels, self.temperature, self.hard_label_weight)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images, labels and teacher's logits of a step, all taken by the same indices.

        Their leading axes are (sampler, batch); a single sampler serves all members.
        """
        indices = torch.stack([sampler.indices(step) for sampler in self.samplers]).to(self.labels.device)
        pixels = self.recipe.max_translation
        if pixels:
            offsets = [random_translations(s.seed, step, s.batch_size, pixels) for s in self.samplers]
            rows, columns = (torch.stack(part).to(indices.device) for part in zip(*offsets, strict=True))
            images = self.images[indices, rows, columns].flatten(-2)
        else:
            images = self.images[indices]
        return images, self.labels[indices], None if self.teacher is None else self.teacher[indices]


def translations(images: Float[Tensor, "example pixel"], pixels: int) -> Tensor:
    """Return all translations of square images by up to ``pixels`` as one view.

    Images are padded with zeros; the view costs no memory beyond the padding, and indexing it by example and
    offsets gives translated images.

    Returns:
        A view of shape (example, row offset, column offset, row, column).
    """
    side = math.isqrt(images.shape[-1])
    padded = torch.nn.functional.pad(images.view(-1, side, side), (pixels,) * 4)
    return padded.unfold(1, side, 1).unfold(2, side, 1)
