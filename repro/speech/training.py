"""A population of acoustic models trained on frames, with an ensemble's soft targets made on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.core import output_layer
from repro.core.compute import Compute
from repro.core.loop import Labelled, Loop
from repro.core.noise import Order, generator
from repro.core.output_layer import SoftTargets
from repro.core.population import Population
from repro.core.recipe import Recipe
from repro.core.train import Member
from repro.speech.frames import BEFORE, INPUTS, Frames, windows

Mean = Literal["arithmetic", "geometric"]
# Logits that are multiplied, and looked at, together at test time: nets times frames times states.
MULTIPLIED, LOOKED_AT = 1 << 25, 1 << 20
# Frames whose probabilities are averaged together; what a probability of zero counts as where its log is needed.
AVERAGED, TINY = 64, 1e-38
# A teacher's logits are kept, in half precision, where they take no more than this.
KEPT_BYTES = 3 << 30


class Inputs:
    """The windows of some frames, taken by number; nothing is copied but the batch."""

    def __init__(self, frames: Frames, compute: Compute):
        """``compute`` says where the frames go and in which type."""
        self.view = windows(frames.banks.to(compute.device, compute.dtype))
        self.start = (frames.place - BEFORE).to(compute.device)

    def __getitem__(self, picked: Int[Tensor, "batch"]) -> Float[Tensor, "batch input"]:
        return self.view[self.start[picked]].flatten(-2)


class Teacher:
    """An ensemble's soft targets, as logits: one mean of the nets, or the geometric and the arithmetic one.

    Ten nets' soft targets over thousands of states for a million frames are more than a disk would hold: they are
    computed for each batch. Where the frames are few enough, the geometric mean's logits, which serve every
    temperature, are computed once and kept in half precision.
    """

    def __init__(self, ensemble: Population, means: Sequence[Mean], temperatures: Sequence[float]):
        """``means`` and ``temperatures`` of the students.

        Raises:
            ValueError: students of the arithmetic mean, which is another at each temperature, differ in theirs.
        """
        self.ensemble, self.means = ensemble.requires_grad_(False), tuple(means)
        arithmetic = {t for mean, t in zip(means, temperatures, strict=True) if mean == "arithmetic"}
        if len(arithmetic) > 1:
            raise ValueError("one temperature for all students of the arithmetic mean")
        self.arithmetic_at = next(iter(arithmetic), None)
        # The mean of the nets' logits is one matrix product: their hidden units side by side, weights one below
        # the other.
        weight, count = ensemble.weights[-1], len(ensemble)
        self._weight = (weight.flatten(0, 1) / count).to(ensemble.dtype)
        self._bias = ensemble.biases[-1].mean(0).to(ensemble.dtype)
        self.kept: Tensor | None = None

    @property
    def of_students(self) -> tuple[int, ...]:
        """Which of the logits each student learns from."""
        return tuple(int(mean == "arithmetic") for mean in self.means)

    def can_keep(self, cases: int) -> bool:
        """Whether so many cases' logits are to be kept: they are few enough, and no student wants another mean."""
        return self.arithmetic_at is None and 2 * self.ensemble.sizes[-1] * cases <= KEPT_BYTES

    @torch.no_grad()
    def keep(self, inputs: Inputs, cases: Int[Tensor, "case"], frames: int) -> None:
        """Compute the geometric mean's logits of all cases now."""
        number = torch.full((frames,), -1)
        number[cases] = torch.arange(len(cases))
        kept = torch.empty(len(cases), self.ensemble.sizes[-1], dtype=torch.float16)
        for start in range(0, len(cases), 1000):
            kept[start : start + 1000] = self._geometric(self.ensemble.hidden(inputs[cases[start : start + 1000]]))
        self.kept, self._number = kept, number

    @torch.no_grad()
    def logits(
        self, batch: Float[Tensor, "batch input"], picked: Int[Tensor, "batch"]
    ) -> Float[Tensor, "means batch states"]:
        """Of the geometric mean, and of the arithmetic one where a student wants it."""
        if self.kept is not None:
            return self.kept[self._number[picked]].to(batch.device)[None]
        hidden = self.ensemble.hidden(batch)
        geometric = self._geometric(hidden)[None]
        if self.arithmetic_at is None:
            return geometric
        arithmetic = torch.empty(geometric.shape, device=batch.device)
        each = self.ensemble.last_layer(hidden)
        # Sums of probabilities in blocks that stay in the processor's cache: logarithms of each would take far longer.
        for rows in torch.arange(len(batch)).split(AVERAGED):
            block = slice(int(rows[0]), int(rows[-1]) + 1)
            summed = reduce(torch.add, (torch.softmax(one[block].float() / self.arithmetic_at, -1) for one in each))
            arithmetic[0, block] = self.arithmetic_at * (summed / len(each)).clamp_min(TINY).log()
        return torch.cat([geometric, arithmetic.to(geometric.dtype)])

    def _geometric(self, hidden: Float[Tensor, "nets batch unit"]) -> Float[Tensor, "batch states"]:
        return torch.addmm(self._bias, hidden.transpose(0, 1).flatten(1), self._weight)


