"""What the records say of acoustic models: frames right, overall and by speaker. Nothing here chooses anything."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.core.compute import Compute
from repro.core.noise import generator
from repro.core.population import Population
from repro.speech.frames import Frames
from repro.speech.prepare import Prepared
from repro.speech.training import Inputs, blocks

Blocks = Iterable[tuple[Int[Tensor, "block"], Float[Tensor, "models block states"]]]
PARTS = ("train", "validation", "test")


def tally(found: Blocks, frames: Frames, models: int) -> list[dict[str, Any]]:
    """Of each model: frames, right ones, mean negative log-likelihood in nats; right ones of each speaker.

    Args:
        found: log-probabilities of blocks of frames.
    """
    right = torch.zeros(models, len(frames.speakers), dtype=torch.long)
    loss, count = torch.zeros(models, dtype=torch.float64), torch.zeros(len(frames.speakers), dtype=torch.long)
    speaker = frames.speaker[frames.utterance]
    for at, log_p in found:
        labels = frames.states[at].expand(models, -1)
        hit = (log_p.argmax(-1).cpu() == labels).long()
        right.index_add_(1, speaker[at], hit)
        loss -= log_p.gather(-1, labels.to(log_p.device)[..., None]).squeeze(-1).double().sum(-1).cpu()
        count += torch.bincount(speaker[at], minlength=len(count))
    cases = int(count.sum())
    return [
        {
            "cases": cases, "right": int(right[m].sum()), "nll": float(loss[m] / cases),
            "speaker_cases": count.tolist(), "speaker_right": right[m].tolist(),
        }
        for m in range(models)
    ]  # fmt: skip


def nets(net: Population, data: Prepared, cases: Int[Tensor, "case"], compute: Compute, some: int) -> list[dict]:
    """Of each net: ``tally`` on validation and test, and on some of its own training frames, ``cases``."""
    chosen = {"train": sample(cases, some)} | {name: None for name in ("validation", "test")}
    return _merged({name: _of_nets(net, getattr(data, name), at, compute) for name, at in chosen.items()})


def look(net: Population, data: Prepared, cases: Int[Tensor, "case"], compute: Compute, some: int) -> list[list[float]]:
    """Of each net: the share of some frames of train (its own), validation and test that are right, in percent."""
    chosen = {"train": sample(cases, some)}
    chosen |= {name: sample(torch.arange(len(getattr(data, name))), some) for name in ("validation", "test")}
    found = [_of_nets(net, getattr(data, name), at, compute) for name, at in chosen.items()]
    return [[round(100 * one["right"] / one["cases"], 3) for one in of_net] for of_net in zip(*found, strict=True)]


def ensembles(net: Population, data: Prepared, wanted: Sequence[tuple[int, str]], compute: Compute) -> list[dict]:
    """Of the mean of the first few nets, for each number and kind of mean: ``tally`` on validation and test."""
    parts = {name: _of_ensembles(net, getattr(data, name), wanted, compute) for name in ("validation", "test")}
    return [found | {"nets": count} for found, (count, _) in zip(_merged(parts), wanted, strict=True)]


def sample(cases: Int[Tensor, "case"], some: int) -> Int[Tensor, "chosen"]:
    """Some of the cases, the same at every look."""
    if len(cases) <= some:
        return cases
    return cases[torch.randperm(len(cases), generator=generator("frames looked at"))[:some]].sort().values


def _of_nets(net: Population, frames: Frames, at: Tensor | None, compute: Compute) -> list[dict[str, Any]]:
    chosen = torch.arange(len(frames)) if at is None else at
    found = blocks(net, Inputs(frames, compute), chosen)
    return tally(((part, logits.log_softmax(-1)) for part, logits in found), frames, len(net))


def _of_ensembles(
    net: Population, frames: Frames, wanted: Sequence[tuple[int, str]], compute: Compute
) -> list[dict[str, Any]]:
    def means() -> Blocks:
        for part, logits in blocks(net, Inputs(frames, compute), torch.arange(len(frames))):
            yield part, torch.stack([mean_of(logits[:count], kind) for count, kind in wanted])

    return tally(means(), frames, len(wanted))


def mean_of(logits: Float[Tensor, "models block states"], kind: str) -> Float[Tensor, "block states"]:
    """Log-probabilities of the arithmetic or the geometric mean of the models' probabilities."""
    log_p = logits.log_softmax(-1)
    if kind == "geometric":
        return log_p.mean(0).log_softmax(-1)
    return log_p.logsumexp(0) - torch.tensor(float(len(log_p))).log()


def _merged(parts: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """For each model what was found on all parts, the part's name before each entry's."""
    by_model = zip(*parts.values(), strict=True)
    return [
        {f"{name}_{what}": value for name, found in zip(parts, of_model, strict=True) for what, value in found.items()
         if not (name == "train" and what.startswith("speaker"))}
        for of_model in by_model
    ]  # fmt: skip
