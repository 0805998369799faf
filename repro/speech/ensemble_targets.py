"""Soft targets of an ensemble of acoustic models."""

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.models.mlp import BatchedMLP
from repro.speech.features import Inputs

Mean = Literal["arithmetic", "geometric"]

# A teacher's logits are kept, in half precision, where they take no more than this.
KEPT_BYTES = 3 << 30

# Frames whose probabilities are averaged together; what a probability of zero counts as where its log is needed.
AVERAGED, TINY = 64, 1e-38


class Teacher:
    """An ensemble's soft targets, as logits: one mean of the nets, or the geometric and the arithmetic one.

    Ten nets' soft targets over thousands of states for a million frames are more than a disk would hold: they are
    computed for each batch. Where the frames are few enough, the geometric mean's logits, which serve every
    temperature, are computed once and kept in half precision.
    """

    def __init__(self, ensemble: BatchedMLP, means: Sequence[Mean], temperatures: Sequence[float]):
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
        self.store: Tensor | None = None

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
        if self.store is not None:
            return self.store[self._number[picked]].to(batch.device)[None]
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
