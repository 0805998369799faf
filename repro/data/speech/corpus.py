"""Corpora of transcribed speech once they are read, and the reader of audio files."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from jaxtyping import Float
from torch import Tensor

RATE = 16_000  # samples per second
LARGEST = 8.0  # codecs overshoot -1 .. 1 a little; integers stored as floats are thousands
LOWEST_RATE = 1000
# Seconds. Alignment takes memory with the square of the length: 0.7 GB for 60 seconds, 8.6 GB for 600.
LONGEST = 180
OVERSHOOT = 0.5  # seconds that a segment may end after its recording; it is cut there
# Sizes in headers that the file does not hold, as libsndfile reports them.
CUT_OFF = re.compile(r"(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)|\*\*\* Calculated frame count")
UNKNOWN_SIZE = 0x7FFF0000  # programs that write to a pipe put at least this size in the header


@dataclass(frozen=True)
class Utterance:
    """A recording, or a segment of one, with its speaker and its words in lower case.

    Attributes:
        audio: the recording's file.
        start: where the segment begins, in seconds.
        end: where it ends; None for the recording's end.
        channel: the channel that is used, from 0; None for the mean of all.
        recording: what utterances of the same recording share, whatever their files are called; "" if unknown.
    """

    id: str
    speaker: str
    words: tuple[str, ...]
    audio: Path
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    recording: str = ""

    def read(self) -> tuple[Float[Tensor, "sample"], list[str]]:
        """Return samples at 16 kHz and remarks, as ``read_audio`` does."""
        return read_audio(self.audio, self.start, self.end, self.channel)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Training and test utterances, of different speakers.

    Attributes:
        lexicon: pronunciations that come with the corpus, by word, as phones without stress.
        digest: identifies transcripts, lexicon and audio files: by their content, LibriSpeech's by their size.
        synthetic: whether the speech was made by ``repro.data.speech.synth``.
        left_out: ids of the utterances that cannot be used, by reason; the text that is the reason follows in brackets.
        remarked: ids of the utterances that were changed, by reason.
    """

    name: str
    train: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    lexicon: dict[str, list[tuple[str, ...]]]
    digest: str
    synthetic: bool = False
    left_out: dict[str, list[str]] = field(default_factory=dict)
    remarked: dict[str, list[str]] = field(default_factory=dict)


def summary(left_out: dict[str, list[str]]) -> str:
    """Return the reasons that utterances were left out, with their numbers and an example of each."""
    return "; ".join(f"{len(ids)} with {reason}, for example {ids[0]}" for reason, ids in left_out.items())


def read_audio(
    path: Path, start: float = 0.0, end: float | None = None, channel: int | None = None
) -> tuple[Float[Tensor, "sample"], list[str]]:
    """Read an audio file as samples at 16 kHz in -1 .. 1, with remarks on its conversion: resampled, channels averaged.

    Args:
        path: the file.
        start: where to begin, in seconds. Default: the file's beginning.
        end: where to end; at most half a second after the file's end, as in Kaldi. Default: the file's end.
        channel: the channel to use, from 0. Default: the mean of all.

    Raises:
        ValueError: the reason that the recording cannot be used: the file is no audio, is empty, ends before the end
            that its header gives, has samples that are not finite, are far outside -1 .. 1 or fewer than 1000 a
            second, lacks the segment or the channel, or is longer than ``LONGEST``.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate, frames, header = file.samplerate, file.frames, file.extra_info
            if rate < LOWEST_RATE:
                raise ValueError(f"audio with fewer than {LOWEST_RATE} samples per second")
            first, last = round(start * rate), frames if end is None else round(end * rate)
            if (first and first >= frames) or last > frames + OVERSHOOT * rate:
                raise ValueError("a segment that ends after its recording")
            frames = min(last, frames) - first
            if first:
                file.seek(first)
            # All of a long recording might not fit in memory.
            samples = file.read(min(frames, LONGEST * rate + 1), dtype="float32", always_2d=True)
    except (OSError, TypeError, soundfile.LibsndfileError) as error:  # TypeError: headerless audio
        raise ValueError("audio that cannot be read") from error
    if len(samples) > LONGEST * rate:
        raise ValueError(f"more than {LONGEST} seconds")
    if channel is not None:
        if channel >= samples.shape[1]:
            raise ValueError("a segment of a channel that its recording lacks")
        samples = samples[:, [channel]]
    if not len(samples):
        raise ValueError("audio without samples")
    if len(samples) < 0.99 * frames or _is_cut_off(header):  # decoders of MP3 may differ by a few samples
        raise ValueError("audio that ends before the end that its header gives")
    if not np.isfinite(samples).all():
        raise ValueError("audio with samples that are not finite")
    if np.abs(samples).max() > LARGEST:
        raise ValueError("audio with samples far outside -1 .. 1")
    remarks = []
    if samples.shape[1] > 1:
        remarks.append(f"{samples.shape[1]} channels, averaged")
    sound = torch.from_numpy(samples).mean(1)
    if rate != RATE:
        remarks.append(f"{rate} samples per second, resampled to {RATE}")
        # The filter's size is the product of the ratio's terms. Usual rates are exact, others to 0.05%.
        ratio = Fraction(rate, RATE).limit_denominator(1000)
        sound = torchaudio.functional.resample(sound, ratio.numerator, ratio.denominator)
    return sound, remarks


def _is_cut_off(header: str) -> bool:
    """Return whether a file holds less than its header says, which libsndfile reads as far as it goes."""
    match = CUT_OFF.search(header)
    return match is not None and (not match[1] or int(match[2]) < int(match[1]) < UNKNOWN_SIZE)
