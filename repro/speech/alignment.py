"""Which tied state (senone) of an HMM each frame of a recording is in: forced alignment by pocketsphinx.

Its US English model has 5,126 tied states, three to a phone in context. They are the targets that the nets learn,
as the paper's 14,000 were.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pocketsphinx
from jaxtyping import Float, Int
from torch import Tensor

from repro.data.speech.corpus import RATE

STATES = 5126
HOP = RATE // 100  # samples in a frame of 10 ms
# Faint noise put before and after a recording: without it a word at the very edge is often not found.
MARGIN = 10  # frames
LOUDNESS = 8  # of 32768
# Of the second try, as probabilities below the best path's. pocketsphinx's own are 1e-48, 1e-48 and 7e-29.
WIDE = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80}

Pronunciations = dict[str, list[tuple[str, ...]]]


@dataclass(frozen=True)
class Segment:
    """A word or a phone, the frame it starts in, and for how many it lasts."""

    name: str
    start: int
    frames: int


@dataclass(frozen=True)
class Alignment:
    """The tied state of each 10 ms frame, and the words and phones they belong to."""

    states: Int[np.ndarray, "frame"]
    words: list[Segment]
    phones: list[Segment]


class Aligner:
    """Forced alignment with pocketsphinx's own acoustic model, and its dictionary with a lexicon's words added."""

    def __init__(self, lexicon: Pronunciations | None = None):
        """``lexicon`` gives pronunciations of words, in the model's phones; those in other phones are no use."""
        self.lexicon = lexicon or {}

    @cached_property
    def decoder(self) -> pocketsphinx.Decoder:
        """Made at its first use, for it is slow to make and does not go to another process."""
        return self._make()

    @cached_property
    def thorough(self) -> pocketsphinx.Decoder:
        """The same with wide beams, for recordings in which the words are not found otherwise."""
        return self._make(**WIDE)

    def _make(self, **beams: float) -> pocketsphinx.Decoder:
        decoder = pocketsphinx.Decoder(lm=None, bestpath=False, loglevel="FATAL", **beams)
        for word, spellings in self.lexicon.items():
            if decoder.lookup_word(word) is not None:
                continue
            usable = [phones for phones in spellings if known_phones().issuperset(phones)]
            for number, phones in enumerate(usable):
                decoder.add_word(f"{word}({number + 1})" if number else word, " ".join(phones), True)
        return decoder

    def unknown(self, words: Iterable[str]) -> list[str]:
        """The words that have no pronunciation."""
        return [word for word in words if self.decoder.lookup_word(word) is None]

    def align(self, samples: Float[Tensor, "sample"], words: Iterable[str]) -> Alignment | None:
        """The alignment of a recording with its words; None where pocketsphinx finds none.

        Args:
            samples: at 16 kHz, in -1 .. 1.
        """
        sound = (samples.clamp(-1, 1) * 32767).round().short().numpy()
        draw = np.random.default_rng(len(sound))
        noise = draw.integers(-LOUDNESS, LOUDNESS + 1, (2, MARGIN * HOP)).astype(np.int16)
        raw = np.concatenate([noise[0], sound, noise[1]]).tobytes()
        text, frames = " ".join(words), round(len(sound) / HOP)
        return _aligned(self.decoder, raw, text, frames) or _aligned(self.thorough, raw, text, frames)


def _aligned(decoder: pocketsphinx.Decoder, raw: bytes, text: str, frames: int) -> Alignment | None:
    try:
        decoder.set_align_text(text)
        _listen(decoder, raw)  # to words
        decoder.set_alignment()
        _listen(decoder, raw)  # to phones and states
        found = decoder.get_alignment()
    except RuntimeError:
        return None
    return None if found is None else _without_margins(found, frames)


def _listen(decoder: pocketsphinx.Decoder, raw: bytes) -> None:
    decoder.reinit_feat()  # or its estimate of the noise depends on the recordings before
    decoder.start_utt()
    try:
        decoder.process_raw(raw, full_utt=True)
    finally:
        decoder.end_utt()  # or no further utterance can be started


def _without_margins(found: pocketsphinx.Alignment, frames: int) -> Alignment | None:
    states = np.full(frames + 2 * MARGIN, -1)
    words, phones = [], []
    for word in found:
        words.append(Segment(word.name, word.start - MARGIN, word.duration))
        for phone in word:
            phones.append(Segment(phone.name, phone.start - MARGIN, phone.duration))
            for state in phone:
                states[state.start : state.start + state.duration] = int(state.name)
    last = int(np.flatnonzero(states >= 0).max(initial=-1))
    if last < MARGIN + frames // 2:
        return None
    states[last + 1 :] = states[last]  # the decoder's last frames are shorter than a window
    inside = states[MARGIN : MARGIN + frames]
    return None if (inside < 0).any() else Alignment(inside.astype(np.int16), words, phones)


def dictionary_path() -> Path:
    """The pronunciations that come with pocketsphinx: the CMU dictionary."""
    return Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))


@cache
def known_phones() -> frozenset[str]:
    """The phones of the acoustic model."""
    return frozenset(phone for line in dictionary_path().read_text().splitlines() for phone in line.split()[1:])
