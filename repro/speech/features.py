"""Recordings as frames to train on: 40 Mel filterbanks every 10 ms, and the window of 26 of them as an index.

Section 4: 26 frames of 40 filterbanks go in, and the state of the 21st comes out. All frames of a part lie in one
tensor, utterance after utterance, each with its first frame repeated before it and its last one after; a window
is a slice of a view of that tensor and is never written out for the corpus.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torchaudio
from jaxtyping import Float, Int
from torch import Tensor

from repro.data.speech.corpus import RATE
from repro.training.compute import Compute

BANKS, WINDOW, TARGET = 40, 26, 20  # TARGET: place in the window, counted from 0, of the frame that is named
BEFORE, AFTER = TARGET, WINDOW - TARGET - 1
INPUTS = WINDOW * BANKS
ROWS = 1 << 16  # frames that are normalised at a time


def filterbanks(samples: Float[Tensor, "sample"]) -> Float[Tensor, "frame bank"]:
    """Log energies of 40 Mel filterbanks in windows of 25 ms every 10 ms, as Kaldi computes them, without dither."""
    return torchaudio.compliance.kaldi.fbank(
        samples[None] * 32768, num_mel_bins=BANKS, sample_frequency=RATE, dither=0.0, snip_edges=False
    )


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of some utterances.

    ``banks`` holds all frames, padding included; frame f stands at ``place[f]`` and is in state ``states[f]``.
    ``utterance`` numbers the utterance of each frame, ``speaker`` the speaker of each utterance.
    """

    banks: Float[Tensor, "position bank"]
    place: Int[Tensor, "frame"]
    states: Int[Tensor, "frame"]
    utterance: Int[Tensor, "frame"]
    speaker: Int[Tensor, "utterance"]
    ids: tuple[str, ...]
    speakers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.place)

    def of_utterances(self, chosen: Int[Tensor, "chosen"]) -> Int[Tensor, "frame"]:
        """The frames of some utterances."""
        return torch.isin(self.utterance, chosen).nonzero()[:, 0]

    def of_speakers(self, chosen: Sequence[int]) -> "Frames":
        """The utterances of some speakers as frames of their own, which share ``banks``."""
        kept = torch.isin(self.speaker, torch.tensor(chosen))
        number = torch.full((len(kept),), -1)
        number[kept] = torch.arange(int(kept.sum()))
        inside = kept[self.utterance]
        renamed = {old: new for new, old in enumerate(sorted(chosen))}
        return replace(
            self,
            place=self.place[inside],
            states=self.states[inside],
            utterance=number[self.utterance[inside]],
            speaker=torch.tensor([renamed[int(s)] for s in self.speaker[kept]]),
            ids=tuple(id for id, keep in zip(self.ids, kept.tolist(), strict=True) if keep),
            speakers=tuple(self.speakers[old] for old in sorted(chosen)),
        )


def windows(banks: Float[Tensor, "position bank"]) -> Float[Tensor, "start bank window"]:
    """Every window of 26 frames, as a view; the window of the frame at place p is number p - 20."""
    return banks.unfold(0, WINDOW, 1)


def lay_out(
    utterances: Sequence[tuple[str, str, Tensor, Tensor]],
) -> Frames:
    """Utterances as one tensor, mean and variance of each speaker normalised.

    A speaker's mean and variance come from all of the speaker's own frames, of test speakers too: no transcript
    goes into them.

    Args:
        utterances: id, speaker, filterbanks (frame, bank), states (frame,).
    """
    speakers = sorted({speaker for _, speaker, _, _ in utterances})
    number = {name: n for n, name in enumerate(speakers)}
    of_utterance = torch.tensor([number[speaker] for _, speaker, _, _ in utterances])
    lengths = torch.tensor([len(banks) for _, _, banks, _ in utterances])
    everything = torch.cat([banks for _, _, banks, _ in utterances])
    of_frame = of_utterance.repeat_interleave(lengths)
    count = torch.bincount(of_frame, minlength=len(speakers))[:, None].double()
    mean = torch.zeros(len(speakers), BANKS, dtype=torch.float64)
    square = torch.zeros_like(mean)
    # A block at a time: in double precision, all at once would take twice the memory of the corpus.
    blocks = list(zip(everything.split(ROWS), of_frame.split(ROWS), strict=True))
    for part, whose in blocks:
        mean.index_add_(0, whose, part.double())
        square.index_add_(0, whose, part.double().square())
    mean, square = mean / count, square / count
    deviation = (square - mean.square()).clamp_min(1e-8).sqrt()
    for part, whose in blocks:
        part.sub_(mean.float()[whose]).div_(deviation.float()[whose])
    # Where each frame of the padded tensor comes from: a clamped run of frames for each utterance.
    starts, padded = lengths.cumsum(0) - lengths, lengths + BEFORE + AFTER
    which = torch.arange(len(lengths)).repeat_interleave(padded)
    offset = torch.arange(int(padded.sum())) - (padded.cumsum(0) - padded)[which] - BEFORE
    source = starts[which] + torch.minimum(offset.clamp_min(0), lengths[which] - 1)
    inside = (offset >= 0) & (offset < lengths[which])
    return Frames(
        everything[source],
        inside.nonzero()[:, 0],
        torch.cat([states for _, _, _, states in utterances]).long(),
        torch.arange(len(lengths)).repeat_interleave(lengths),
        of_utterance,
        tuple(id for id, _, _, _ in utterances),
        tuple(speakers),
    )


class Inputs:
    """The windows of some frames, taken by number; nothing is copied but the batch."""

    def __init__(self, frames: Frames, compute: Compute):
        """``compute`` says where the frames go and in which type."""
        self.view = windows(frames.banks.to(compute.device, compute.dtype))
        self.start = (frames.place - BEFORE).to(compute.device)

    def __getitem__(self, picked: Int[Tensor, "batch"]) -> Float[Tensor, "batch input"]:
        return self.view[self.start[picked]].flatten(-2)