@dataclass(frozen=True)
class Watched:
    """What early stopping watches: the numbers of frames and the states they are in."""

    images: Int[Tensor, "frame"]
    labels: Int[Tensor, "frame"]


class FrameTraining(Loop[Population]):
    """One population of acoustic models on its way through one recipe; its members see the same batches."""

    def __init__(
        self,
        hidden: Sequence[int],
        members: Sequence[Member],
        frames: Frames,
        cases: Int[Tensor, "case"],
        states: int,
        recipe: Recipe,
        compute: Compute,
        order: int,
        teacher: Teacher | None = None,
        checkpoint: Path | None = None,
        validation: Frames | None = None,
        every: int = 1,
    ):
        """Trained on ``cases`` of ``frames``, in the order drawn from ``order``; early stopping watches every so
        manyth frame of ``validation``."""
        self.inputs, self.states = Inputs(frames, compute), frames.states.to(compute.device)
        self.order = Order(order, cases, recipe.batch)
        self.teacher = teacher
        self.temperature = tuple(member.temperature for member in members)
        self.hard_weight = tuple(member.hard_weight for member in members)
        if teacher is None and any(weight != 1 for weight in self.hard_weight):
            raise ValueError("soft targets need a teacher")
        watched = None
        if validation is not None:
            self.watched = Inputs(validation, compute)
            watched = Watched(torch.arange(0, len(validation), every), validation.states[::every])
        net = make_net(hidden, states, [member.seed for member in members], compute)
        super().__init__(net, recipe, len(cases), checkpoint, watched)

    def losses(self, step: int) -> Float[Tensor, "models"]:
        """Section 2's objective where there is a teacher, hard targets where there is none."""
        picked = self.order.indices(step)
        batch, soft = self.inputs[picked], None
        if self.teacher is not None:
            logits = self.teacher.logits(batch, picked)
            soft = SoftTargets(logits, self.teacher.of_students, self.temperature, self.hard_weight)
        weight, bias = self.net.weights[-1], self.net.biases[-1]
        return output_layer.loss(self.net.hidden(batch), weight, bias, self.states[picked], soft)

    def validation_errors(self, cases: Labelled) -> Int[Tensor, "models"]:
        """How many validation frames each net has wrong, a block at a time."""
        found = blocks(self.net, self.watched, cases.images)
        return (torch.cat([logits.argmax(-1).cpu() for _, logits in found], 1) != cases.labels).sum(-1)


def share_of(train: Frames, share: float, draw: int) -> Int[Tensor, "case"]:
    """The frames of a share of the utterances, which are drawn from ``draw``."""
    if share == 1:
        return torch.arange(len(train))
    shuffled = torch.randperm(len(train.ids), generator=generator("share of the utterances", draw))
    return train.of_utterances(shuffled[: max(1, round(share * len(train.ids)))])


def make_net(hidden: Sequence[int], states: int, seeds: Sequence[int], compute: Compute) -> Population:
    """Acoustic models: a window of filterbanks in, a logit for each tied state out (section 4)."""
    return Population([INPUTS, *hidden, states], seeds, compute.dtype, precise_logits=False).to(compute.device)


def blocks(
    net: Population, inputs: Inputs, chosen: Int[Tensor, "case"]
) -> Iterator[tuple[Int[Tensor, "block"], Float[Tensor, "models block states"]]]:
    """The logits of the frames ``chosen``, a block at a time that stays in the processor's cache."""
    logits_of_frame = len(net) * net.sizes[-1]
    for part in chosen.split(max(1, MULTIPLIED // logits_of_frame)):
        with torch.no_grad():
            multiplied = net.last_layer(net.hidden(inputs[part]))
        small = max(1, LOOKED_AT // logits_of_frame)
        for at, logits in zip(part.split(small), multiplied.split(small, 1), strict=True):
            yield at, logits.float()
