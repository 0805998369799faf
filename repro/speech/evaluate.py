"""What the records say of acoustic models: frames right, overall and by speaker. Nothing here chooses anything."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.models.mlp import BatchedMLP
from repro.speech.ensemble_targets import TINY
from repro.speech.features import Frames, Inputs
from repro.speech.preparation import Prepared
from repro.speech.training import blocks
from repro.training.compute import Compute
from repro.training.random_streams import Stream, generator

Blocks = Iterable[tuple[Int[Tensor, "block"], Float[Tensor, "models block states"]]]


def tally(found: Blocks, frames: Frames, models: int) -> list[dict[str, Any]]:
    """Of each model: frames, right ones, mean negative log-likelihood in nats; right ones of each speaker.

    Args:
        found: log-probabilities of blocks of frames.
    """
    right = torch.zeros(models, len(frames.speakers), dtype=torch.long)
    loss, count = torch.zeros(models, dtype=torch.float64), torch.zeros(len(frames.speakers), dtype=torch.long)
    for at, log_p in found:
        labels = frames.states[at].expand(models, -1)
        hit = (log_p.argmax(-1).cpu() == labels).long()
        speaker = frames.speaker[frames.utterance[at]]
        right.index_add_(1, speaker, hit)
        loss -= log_p.gather(-1, labels.to(log_p.device)[..., None]).squeeze(-1).double().sum(-1).cpu()
        count += torch.bincount(speaker, minlength=len(count))
    cases = int(count.sum())
    return [
        {
            "cases": cases, "right": int(right[m].sum()), "nll": float(loss[m] / cases),
            "speaker_cases": count.tolist(), "speaker_right": right[m].tolist(),
        }
        for m in range(models)
    ]  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """Nets looked at on validation, on test, and on ``some`` of their training frames.

    Of validation and test every so manyth frame is counted, in all utterances: frames 10 ms apart say nearly the
    same, and what an interval's width comes from is speakers.
    """

    data: Prepared
    compute: Compute
    some: int
    every: int = 1

    def nets(self, net: BatchedMLP, cases: Int[Tensor, "case"]) -> list[dict[str, Any]]:
        """Of each net: ``tally`` on validation and test, and on some of its own training frames, ``cases``."""
        chosen = {"train": sample(cases, self.some)} | self._held_out()
        return _merged({part: self._of_nets(net, part, at) for part, at in chosen.items()})

    def look(self, net: BatchedMLP, cases: Int[Tensor, "case"]) -> list[list[float]]:
        """Of each net: the share of some frames of train (its own), validation and test that are right, in percent."""
        chosen = {"train": cases} | self._held_out()
        found = [self._percent_right(net, part, sample(at, self.some)) for part, at in chosen.items()]
        return [list(of_net) for of_net in zip(*found, strict=True)]

    def ensembles(self, net: BatchedMLP, wanted: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
        """Of the mean of the first few nets, for each number and kind of mean: ``tally`` on validation and test."""
        parts = {part: self._of_ensembles(net, part, at, wanted) for part, at in self._held_out().items()}
        return [found | {"nets": count} for found, (count, _) in zip(_merged(parts), wanted, strict=True)]

    def _held_out(self) -> dict[str, Int[Tensor, "case"]]:
        return {part: torch.arange(0, len(getattr(self.data, part)), self.every) for part in ("validation", "test")}

    def _of_nets(self, net: BatchedMLP, part: str, at: Int[Tensor, "case"]) -> list[dict[str, Any]]:
        frames = getattr(self.data, part)
        found = blocks(net, Inputs(frames, self.compute), at)
        return tally(((part, logits.log_softmax(-1)) for part, logits in found), frames, len(net))

    def _percent_right(self, net: BatchedMLP, part: str, at: Int[Tensor, "case"]) -> list[float]:
        frames, right = getattr(self.data, part), torch.zeros(len(net), dtype=torch.long)
        for some, logits in blocks(net, Inputs(frames, self.compute), at):
            right += (logits.argmax(-1).cpu() == frames.states[some]).sum(-1)
        return [round(100 * count / len(at), 3) for count in right.tolist()]

    def _of_ensembles(
        self, net: BatchedMLP, part: str, at: Int[Tensor, "case"], wanted: Sequence[tuple[int, str]]
    ) -> list[dict[str, Any]]:
        frames = getattr(self.data, part)
        found = ((some, means_of(logits, wanted)) for some, logits in blocks(net, Inputs(frames, self.compute), at))
        return tally(found, frames, len(wanted))


def sample(cases: Int[Tensor, "case"], some: int) -> Int[Tensor, "chosen"]:
    """Some of the cases, the same at every look."""
    if len(cases) <= some:
        return cases
    return cases[torch.randperm(len(cases), generator=generator(Stream.EVALUATED_FRAMES))[:some]].sort().values


def means_of(
    logits: Float[Tensor, "models block states"], wanted: Sequence[tuple[int, str]]
) -> Float[Tensor, "wanted block states"]:
    """Log-probabilities of the arithmetic or geometric mean of the first few models, for each number and kind."""
    log_p = logits.log_softmax(-1)
    summed, arithmetic = torch.zeros_like(log_p[0]), {}
    for count, p in enumerate(log_p.exp(), 1):
        summed += p
        if (count, "arithmetic") in wanted:
            arithmetic[count] = (summed / count).clamp_min(TINY).log()
    return torch.stack(
        [log_p[:count].mean(0).log_softmax(-1) if kind == "geometric" else arithmetic[count] for count, kind in wanted]
    )


def _merged(parts: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """For each model what was found on all parts, the part's name before each entry's."""
    by_model = zip(*parts.values(), strict=True)
    return [
        {f"{name}_{what}": value for name, found in zip(parts, of_model, strict=True) for what, value in found.items()
         if not (name == "train" and what.startswith("speaker"))}
        for of_model in by_model
    ]  # fmt: skip
