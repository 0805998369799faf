"""A population of acoustic models trained on frames, with an ensemble's soft targets made on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.core.compute import Compute
from repro.core.distill import arithmetic_mean, distillation_loss, geometric_mean, hard_target_loss
from repro.core.loop import Loop
from repro.core.noise import Order
from repro.core.population import Population
from repro.core.recipe import Recipe
from repro.core.train import Member
from repro.speech.frames import BEFORE, INPUTS, Frames, windows

Mean = Literal["arithmetic", "geometric"]
# Logits looked at together at test time: nets times frames times states.
AT_ONCE = 1 << 25


class Inputs:
    """The windows of some frames, taken by number; nothing is copied but the batch."""

    def __init__(self, frames: Frames, compute: Compute):
        """``compute`` says where the frames go and in which type."""
        self.view = windows(frames.banks.to(compute.device, compute.dtype))
        self.start = (frames.place - BEFORE).to(compute.device)

    def __getitem__(self, picked: Int[Tensor, "batch"]) -> Float[Tensor, "batch input"]:
        return self.view[self.start[picked]].flatten(-2)


class Teacher:
    """An ensemble's soft targets, as logits that give them at T = temperature.

    Ten nets' soft targets over thousands of states for a million frames are more than a disk would hold: they are
    computed for each batch. Where the frames are few enough, the geometric mean's logits, which serve every
    temperature, are computed once and kept in half precision.
    """

    def __init__(self, ensemble: Population, means: Sequence[Mean], temperatures: Float[Tensor, "models"]):
        """``means`` and ``temperatures`` of the students."""
        self.ensemble, self.means, self.temperatures = ensemble.requires_grad_(False), tuple(means), temperatures
        self.kept: Tensor | None = None

    @torch.no_grad()
    def keep(self, inputs: Inputs, cases: Int[Tensor, "case"], frames: int) -> None:
        """Compute the logits of all cases now."""
        number = torch.full((frames,), -1)
        number[cases] = torch.arange(len(cases))
        kept = torch.empty(len(cases), self.ensemble.sizes[-1], dtype=torch.float16)
        for start in range(0, len(cases), 1000):
            part = cases[start : start + 1000]
            kept[start : start + 1000] = geometric_mean(self.ensemble(inputs[part])).half()
        self.kept, self._number = kept, number

    @torch.no_grad()
    def logits(
        self, batch: Float[Tensor, "batch input"], picked: Int[Tensor, "batch"]
    ) -> Float[Tensor, "#models batch states"]:
        """For each student, or one for all where all want the geometric mean."""
        if self.kept is not None:
            return self.kept[self._number[picked]].to(batch.device).float()[None]
        each = self.ensemble(batch)
        one = geometric_mean(each)
        if "arithmetic" not in self.means:
            return one[None]
        return torch.stack(
            [
                arithmetic_mean(each, float(t)) if mean == "arithmetic" else one
                for mean, t in zip(self.means, self.temperatures, strict=True)
            ]
        )


@dataclass(frozen=True)
class Watched:
    """What early stopping watches: the numbers of frames and the states they are in."""

    images: Int[Tensor, "frame"]
    labels: Int[Tensor, "frame"]


class FrameTraining(Loop):
    """One population of acoustic models on its way through one recipe; its members see the same batches."""

    net: Population

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
    ):
        """Trained on ``cases`` of ``frames``, in the order drawn from ``order``."""
        self.inputs, self.states = Inputs(frames, compute), frames.states.to(compute.device)
        self.order = Order(order, cases, recipe.batch)
        self.teacher = teacher
        self.temperature = torch.tensor([member.temperature for member in members], device=compute.device)
        self.hard_weight = torch.tensor([member.hard_weight for member in members], device=compute.device)
        if teacher is None and bool((self.hard_weight != 1).any()):
            raise ValueError("soft targets need a teacher")
        self.watched = None if validation is None else Inputs(validation, compute)
        watched = None if validation is None else Watched(torch.arange(len(validation)), validation.states)
        net = make_net(hidden, states, [member.seed for member in members], compute)
        super().__init__(net, recipe, len(cases), checkpoint, watched)

    def losses(self, step: int) -> Float[Tensor, "models"]:
        """Section 2's objective where there is a teacher, hard targets where there is none."""
        picked = self.order.indices(step)
        batch, labels = self.inputs[picked], self.states[picked]
        logits = self.net(batch)
        if self.teacher is None:
            return hard_target_loss(logits, labels)
        teacher = self.teacher.logits(batch, picked)
        return distillation_loss(logits, teacher, labels, self.temperature, self.hard_weight)

    def validation_errors(self) -> Int[Tensor, "models"]:
        """How many validation frames each net has wrong, a block at a time."""
        states = self.validation.labels
        found = blocks(self.net, self.watched, self.validation.images)
        return sum((logits.argmax(-1).cpu() != states[at]).sum(-1) for at, logits in found)


def make_net(hidden: Sequence[int], states: int, seeds: Sequence[int], compute: Compute) -> Population:
    """Acoustic models: a window of filterbanks in, a logit for each tied state out (section 4)."""
    return Population([INPUTS, *hidden, states], seeds, compute.dtype, precise_logits=False).to(compute.device)


def blocks(
    net: Population, inputs: Inputs, chosen: Int[Tensor, "case"]
) -> Iterator[tuple[Int[Tensor, "block"], Float[Tensor, "models block states"]]]:
    """The logits of the frames ``chosen``, a block at a time."""
    for part in chosen.split(max(1, AT_ONCE // (len(net) * net.sizes[-1]))):
        with torch.no_grad():
            logits = net(inputs[part])
        yield part, logits
