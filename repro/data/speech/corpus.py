"""Speech with transcripts: what every corpus becomes, and the reader of Kaldi data directories.

    root/train/{wav.scp,text,utt2spk}    root/test/{wav.scp,text,utt2spk}    and, if you like, root/lexicon.txt

``wav.scp`` names an audio file for each utterance, absolute or relative to ``root``; ``text`` its words,
``utt2spk`` its speaker; ``lexicon.txt`` a word and its phones a line. Whatever cannot be used is left out, named
and counted in ``Corpus.left_out``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from jaxtyping import Float
from torch import Tensor

RATE = 16_000  # samples a second

# A word is letters with apostrophes, dots or hyphens inside; anything else in a transcript is left out of it.
WORD = re.compile(r"[^\W\d_]+(?:['’.\-][^\W\d_]+)*['’.]?")

# Marks of noises and of speech that was not understood, as Kaldi's recipes write them.
MARK = re.compile(r"<[^>]*>|\[[^\]]*\]")


@dataclass(frozen=True)
class Utterance:
    """A recording, who speaks, and the words, in lower case."""

    id: str
    speaker: str
    words: tuple[str, ...]
    audio: Path


@dataclass(frozen=True, eq=False)
class Corpus:
    """Utterances to train on and to test on, of different speakers.

    ``lexicon`` holds the corpus's own pronunciations, phones without stress; ``left_out`` the utterances that
    cannot be used, by reason. ``digest`` is of transcripts, lexicon and the content of the audio files.
    """

    name: str
    train: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    lexicon: dict[str, list[tuple[str, ...]]]
    digest: str
    synthetic: bool = False
    left_out: dict[str, list[str]] = field(default_factory=dict)


def read_audio(path: Path) -> tuple[Float[Tensor, "sample"], list[str]]:
    """Samples at 16 kHz in -1 .. 1, and what was done to them: resampled, channels averaged.

    Raises:
        ValueError: it cannot be read as audio, or holds none.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, TypeError, soundfile.LibsndfileError) as error:  # TypeError: headerless audio
        raise ValueError(f"{path} cannot be read as audio") from error
    if not len(samples):
        raise ValueError(f"{path} holds no sound")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds samples that are no numbers")
    remarks = []
    if samples.shape[1] > 1:
        remarks.append(f"{samples.shape[1]} channels, averaged")
    sound = torch.from_numpy(samples).mean(1)
    if rate != RATE:
        remarks.append(f"{rate} samples a second, resampled to {RATE}")
        sound = torchaudio.functional.resample(sound, rate, RATE)
    return sound, remarks


def words_of(text: str) -> tuple[str, ...]:
    """The words of a transcript in lower case, marks of noises left out."""
    return tuple(WORD.findall(MARK.sub(" ", text).replace("’", "'").lower()))
