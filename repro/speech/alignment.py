"""Forced alignment by pocketsphinx: the tied HMM state (senone) of each frame of a recording.

pocketsphinx's US English model has 5,126 tied states, three for each phone in context. They are the classes of the
acoustic models, as the paper's 14,000 states are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pocketsphinx
from jaxtyping import Float, Int
from torch import Tensor

from repro.data.speech.corpus import RATE
from repro.data.speech.lexicon import Pronunciations, cmudict, pronunciations

STATES = 5126
HOP = RATE // 100  # samples in a frame of 10 ms
# Faint noise before and after a recording: without it, a word at the very edge is often missed.
MARGIN = 10  # frames
LOUDNESS = 8  # of 32768
# Beams of the second attempt, relative to the best path. pocketsphinx's defaults are 1e-48, 1e-48 and 7e-29.
WIDE = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80}


@dataclass(frozen=True)
class Segment:
    """A word or a phone, its first frame and its number of frames."""

    name: str
    start: int
    frames: int


@dataclass(frozen=True)
class Alignment:
    """The tied state of each 10 ms frame, and the segments of words and phones."""

    states: Int[np.ndarray, "frame"]
    words: list[Segment]
    phones: list[Segment]


class Aligner:
    """Forced alignment with pocketsphinx's acoustic model and dictionary, extended by a lexicon."""

    def __init__(self, lexicon: Pronunciations | None = None):
        """Set the lexicon: pronunciations in the model's phones; those with other phones are ignored."""
        self.lexicon = lexicon or {}

    @cached_property
    def decoder(self) -> pocketsphinx.Decoder:
        """The decoder, created at first use: that is slow, and it cannot be pickled."""
        return self._create()

    @cached_property
    def thorough(self) -> pocketsphinx.Decoder:
        """A decoder with wide beams, for recordings that the first one cannot align."""
        return self._create(**WIDE)

    def _create(self, **beams: float) -> pocketsphinx.Decoder:
        decoder = pocketsphinx.Decoder(lm=None, bestpath=False, loglevel="FATAL", **beams)
        for word, spellings in pronunciations(self.lexicon, self.lexicon).items():
            present = len(cmudict().get(word, []))
            for number, phones in enumerate(spellings[present:], present + 1):
                decoder.add_word(f"{word}({number})" if number > 1 else word, " ".join(phones), True)
        return decoder

    def unknown(self, words: Iterable[str]) -> list[str]:
        """Return the words that have no pronunciation."""
        pronounced = pronunciations(words := list(words), self.lexicon)
        return [word for word in words if word not in pronounced]

    def align(self, samples: Float[Tensor, "sample"], words: Iterable[str]) -> Alignment | None:
        """Return the alignment of a recording with its words; None if pocketsphinx finds none.

        Args:
            samples: at 16 kHz, in -1 .. 1.
            words: transcript.
        """
        sound = (samples.clamp(-1, 1) * 32767).round().short().numpy()
        rng = np.random.default_rng(len(sound))
        noise = rng.integers(-LOUDNESS, LOUDNESS + 1, (2, MARGIN * HOP)).astype(np.int16)
        raw = np.concatenate([noise[0], sound, noise[1]]).tobytes()
        text, frames = " ".join(words), round(len(sound) / HOP)
        return _aligned(self.decoder, raw, text, frames) or _aligned(self.thorough, raw, text, frames)


def _aligned(decoder: pocketsphinx.Decoder, raw: bytes, text: str, frames: int) -> Alignment | None:
    try:
        decoder.set_align_text(text)
        _process(decoder, raw)  # aligns words
        decoder.set_alignment()
        _process(decoder, raw)  # aligns phones and states
        alignment = decoder.get_alignment()
    except RuntimeError:
        return None
    return None if alignment is None else _without_margins(alignment, frames)


def _process(decoder: pocketsphinx.Decoder, raw: bytes) -> None:
    decoder.reinit_feat()  # otherwise the estimate of the noise depends on earlier recordings
    decoder.start_utt()
    try:
        decoder.process_raw(raw, full_utt=True)
    finally:
        decoder.end_utt()  # otherwise no further utterance can be started


def _without_margins(alignment: pocketsphinx.Alignment, frames: int) -> Alignment | None:
    # pocketsphinx's frames begin where ours are centered: states are 0.8 of a frame late, for all models alike.
    states = np.full(frames + 2 * MARGIN, -1)
    words, phones = [], []
    for word in alignment:
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
