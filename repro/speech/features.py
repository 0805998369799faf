"""Filterbank features of recordings, and windows of 26 frames as a view of one tensor.

Section 4: 26 frames of 40 filterbanks, one every 10 ms, go in, and the state of the 21st comes out. All frames of a
part of the data are in one tensor, utterance after utterance, each padded with its first frame before it and its last
one after. A window is a slice of a view of that tensor; windows are never written out for the whole corpus.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torchaudio
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repro.data.speech.corpus import RATE
from repro.training.compute import Compute

BANKS, WINDOW, TARGET = 40, 26, 20  # TARGET: index in the window of the frame whose state is predicted
BEFORE, AFTER = TARGET, WINDOW - TARGET - 1
INPUTS = WINDOW * BANKS
ROWS = 1 << 16  # frames normalized at a time

# An utterance: id, speaker, filterbanks (frame, bank) and states (frame,).
Aligned = tuple[str, str, Tensor, Tensor]


def filterbanks(samples: Float[Tensor, "sample"]) -> Float[Tensor, "frame bank"]:
    """Return Kaldi's log energies of 40 Mel filterbanks in windows of 25 ms every 10 ms, without dither.

    Args:
        samples: at 16 kHz, in -1 .. 1; fewer than a window have no frames.
    """
    if len(samples) < RATE * 25 // 1000:
        return torch.empty(0, BANKS)
    return torchaudio.compliance.kaldi.fbank(
        samples[None] * 32768, num_mel_bins=BANKS, sample_frequency=RATE, dither=0.0, snip_edges=False
    )


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of some utterances.

    ``banks`` holds all frames, padding included; frame f is at ``place[f]`` and in state ``states[f]``.
    ``utterance`` is the index of each frame's utterance, ``speaker`` the index of each utterance's speaker.
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
        """Return the numbers of the frames of some utterances."""
        return torch.isin(self.utterance, chosen).nonzero()[:, 0]

    def of_speakers(self, chosen: Sequence[int]) -> "Frames":
        """Return the frames of some speakers' utterances; they share ``banks`` with these."""
        selected = torch.isin(self.speaker, torch.tensor(chosen))
        number = torch.full((len(selected),), -1)
        number[selected] = torch.arange(int(selected.sum()))
        inside = selected[self.utterance]
        renamed = {old: new for new, old in enumerate(sorted(chosen))}
        return replace(
            self,
            place=self.place[inside],
            states=self.states[inside],
            utterance=number[self.utterance[inside]],
            speaker=torch.tensor([renamed[int(s)] for s in self.speaker[selected]]),
            ids=tuple(itertools.compress(self.ids, selected.tolist())),
            speakers=tuple(self.speakers[old] for old in sorted(chosen)),
        )


def windows(banks: Float[Tensor, "position bank"]) -> Float[Tensor, "start bank window"]:
    """Return every window of 26 frames as a view; the window of the frame at place p has index p - 20."""
    return banks.unfold(0, WINDOW, 1)


def pack(utterances: Sequence[Aligned]) -> Frames:
    """Pack utterances into one padded tensor, with mean and variance of each speaker normalized.

    Args:
        utterances: id, speaker, filterbanks (frame, bank) and states (frame,) of each.
    """
    names = sorted({speaker for _, speaker, _, _ in utterances})
    number = {name: n for n, name in enumerate(names)}
    speaker = torch.tensor([number[name] for _, name, _, _ in utterances])
    lengths = torch.tensor([len(banks) for _, _, banks, _ in utterances])
    banks = torch.cat([banks for _, _, banks, _ in utterances])
    normalize_by_speaker(banks, speaker.repeat_interleave(lengths), len(names))
    source, inside = padded_index(lengths)
    return Frames(
        banks=banks[source],
        place=inside.nonzero()[:, 0],
        states=torch.cat([states for _, _, _, states in utterances]).long(),
        utterance=torch.arange(len(lengths)).repeat_interleave(lengths),
        speaker=speaker,
        ids=tuple(id for id, _, _, _ in utterances),
        speakers=tuple(names),
    )


def normalize_by_speaker(banks: Float[Tensor, "frame bank"], speaker: Int[Tensor, "frame"], speakers: int) -> None:
    """Normalize the filterbanks of each speaker to mean 0 and variance 1, in place.

    Mean and variance come from all frames of the speaker, of test speakers too: no transcript is used.

    Args:
        speaker: index of each frame's speaker, below ``speakers``.
    """
    count = torch.bincount(speaker, minlength=speakers)[:, None].double()
    mean = torch.zeros(speakers, BANKS, dtype=torch.float64)
    square = torch.zeros_like(mean)
    # Block by block: in double precision, the whole corpus at once would take twice its memory.
    for start in range(0, len(banks), ROWS):
        block, rows = banks[start : start + ROWS], speaker[start : start + ROWS]
        mean.index_add_(0, rows, block.double())
        square.index_add_(0, rows, block.double().square())
    mean, square = mean / count, square / count
    deviation = (square - mean.square()).clamp_min(1e-8).sqrt()
    for start in range(0, len(banks), ROWS):
        rows = speaker[start : start + ROWS]
        banks[start : start + ROWS].sub_(mean.float()[rows]).div_(deviation.float()[rows])


def padded_index(
    lengths: Int[Tensor, "utterance"],
) -> tuple[Int[Tensor, "position"], Bool[Tensor, "position"]]:
    """Return, for each position of the padded tensor, the frame that it repeats and whether it is that frame itself.

    Each utterance is preceded by ``BEFORE`` copies of its first frame and followed by ``AFTER`` copies of its last.

    Args:
        lengths: number of frames of each utterance.
    """
    starts, padded = lengths.cumsum(0) - lengths, lengths + BEFORE + AFTER
    utterance = torch.arange(len(lengths)).repeat_interleave(padded)
    offset = torch.arange(int(padded.sum())) - (padded.cumsum(0) - padded)[utterance] - BEFORE
    inside = (offset >= 0) & (offset < lengths[utterance])
    return starts[utterance] + torch.minimum(offset.clamp_min(0), lengths[utterance] - 1), inside


class Inputs:
    """Windows of frames as network inputs, indexed by frame; only the batch is copied."""

    def __init__(self, frames: Frames, compute: Compute):
        """Copy the frames to the device of ``compute``, in its precision."""
        self.view = windows(frames.banks.to(compute.device, compute.dtype))
        self.start = (frames.place - BEFORE).to(compute.device)

    def __getitem__(self, batch_indices: Int[Tensor, "batch"]) -> Float[Tensor, "batch input"]:
        return self.view[self.start[batch_indices]].flatten(-2)
