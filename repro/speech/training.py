"""Training of acoustic models on frames, with hard targets or with an ensemble's soft targets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.kd import fused_loss
from repro.kd.fused_loss import SoftTargets
from repro.models.mlp import BatchedMLP
from repro.speech.ensemble_targets import Teacher
from repro.speech.features import INPUTS, Frames, Inputs
from repro.training.compute import Compute
from repro.training.mlp import MemberSpec, fused_update
from repro.training.random_streams import BatchSampler, Stream, generator
from repro.training.trainer import LabelledData, Trainer, TrainerContext

# Logits computed together, and logits handed on together, at evaluation: models times frames times states.
MULTIPLIED, LOOKED_AT = 1 << 25, 1 << 20


@dataclass(frozen=True)
class Watched:
    """Validation frames for early stopping: every ``stride``-th of ``frames``."""

    frames: Frames
    stride: int = 1

    @property
    def images(self) -> Int[Tensor, "frame"]:
        """Indices of the frames."""
        return torch.arange(0, len(self.frames), self.stride)

    @property
    def labels(self) -> Int[Tensor, "frame"]:
        """States of the frames."""
        return self.frames.states[:: self.stride]


class FrameTrainer(Trainer[BatchedMLP]):
    """Trains acoustic models together as one batched MLP; all see the same batches."""

    def __init__(
        self,
        *,
        hidden: Sequence[int],
        members: Sequence[MemberSpec],
        frames: Frames,
        cases: Int[Tensor, "case"],
        states: int,
        order: int,
        context: TrainerContext,
        teacher: Teacher | None = None,
    ):
        """Prepare the frames and resume from the checkpoint if there is one.

        Args:
            hidden: units of the hidden layers.
            members: one specification for each model.
            frames: the training set.
            cases: indices of the frames to train on.
            states: number of classes.
            order: seed of the order of the frames.
            context: recipe, device, checkpoint and, for the selection of the best snapshot, ``Watched`` frames.
            teacher: soft targets. Default: none.

        Raises:
            ValueError: a member needs soft targets and there is no teacher.
        """
        recipe, compute = context.recipe, context.compute
        self.inputs, self.states = Inputs(frames, compute), frames.states.to(compute.device)
        self.order = BatchSampler(order, cases, recipe.batch_size)
        self.teacher = teacher
        self.temperature = tuple(member.temperature for member in members)
        self.hard_label_weight = tuple(member.hard_label_weight for member in members)
        if teacher is None and any(weight != 1 for weight in self.hard_label_weight):
            raise ValueError("soft targets need a teacher")
        if isinstance(context.validation, Watched):
            self.watched = Inputs(context.validation.frames, compute)
        net = make_net(hidden, states, [member.seed for member in members], compute)
        super().__init__(net, len(cases), context)
        self.fused = fused_update(net, self.optimizer, recipe.max_norm, compute)

    def losses(self, step: int) -> Float[Tensor, "models"]:
        """Return each model's loss: section 2's objective with a teacher, cross-entropy without."""
        batch_indices = self.order.indices(step)
        batch, soft = self.inputs[batch_indices], None
        if self.teacher is not None:
            logits = self.teacher.logits(batch, batch_indices)
            soft = SoftTargets(logits, self.teacher.of_students, self.temperature, self.hard_label_weight)
        weight, bias = self.net.weights[-1], self.net.biases[-1]
        copies = self.fused.copies if self.fused else ()
        hidden = self.net.hidden(batch, copies=copies)
        return fused_loss.loss(hidden, weight, bias, self.states[batch_indices], soft, copies[-1] if copies else None)

    def validation_errors(self, examples: LabelledData) -> Int[Tensor, "models"]:
        """Return the number of validation frames that each model misclassifies, computed a block at a time."""
        evaluated = blocks(self.net, self.watched, examples.images)
        return (torch.cat([logits.argmax(-1).cpu() for _, logits in evaluated], 1) != examples.labels).sum(-1)


def frames_of_fraction(train: Frames, fraction: float, seed: int) -> Int[Tensor, "case"]:
    """Return the frames of a fraction of the utterances, which are drawn from ``seed``."""
    if fraction == 1:
        return torch.arange(len(train))
    shuffled = torch.randperm(len(train.ids), generator=generator(Stream.UTTERANCE_FRACTION, seed))
    return train.of_utterances(shuffled[: max(1, round(fraction * len(train.ids)))])


def make_net(hidden: Sequence[int], states: int, seeds: Sequence[int], compute: Compute) -> BatchedMLP:
    """Return acoustic models (section 4): a window of filterbanks in, a logit for each tied state out."""
    return BatchedMLP([INPUTS, *hidden, states], seeds, compute.dtype, fp32_logits=False).to(compute.device)


def blocks(
    net: BatchedMLP, inputs: Inputs, chosen: Int[Tensor, "case"]
) -> Iterator[tuple[Int[Tensor, "block"], Float[Tensor, "models block states"]]]:
    """Yield the numbers and logits of the frames ``chosen`` in blocks that stay in the processor's cache."""
    logits_of_frame = len(net) * net.sizes[-1]
    for part in chosen.split(max(1, MULTIPLIED // logits_of_frame)):
        with torch.no_grad():
            multiplied = net.last_layer(net.hidden(inputs[part]))
        small = max(1, LOOKED_AT // logits_of_frame)
        for at, logits in zip(part.split(small), multiplied.split(small, 1), strict=True):
            yield at, logits.float()
