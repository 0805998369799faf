"""Corpora of transcribed speech once they are read, and the reader of audio files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from jaxtyping import Float
from torch import Tensor

RATE = 16_000  # samples per second


@dataclass(frozen=True)
class Utterance:
    """A recording with its speaker and its words in lower case."""

    id: str
    speaker: str
    words: tuple[str, ...]
    audio: Path


@dataclass(frozen=True, eq=False)
class Corpus:
    """Training and test utterances, of different speakers.

    Attributes:
        lexicon: pronunciations that come with the corpus, by word, as phones without stress.
        digest: identifies transcripts, lexicon and the content of the audio files.
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


def read_audio(path: Path) -> tuple[Float[Tensor, "sample"], list[str]]:
    """Read an audio file as samples at 16 kHz in -1 .. 1, with remarks on its conversion: resampled, channels averaged.

    Raises:
        ValueError: the file cannot be read as audio, is empty, or has samples that are not finite.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, TypeError, soundfile.LibsndfileError) as error:  # TypeError: headerless audio
        raise ValueError(f"{path} cannot be read as audio") from error
    if not len(samples):
        raise ValueError(f"{path} holds no sound")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds samples that are not finite")
    remarks = []
    if samples.shape[1] > 1:
        remarks.append(f"{samples.shape[1]} channels, averaged")
    sound = torch.from_numpy(samples).mean(1)
    if rate != RATE:
        remarks.append(f"{rate} samples per second, resampled to {RATE}")
        sound = torchaudio.functional.resample(sound, rate, RATE)
    return sound, remarks
