"""Speakers for the synthetic corpus: voices of our own on eSpeak NG, which the wheel espeakng-loader brings.

eSpeak keeps state between utterances: the phase of the pitch's flutter, the period of the voice's roughness, a gain
that ducks loud passages, C's rand() for breath. Our voices use none of these, so that what is said is a function of
the voice, the manner and the text alone.
"""

import ctypes
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
from jaxtyping import Int16

from repro.errors import UserError

SPOKEN_RATE = 22_050  # samples a second that eSpeak makes
ACCENTS = tuple(
    f"en{name}" for name in ("", "-029", "-GB-scotland", "-GB-x-gbclan", "-GB-x-gbcwmd", "-GB-x-rp", "-US", "-US-nyc")
)
DATA = ("phondata", "phonindex", "phontab", "intonations", "en_dict")
# Two synthesisers: sums of harmonics (0), and the cascade of resonators that voice files call "klatt 6". Klatt's own
# (1 to 5) remember, and some click. Shares of the speakers, and volumes, of 100, that keep away from full scale.
SOURCES = {0: (0.6, 25), 6: (0.4, 20)}
# Bands of women, men and children: pitch in Hz, formants relative to the average man's, and their share.
PEOPLE = {"woman": ((150, 250), (1.06, 1.18), 0.45), "man": ((75, 150), (0.9, 1.06), 0.45),
          "child": ((220, 290), (1.15, 1.25), 0.1)}  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """A speaker: an accent, and what its lines in a voice file of eSpeak's say; the usual rate in words a minute."""

    accent: str
    source: int
    lines: tuple[str, ...]
    rate: float


@dataclass(frozen=True)
class Manner:
    """How one utterance is said: words a minute; pitch, its range (0 .. 99, 50 usual); pause between words (10 ms)."""

    rate: int
    pitch: int
    range: int
    gap: int


def voice(draw: np.random.Generator) -> Voice:
    """A speaker drawn at random."""
    pitches, tracts, _ = list(PEOPLE.values())[draw.choice(len(PEOPLE), p=[share for *_, share in PEOPLE.values()])]
    accent = ACCENTS[draw.integers(len(ACCENTS))]
    source = int(draw.choice(list(SOURCES), p=[share for share, _ in SOURCES.values()]))
    base, tract = draw.uniform(*pitches), draw.uniform(*tracts)
    formants = np.stack([
        100 * tract * np.exp(draw.normal(0, 0.03, 9)),  # place, height and width, each in percent
        draw.uniform(75, 125, 9),
        draw.uniform(85, 140, 9),
    ]).round().astype(int)  # fmt: skip
    lines = [
        f"pitch {base:.0f} {base * draw.uniform(1.2, 1.7):.0f}",
        "flutter 0",
        "roughness 8",  # of 0 .. 7: more is none at all
        f"voicing {draw.uniform(70, 120):.0f}",
        f"consonants {draw.uniform(60, 110):.0f} {draw.uniform(60, 110):.0f}",
        *(f"formant {number} {' '.join(map(str, values))}" for number, values in enumerate(formants.T)),
        *([f"klatt {source}"] if source else []),
    ]
    return Voice(accent, source, tuple(lines), draw.uniform(130, 215))


def manner(voice: Voice, draw: np.random.Generator) -> Manner:
    """How the speaker says the next utterance."""
    rate = voice.rate * np.exp(draw.normal(0, 0.07))
    pitch, width = np.clip(draw.normal(50, (5, 12)), 20, 80).round()
    return Manner(round(rate), int(pitch), int(width), int(draw.integers(3)))


class Espeak:
    """eSpeak NG with nothing but English and one voice of ours; a context manager, one at a time in a process."""

    def __enter__(self) -> "Espeak":
        """Start it.

        Raises:
            UserError: it does not start.
        """
        with ExitStack() as stack:
            # Its own data with voices of ours beside it: eSpeak reads both from one folder.
            self._home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voices")))
            source = Path(espeakng_loader.get_data_path())
            for name in DATA:
                shutil.copy(source / name, self._home)
            (self._home / "voices").mkdir()
            (self._home / "lang").mkdir()
            self._accents = {name: (source / "lang" / "gmw" / name).read_text(encoding="utf-8") for name in ACCENTS}
            self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
            self._library.espeak_Synth.argtypes = SYNTH
            # Sound to the callback, in this thread; and return on an error, where the default is to exit.
            rate = self._library.espeak_Initialize(2, 0, str(self._home).encode(), 0x8000)
            if rate != SPOKEN_RATE:
                raise UserError(f"espeak-ng does not start with its data in {self._home}; try a shorter path in TMPDIR")
            stack.callback(self._library.espeak_Terminate)
            self._heard: list[bytes] = []
            self._callback = CALLBACK(self._listen)  # kept, or it would be collected
            self._library.espeak_SetSynthCallback(self._callback)
            self._written: Voice | None = None
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and remove its folder."""
        self._stack.close()

    def say(self, voice: Voice, manner: Manner, text: str) -> Int16[np.ndarray, "sample"]:
        """What is heard, at ``SPOKEN_RATE``.

        Raises:
            RuntimeError: eSpeak refuses, or says nothing.
        """
        if voice != self._written:
            content = "\n".join([self._accents[voice.accent], *voice.lines, ""])
            (self._home / "voices" / "ours").write_text(content, encoding="utf-8")
            self._written = voice
        self._check(self._library.espeak_SetVoiceByName(b"ours"))
        values = {1: manner.rate, 2: SOURCES[voice.source][1], 3: manner.pitch, 4: manner.range, 7: manner.gap}
        for parameter, value in values.items():
            self._check(self._library.espeak_SetParameter(parameter, value, 0))
        self._heard.clear()
        said = text.encode() + b"\0"
        self._check(self._library.espeak_Synth(said, len(said), 0, 0, 0, 1, None, None))
        self._check(self._library.espeak_Synchronize())
        if not self._heard:
            raise RuntimeError(f"espeak-ng says nothing to {text!r}")
        return np.frombuffer(b"".join(self._heard), np.int16)

    def _listen(self, samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            self._heard.append(ctypes.string_at(samples, 2 * count))
        return 0

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise RuntimeError(f"espeak-ng fails with status {status}")


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
SYNTH: list[Any] = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
         ctypes.c_void_p, ctypes.c_void_p]  # fmt: skip
