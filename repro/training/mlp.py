"""Training of a batched MLP on one transfer set, each member on its own objective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import distillation_loss, hard_target_loss
from repro.models.mlp import BatchedMLP
from repro.training.compute import Compute
from repro.training.cuda_graphs import GraphedStep, StepBuffers
from repro.training.optimizers import Optimizer
from repro.training.random_streams import BatchSampler, Dropout, random_translations
from repro.training.trainer import Trainer, TrainerContext

if TYPE_CHECKING:
    from repro.training.fused_update import FusedUpdate


@dataclass(frozen=True)
class TransferSet:
    """The transfer set.

    Attributes:
        images: pixels in 0 .. 1.
        labels: classes.
        teacher: the teacher's logits, (example, class); of several teachers, (teacher, example, class); of one teacher
            on every translation of each image, (example, row offset, column offset, class), from which those of the
            translation that a step draws are taken. Default: none, hard targets alone.
    """

    images: Float[Tensor, "example pixel"]
    labels: Int[Tensor, "example"]
    teacher: Float[Tensor, "... class"] | None = None


@dataclass(frozen=True)
class MemberSpec:
    """Seed, objective, training examples and teacher of one member of a ``BatchedMLP``.

    Attributes:
        seed: seed of initial weights, data order, translations and dropout.
        temperature: T of the soft targets. Default: 1.
        hard_label_weight: w in (1 - w) T^2 KL + w CE. Default: 1, hard targets alone.
        examples: indices of the training examples. Default: all.
        teacher: index of the teacher, if the transfer set has several. Default: the first.
    """

    seed: int
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    examples: Int[Tensor, "example"] | None = None
    teacher: int = 0


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
                member needs soft targets and there is no teacher; or the logits are on translations and the recipe
                translates nothing.
        """
        recipe, compute = context.recipe, context.compute
        device = compute.device
        everything = torch.arange(len(transfer.labels))
        examples = [everything if member.examples is None else member.examples for member in members]
        if len({len(indices) for indices in examples}) != 1:
            raise ValueError("the members of a population must have the same number of examples")
        # Members that share their seed and their examples share the sampler, too. A single one gives one batch for all.
        self.samplers: list[BatchSampler] = []
        sampler_of = [self._sampler(m.seed, e, recipe.batch_size) for m, e in zip(members, examples, strict=True)]
        self._sampler_of = torch.tensor(sampler_of if len(self.samplers) > 1 else [0], device=device)
        images = transfer.images.to(device, compute.dtype)
        self.images = translations(images, recipe.max_translation) if recipe.max_translation else images
        self.labels = transfer.labels.to(device)
        self.teacher = None if transfer.teacher is None else transfer.teacher.to(device)
        self._teacher_of = torch.tensor([[member.teacher] for member in members], device=device)
        self.temperature = torch.tensor([member.temperature for member in members], device=device)
        self.hard_label_weight = torch.tensor([member.hard_label_weight for member in members], device=device)
        if self.teacher is None and bool((self.hard_label_weight != 1).any()):
            raise ValueError("soft targets need a teacher's logits")
        if self.teacher is not None and self.teacher.dim() == 4 and not recipe.max_translation:
            raise ValueError("a teacher's logits on translated images need a recipe that translates images")
        seeds = [member.seed for member in members]
        net = BatchedMLP(sizes, seeds, compute.dtype, initial_weight_sd=recipe.initial_weight_sd).to(device)
        super().__init__(net, len(examples[0]), context)
        self.fused = fused_update(net, self.optimizer, recipe.max_norm, compute)
        self.buffers: StepBuffers | None = None
        if device.type == "cuda":
            self.buffers = StepBuffers(self.samplers, seeds, recipe, self.steps, device)
            self._graphed_step = GraphedStep(self._buffered_step, self.optimizer, device)
            self.optimizer.rate = self.buffers.rate

    def _sampler(self, seed: int, examples: Tensor, batch_size: int) -> int:
        """Return the index of the sampler of a seed and of examples; create it if there is none yet."""
        for index, sampler in enumerate(self.samplers):
            if sampler.seed == seed and (sampler.examples is examples or torch.equal(sampler.examples, examples)):
                return index
        self.samplers.append(BatchSampler(seed, examples, batch_size))
        return len(self.samplers) - 1

    def losses(self, step: int) -> Float[Tensor, "model"]:
        """Return section 2's objective of each member; without a teacher, the loss on hard targets."""
        images, labels, teacher = self.batch(step)
        dropout: Dropout | None = None
        if self.buffers is not None:
            dropout = self.buffers.dropout
        elif self.recipe.input_dropout or self.recipe.hidden_dropout:
            dropout = Dropout(
                self.net.seeds, step, self.recipe.input_dropout, self.recipe.hidden_dropout, images.device
            )
        logits = self.net(images, dropout, self.fused.copies if self.fused else ())
        if teacher is None:
            return hard_target_loss(logits, labels)
        return distillation_loss(logits, teacher, labels, self.temperature, self.hard_label_weight)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images, labels and teacher's logits of a step, all taken by the same indices.

        Their leading axes are (member, batch), or (1, batch) if all members share a sampler.
        """
        indices, offsets = self._draw(step) if self.buffers is None else self.buffers.batch()
        indices, offsets = indices[self._sampler_of], [part[self._sampler_of] for part in offsets]
        if self.recipe.max_translation:
            images = self.images[indices, *offsets].flatten(-2)
        else:
            # Rows are copied whole; an index tensor would do the same number by number.
            images = self.images.index_select(0, indices.flatten()).unflatten(0, indices.shape)
        if self.teacher is None:
            return images, self.labels[indices], None
        if self.teacher.dim() == 3:
            return images, self.labels[indices], self.teacher[self._teacher_of, indices]
        views = offsets if self.teacher.dim() == 4 else ()
        return images, self.labels[indices], self.teacher[indices, *views]

    def _draw(self, step: int) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the example indices of each sampler, and row and column offsets if images are translated."""
        indices = torch.stack([sampler.indices(step) for sampler in self.samplers]).to(self.labels.device)
        pixels = self.recipe.max_translation
        if not pixels:
            return indices, ()
        offsets = [random_translations(s.seed, step, s.batch_size, pixels) for s in self.samplers]
        return indices, [torch.stack(part).to(indices.device) for part in zip(*offsets, strict=True)]

    def _train_step(self) -> None:
        """Take one step, on a GPU by replaying a CUDA graph."""
        if self.buffers is None:
            return super()._train_step()
        self.buffers.seek(self.step)
        self._graphed_step(self.recipe.momentum_at(self.step, self.steps))
        self._end_step()

    def _buffered_step(self) -> None:
        """Take one step with inputs from the buffers alone."""
        assert self.buffers is not None
        self.buffers.set_rate()
        self._update(self.losses(self.step))
        self.buffers.advance()


def fused_update(
    net: BatchedMLP, optimizer: Optimizer, max_norm: float | None, compute: Compute
) -> "FusedUpdate | None":
    """Return updates in one pass over the weights for a network on a CPU; None elsewhere."""
    if compute.device.type != "cpu":
        return None
    from repro.training.fused_update import FusedUpdate  # here, for numba is not needed elsewhere

    return FusedUpdate(net, optimizer, max_norm)


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
