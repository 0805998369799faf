"""Evaluation of acoustic models: correct frames, overall and by speaker. Nothing is chosen here."""

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


def tally(evaluated: Blocks, frames: Frames, models: int) -> list[dict[str, Any]]:
    """Return each model's frames, correct frames (also by speaker) and mean negative log-likelihood in nats.

    Args:
        evaluated: numbers and log-probabilities of the frames, in blocks.
        frames: the part of the data that the numbers refer to.
        models: number of models.
    """
    right = torch.zeros(models, len(frames.speakers), dtype=torch.long)
    loss, count = torch.zeros(models, dtype=torch.float64), torch.zeros(len(frames.speakers), dtype=torch.long)
    for at, log_p in evaluated:
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
    """Evaluates models on validation, on test and on ``some`` of their own training frames.

    Only every ``every``-th frame of validation and test is evaluated, in all utterances: neighboring frames, 10 ms
    apart, are nearly alike, and the width of an interval comes from the speakers.
    """

    data: Prepared
    compute: Compute
    some: int
    every: int = 1

    def nets(self, net: BatchedMLP, cases: Int[Tensor, "case"]) -> list[dict[str, Any]]:
        """Return each model's ``tally`` on validation, test and some of its own training frames ``cases``."""
        chosen = {"train": sample(cases, self.some)} | self._held_out()
        return _merged({part: self._of_nets(net, part, at) for part, at in chosen.items()})

    def look(self, net: BatchedMLP, cases: Int[Tensor, "case"]) -> list[list[float]]:
        """Return each model's accuracy in percent on some frames of its training set, validation and test."""
        chosen = {"train": cases} | self._held_out()
        accuracies = [self._accuracy(net, part, sample(at, self.some)) for part, at in chosen.items()]
        return [list(of_net) for of_net in zip(*accuracies, strict=True)]

    def ensembles(self, net: BatchedMLP, wanted: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
        """Return the ``tally`` on validation and test of means of the first models.

        Args:
            wanted: number of models and kind of mean, for each ensemble.
        """
        parts = {part: self._of_ensembles(net, part, at, wanted) for part, at in self._held_out().items()}
        return [metrics | {"nets": count} for metrics, (count, _) in zip(_merged(parts), wanted, strict=True)]

    def count(self, cases: Int[Tensor, "case"], num_evals: int, early_stopping: bool) -> int:
        """Return the number of frames on which a model is evaluated, once trained and ``num_evals`` times before."""
        held_out = {part: len(at) for part, at in self._held_out().items()}
        once = min(len(cases), self.some) + self.count_held_out()
        look = sum(min(count, self.some) for count in (len(cases), *held_out.values()))
        return once + num_evals * look + (once + num_evals * held_out["validation"] if early_stopping else 0)

    def count_held_out(self) -> int:
        """Return the number of frames of validation and test on which models are evaluated."""
        return sum(map(len, self._held_out().values()))

    def _held_out(self) -> dict[str, Int[Tensor, "case"]]:
        return {part: torch.arange(0, len(getattr(self.data, part)), self.every) for part in ("validation", "test")}

    def _of_nets(self, net: BatchedMLP, part: str, at: Int[Tensor, "case"]) -> list[dict[str, Any]]:
        frames = getattr(self.data, part)
        evaluated = blocks(net, Inputs(frames, self.compute), at)
        return tally(((block, logits.log_softmax(-1)) for block, logits in evaluated), frames, len(net))

    def _accuracy(self, net: BatchedMLP, part: str, at: Int[Tensor, "case"]) -> list[float]:
        frames, right = getattr(self.data, part), torch.zeros(len(net), dtype=torch.long)
        for some, logits in blocks(net, Inputs(frames, self.compute), at):
            right += (logits.argmax(-1).cpu() == frames.states[some]).sum(-1)
        return [round(100 * count / len(at), 3) for count in right.tolist()]

    def _of_ensembles(
        self, net: BatchedMLP, part: str, at: Int[Tensor, "case"], wanted: Sequence[tuple[int, str]]
    ) -> list[dict[str, Any]]:
        frames = getattr(self.data, part)
        evaluated = blocks(net, Inputs(frames, self.compute), at)
        return tally(((block, means_of(logits, wanted)) for block, logits in evaluated), frames, len(wanted))


def sample(cases: Int[Tensor, "case"], some: int) -> Int[Tensor, "chosen"]:
    """Return at most ``some`` of the cases, the same ones at every evaluation."""
    if len(cases) <= some:
        return cases
    return cases[torch.randperm(len(cases), generator=generator(Stream.EVALUATED_FRAMES))[:some]].sort().values


def means_of(
    logits: Float[Tensor, "models block states"], wanted: Sequence[tuple[int, str]]
) -> Float[Tensor, "wanted block states"]:
    """Return the log-probabilities of means of the first models.

    Args:
        wanted: number of models and kind of mean ("arithmetic" or "geometric"), for each ensemble.
    """
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
    """Return each model's metrics on all parts in one dictionary, with the part's name as prefix."""
    by_model = zip(*parts.values(), strict=True)
    return [
        {f"{part}_{metric}": value for part, metrics in zip(parts, of_model, strict=True)
         for metric, value in metrics.items() if not (part == "train" and metric.startswith("speaker"))}
        for of_model in by_model
    ]  # fmt: skip
