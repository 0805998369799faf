"""Soft targets of an ensemble of acoustic models: computed for each batch, or once and cached."""

from collections.abc import Sequence
from copy import deepcopy
from functools import reduce
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.models.mlp import BatchedMLP, aligned
from repro.speech.features import Inputs

Mean = Literal["arithmetic", "geometric"]

# Frames whose probabilities are averaged together, frames whose logits are computed together to be cached, and the
# smallest probability whose logarithm is taken: smaller ones are denormal, so the processor may take them for zero.
AVERAGED, CACHED, TINY = 64, 512, torch.finfo(torch.float32).tiny


class Teacher:
    """Soft targets of an ensemble as logits of its geometric mean, and of its arithmetic mean where a student needs it.

    Soft targets over thousands of states take about 10 kB a frame, so they are computed for each batch unless ``cache``
    is called: the logits of the geometric mean serve every temperature, and are cached in the type of the products.
    """

    def __init__(self, ensemble: BatchedMLP, means: Sequence[Mean], temperatures: Sequence[float]):
        """Prepare the soft targets of ``ensemble``.

        Args:
            means: mean that each student learns from.
            temperatures: temperature of each student.

        Raises:
            ValueError: students of the arithmetic mean, which depends on T, have different temperatures.
        """
        # Cast once; the layers would cast their weights in every step.
        self.ensemble, self.means = deepcopy(ensemble).requires_grad_(False).to(ensemble.dtype), tuple(means)
        arithmetic = {t for mean, t in zip(means, temperatures, strict=True) if mean == "arithmetic"}
        if len(arithmetic) > 1:
            raise ValueError("one temperature for all students of the arithmetic mean")
        self.arithmetic_at = next(iter(arithmetic), None)
        # The mean of the models' logits is one matrix product: hidden units side by side, weights stacked.
        weight, count = ensemble.weights[-1], len(ensemble)
        self._weight = aligned((count * weight.shape[1], weight.shape[2]), ensemble.dtype, weight.device)
        self._weight.copy_(weight.detach().flatten(0, 1) / count)
        self._bias = ensemble.biases[-1].mean(0).to(ensemble.dtype)
        self.cached_logits: Tensor | None = None

    @property
    def of_students(self) -> tuple[int, ...]:
        """Index of each student's mean in ``logits``: 0 for the geometric, 1 for the arithmetic one."""
        return tuple(int(mean == "arithmetic") for mean in self.means)

    @torch.no_grad()
    def cache(self, inputs: Inputs, cases: Int[Tensor, "case"], frames: int) -> None:
        """Compute and store the geometric mean's logits of ``cases`` of all ``frames``."""
        number = torch.full((frames,), -1)
        number[cases] = torch.arange(len(cases))
        cached = torch.empty(len(cases), self.ensemble.sizes[-1], dtype=self.ensemble.dtype)
        for block in torch.arange(len(cases)).split(CACHED):
            cached[block] = self._geometric(self.ensemble.hidden(inputs[cases[block]]))
        self.cached_logits, self._number = cached, number

    @torch.no_grad()
    def logits(
        self, batch: Float[Tensor, "batch input"], batch_indices: Int[Tensor, "batch"]
    ) -> Float[Tensor, "means batch states"]:
        """Return the logits of the geometric mean, then of the arithmetic mean where a student needs it.

        Args:
            batch_indices: numbers of the batch's frames.
        """
        if self.cached_logits is not None:
            return self.cached_logits[self._number[batch_indices]].to(batch.device)[None]
        hidden = self.ensemble.hidden(batch)
        geometric = self._geometric(hidden)[None]
        if self.arithmetic_at is None:
            return geometric
        arithmetic = torch.empty(geometric.shape, device=batch.device)
        each = self.ensemble.last_layer(hidden)
        # Probabilities are summed in blocks that stay in the processor's cache: far faster than logsumexp.
        for rows in torch.arange(len(batch)).split(AVERAGED):
            block = slice(int(rows[0]), int(rows[-1]) + 1)
            summed = reduce(torch.add, (torch.softmax(z[block].float() / self.arithmetic_at, -1) for z in each))
            arithmetic[0, block] = self.arithmetic_at * (summed / len(each)).clamp_min(TINY).log()
        return torch.cat([geometric, arithmetic.to(geometric.dtype)])

    def _geometric(self, hidden: Float[Tensor, "nets batch unit"]) -> Float[Tensor, "batch states"]:
        logits = aligned((hidden.shape[1], self._weight.shape[1]), hidden.dtype, hidden.device)
        return torch.addmm(self._bias, hidden.transpose(0, 1).flatten(1), self._weight, out=logits)
