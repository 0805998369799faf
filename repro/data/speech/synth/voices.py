"""Speakers of the synthetic corpus: random voices for eSpeak NG, which the package espeakng-loader contains.

eSpeak keeps state between utterances: the phase of the pitch's flutter, the period of the voice's roughness, a gain
that attenuates loud passages, C's rand() for breath. These voices use none of it, so that the samples are a function of
the voice, the manner and the text only.
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

SPOKEN_RATE = 22_050  # samples per second of eSpeak's output
ACCENTS = tuple(
    f"en{name}" for name in ("", "-029", "-GB-scotland", "-GB-x-gbclan", "-GB-x-gbcwmd", "-GB-x-rp", "-US", "-US-nyc")
)
DATA = ("phondata", "phonindex", "phontab", "intonations", "en_dict")
# Two synthesizers: sums of harmonics (0), and the cascade of resonators that voice files call "klatt 6"; Klatt's own (1
# to 5) keep state, and some click. Fraction of the speakers, and volume (of 100) that stays below full scale.
SOURCES = {0: (0.6, 25), 6: (0.4, 20)}
# Ranges of women, men and children: pitch in Hz, formants relative to the average man's, and fraction of the speakers.
PEOPLE = {"woman": ((150, 250), (1.06, 1.18), 0.45), "man": ((75, 150), (0.9, 1.06), 0.45),
          "child": ((220, 290), (1.15, 1.25), 0.1)}  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """A speaker's voice: accent, synthesizer, lines of an eSpeak voice file, and usual rate in words per minute."""

    accent: str
    source: int
    lines: tuple[str, ...]
    rate: float


@dataclass(frozen=True)
class Manner:
    """Prosody of one utterance: words per minute; pitch and its range (0 .. 99, usually 50); pauses in 10 ms."""

    rate: int
    pitch: int
    range: int
    gap: int


def voice(draw: np.random.Generator) -> Voice:
    """Return a random voice."""
    fractions = [fraction for *_, fraction in PEOPLE.values()]
    pitches, tracts, _ = list(PEOPLE.values())[draw.choice(len(PEOPLE), p=fractions)]
    accent = ACCENTS[draw.integers(len(ACCENTS))]
    source = int(draw.choice(list(SOURCES), p=[fraction for fraction, _ in SOURCES.values()]))
    base, tract = draw.uniform(*pitches), draw.uniform(*tracts)
    formants = np.stack([
        100 * tract * np.exp(draw.normal(0, 0.03, 9)),  # frequency, height and width, each in percent
        draw.uniform(75, 125, 9),
        draw.uniform(85, 140, 9),
    ]).round().astype(int)  # fmt: skip
    lines = [
        f"pitch {base:.0f} {base * draw.uniform(1.2, 1.7):.0f}",
        "flutter 0",
        "roughness 8",  # valid values are 0 .. 7; 8 turns it off
        f"voicing {draw.uniform(70, 120):.0f}",
        f"consonants {draw.uniform(60, 110):.0f} {draw.uniform(60, 110):.0f}",
        *(f"formant {number} {' '.join(map(str, values))}" for number, values in enumerate(formants.T)),
        *([f"klatt {source}"] if source else []),
    ]
    return Voice(accent, source, tuple(lines), draw.uniform(130, 215))


def manner(voice: Voice, draw: np.random.Generator) -> Manner:
    """Return a random prosody for an utterance of this voice."""
    rate = voice.rate * np.exp(draw.normal(0, 0.07))
    pitch, width = np.clip(draw.normal(50, (5, 12)), 20, 80).round()
    return Manner(round(rate), int(pitch), int(width), int(draw.integers(3)))


class Espeak:
    """eSpeak NG with English and one custom voice: a context manager, of which a process can have one at a time."""

    def __enter__(self) -> "Espeak":
        """Start eSpeak.

        Raises:
            UserError: eSpeak does not start.
        """
        with ExitStack() as stack:
            # eSpeak reads its own data and the custom voices from one folder.
            self._home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voices")))
            source = Path(espeakng_loader.get_data_path())
            for name in DATA:
                shutil.copy(source / name, self._home)
            (self._home / "voices").mkdir()
            (self._home / "lang").mkdir()
            self._accents = {name: (source / "lang" / "gmw" / name).read_text(encoding="utf-8") for name in ACCENTS}
            self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
            self._library.espeak_Synth.argtypes = SYNTH
            # Samples go to the callback, in this thread; errors return instead of ending the process.
            rate = self._library.espeak_Initialize(2, 0, str(self._home).encode(), 0x8000)
            if rate != SPOKEN_RATE:
                raise UserError(f"espeak-ng does not start with its data in {self._home}; try a shorter path in TMPDIR")
            stack.callback(self._library.espeak_Terminate)
            self._samples: list[bytes] = []
            self._callback = CALLBACK(self._receive)  # a reference, or it would be garbage collected
            self._library.espeak_SetSynthCallback(self._callback)
            self._written: Voice | None = None
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop eSpeak and remove its folder."""
        self._stack.close()

    def say(self, voice: Voice, manner: Manner, text: str) -> Int16[np.ndarray, "sample"]:
        """Return the samples of a text, at ``SPOKEN_RATE``.

        Raises:
            RuntimeError: eSpeak reports an error, or returns no samples.
        """
        if voice != self._written:
            lines = [self._accents[voice.accent], *voice.lines, ""]
            (self._home / "voices" / "ours").write_text("\n".join(lines), encoding="utf-8")
            self._written = voice
        self._check(self._library.espeak_SetVoiceByName(b"ours"))
        values = {1: manner.rate, 2: SOURCES[voice.source][1], 3: manner.pitch, 4: manner.range, 7: manner.gap}
        for parameter, value in values.items():
            self._check(self._library.espeak_SetParameter(parameter, value, 0))
        self._samples.clear()
        content = text.encode() + b"\0"
        self._check(self._library.espeak_Synth(content, len(content), 0, 0, 0, 1, None, None))
        self._check(self._library.espeak_Synchronize())
        if not self._samples:
            raise RuntimeError(f"espeak-ng returns no samples for {text!r}")
        return np.frombuffer(b"".join(self._samples), np.int16)

    def _receive(self, samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            self._samples.append(ctypes.string_at(samples, 2 * count))
        return 0

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise RuntimeError(f"espeak-ng fails with status {status}")


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
SYNTH: list[Any] = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
         ctypes.c_void_p, ctypes.c_void_p]  # fmt: skip
