"""The synthetic corpus "synth": voice queries spoken by eSpeak NG in noisy rooms, made on this machine.

The corpus is a Kaldi data directory that ``repro.data.speech.kaldi`` reads, and a pure function of its settings: an
utterance depends on nothing but the seed, the noise, its part, its speaker and its number. ``grammar`` makes the
sentences, ``voices`` the speakers; this module makes recordings and writes the corpus.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import filelock
import numpy as np
import soundfile
from jaxtyping import Complex64, Float32, Int16
from pydantic import Field, model_validator
from scipy import fft

from repro.config import Settings
from repro.data.speech.synth.grammar import FILES, sentence
from repro.data.speech.synth.voices import SPOKEN_RATE, Espeak, Voice, manner, voice
from repro.engine.store import code_version
from repro.errors import UserError

RATE = 16_000
STEP = 50  # blocks per second: of 441 samples as spoken, of 320 as written
ABOUT = "about.json"
DECAY = 3 * np.log(10)  # nepers: the amplitude of a reverberation falls by 60 dB in its decay time
CEILING = 0.95  # largest amplitude, relative to full scale
# Properties of speakers and rooms; pairs are bounds of uniform draws.
MICROPHONE = ((60, 250, 1000, 3000, 8000), 3.0)  # Hz, and the standard deviation of the gain there in dB
CUTOFF = (60.0, 250.0)  # Hz, of the microphone's high-pass
REVERBERATION = (0.1, 0.7)  # s until the amplitude has fallen by 60 dB
DIRECTNESS = (0.0, 18.0)  # dB, direct sound over reverberation
COLOR = (0.5, 2.0)  # exponent with which the power of the noise falls with frequency: pink noise 1, brown noise 2
FLATTEST = 60  # Hz, below which the noise is white
LEVEL = (-34.0, -20.0)  # dB relative to full scale
SILENCE = (0.1, 0.4)  # s, before and after the speech

Hours = Annotated[float, Field(gt=0, le=10_000)]
Count = Annotated[int, Field(ge=1, le=10_000)]
Decibel = Annotated[float, Field(ge=-20, le=100)]


class SynthSettings(Settings):
    """Amount of synthetic speech, number of speakers, level of the noise, and seed."""

    train_hours: Hours = Field(10.0, description="Hours of speech in train. Default: 10.")
    test_hours: Hours = Field(1.0, description="Hours of speech in test. Default: 1.")
    train_speakers: Count = Field(200, description="Number of speakers in train. Default: 200.")
    test_speakers: Count = Field(40, description="Number of speakers in test. Default: 40.")
    snr: tuple[Decibel, Decibel] = Field(
        (10.0, 30.0),
        description="Lowest and highest signal-to-noise ratio in dB, drawn uniformly for each utterance. "
        "Default: [10, 30].",
    )

    seed: int = Field(
        0, ge=0, description="Seed of sentences, speakers and noise; corpora of different seeds share no recording. "
        "Default: 0."
    )  # fmt: skip

    @model_validator(mode="after")
    def _ordered(self) -> "SynthSettings":
        if self.snr[0] > self.snr[1]:
            raise ValueError("snr must be the lower bound, then the upper one")
        return self


@dataclass(frozen=True)
class Speaker:
    """A speaker: part of the corpus, number, voice, and the microphone: gains in dB at the frequencies of MICROPHONE
    and cutoff of its high-pass in Hz."""

    part: str
    number: int
    voice: Voice
    gains: tuple[float, ...]
    cutoff: float

    @property
    def id(self) -> str:
        """Return the name in ``utt2spk``."""
        return f"{self.part}-{self.number:04d}"


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """Return a random generator that depends on this seed and key only."""
    text = ":".join(map(str, (seed, *key)))
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))


def speaker(part: str, number: int, seed: int) -> Speaker:
    """Return a speaker of a part, ``train`` or ``test``; no speaker is in both."""
    draw = generator(seed, "speaker", part, number)
    places, deviation = MICROPHONE
    return Speaker(part, number, voice(draw), tuple(draw.normal(0, deviation, len(places))), draw.uniform(*CUTOFF))


def utterance(
    espeak: Espeak, speaker: Speaker, number: int, seed: int, snr: tuple[float, float]
) -> tuple[str, Int16[np.ndarray, "sample"]]:
    """Return words in lower case and recording, at 16 kHz, of a speaker's utterance by its number."""
    draw = generator(seed, "utterance", speaker.part, speaker.number, number)
    text = sentence(draw, speaker.part == "test")
    spoken = espeak.say(speaker.voice, manner(speaker.voice, draw), text)
    return text, record(spoken, speaker, draw.uniform(*snr), draw)


def record(
    spoken: Int16[np.ndarray, "sample"], speaker: Speaker, snr: float, draw: np.random.Generator
) -> Int16[np.ndarray, "written"]:
    """Return speech as recorded in a room: at 16 kHz, with reverberation, noise and the response of the microphone.

    Everything is done on the spectrum, where each step is a product, and does not depend on the number of threads.
    """
    before, after = (round(length * SPOKEN_RATE) for length in draw.uniform(*SILENCE, 2))
    decay, directness = draw.uniform(*REVERBERATION), draw.uniform(*DIRECTNESS)
    color, level = draw.uniform(*COLOR), draw.uniform(*LEVEL)
    blocks = ceil((before + len(spoken) + after) * STEP / SPOKEN_RATE)
    tail = ceil(decay * STEP)  # so that no echo of the end wraps around to the beginning
    total = fft.next_fast_len(blocks + tail, real=True)
    wide, narrow = total * SPOKEN_RATE // STEP, total * RATE // STEP
    frequency = fft.rfftfreq(narrow, 1 / RATE).astype(np.float32)

    samples = np.zeros(wide, np.float32)
    samples[before : before + len(spoken)] = spoken
    speech = fft.rfft(samples)[: len(frequency)] * np.float32(narrow / wide)
    speech *= _room(decay, directness, draw, narrow)
    noise = draw.standard_normal((len(frequency), 2), np.float32).view(np.complex64)[:, 0]
    noise *= np.maximum(frequency, FLATTEST) ** np.float32(-color / 2)

    power = _power(speech, narrow) * narrow / (len(spoken) * RATE / SPOKEN_RATE)  # of the speech itself
    noise *= np.sqrt(power / _power(noise, narrow)) * 10 ** (-snr / 20)
    mixed = (speech + noise) * (_microphone(speaker, frequency) * np.sqrt(10 ** (level / 10) / power))
    sound = fft.irfft(mixed.astype(np.complex64), narrow)[: blocks * RATE // STEP]
    sound *= min(1, CEILING / np.abs(sound).max())
    return (sound * 32767).round().astype(np.int16)


def _room(
    decay: float, directness: float, draw: np.random.Generator, length: int
) -> Complex64[np.ndarray, "frequency"]:
    """Return the spectrum of a room's impulse response: the direct sound, then decaying noise."""
    time = np.arange(round(decay * RATE), dtype=np.float32) / RATE
    tail = draw.standard_normal(len(time), np.float32) * np.exp(-time * np.float32(DECAY / decay))
    tail[: round(draw.uniform(0.001, 0.01) * RATE)] = 0  # the distance to the nearest wall
    tail *= np.float32(10 ** (-directness / 20)) / np.sqrt((tail**2).sum())
    tail[0] = 1
    return fft.rfft(tail, length)


def _microphone(speaker: Speaker, frequency: Float32[np.ndarray, "frequency"]) -> Float32[np.ndarray, "frequency"]:
    """Return the gain at each frequency: interpolated gains of the microphone times a second-order high-pass."""
    positive = np.maximum(frequency, 1)
    gain = np.interp(np.log(positive), np.log(MICROPHONE[0]), speaker.gains)
    return (10 ** (gain / 20) / np.sqrt(1 + (speaker.cutoff / positive) ** 4)).astype(np.float32)


def _power(spectrum: Complex64[np.ndarray, "frequency"], length: int) -> float:
    """Return the mean square of the signal with this spectrum and length."""
    return float(2 * (np.abs(spectrum) ** 2).sum(dtype=np.float64) / length**2)


def specification(settings: SynthSettings) -> dict[str, Any]:
    """Return everything that determines the corpus as JSON data: equal data give the same words and samples."""
    files = (FILES / name for name in ("rules.txt", "words.txt"))
    return {
        "settings": settings.model_dump(mode="json"),
        "code": code_version(
            ("data/speech/synth/__init__.py", "data/speech/synth/grammar.py", "data/speech/synth/voices.py")
        ),
        "language": hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12],
        "espeakng-loader": version("espeakng-loader"),
    }


def build(
    folder: Path,
    settings: SynthSettings | None = None,
    progress: Callable[[float], None] | None = None,
    *,
    damaged: int | None = None,
) -> Path:
    """Make the corpus as a Kaldi data directory in ``folder``, unless it exists, and return the folder.

    The folder holds ``train/`` and ``test/`` with ``wav.scp``, ``text`` and ``utt2spk``; recordings in
    ``audio/<speaker>/<utterance>.flac`` (16 kHz, mono, 16 bits); and ``about.json`` with the specification, the hours,
    and the sha256 of words and samples. The corpus is built beside ``folder`` and renamed when it is complete. A corpus
    of another specification is replaced.

    Args:
        folder: the directory to make.
        settings: amount of speech. Default: 10 hours of train and 1 hour of test.
        progress: called after each speaker with the fraction that is done, 0 .. 1. Default: not called.
        damaged: ``made_at`` of a corpus that is to be replaced; one that was made since then stays. Default: none.

    Raises:
        UserError: the folder has other content, another process is building there, or eSpeak does not start.
        OSError: a file cannot be written.
    """
    settings, folder = settings or SynthSettings(), folder.expanduser().absolute()
    made_from = specification(settings)
    if damaged is None and about(folder).get("made_from") == made_from:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished, replaced = (folder.with_name(f"{folder.name}.{state}") for state in ("unfinished", "replaced"))
    lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(f"{folder}: another process is building this corpus; wait for it") from error
    try:
        if damaged is not None and made_at(folder) != damaged:
            return folder  # another process has made it again
        for leftover in (unfinished, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        if folder.exists() and not about(folder) and any(folder.iterdir()):
            raise UserError(f"{folder}: holds something other than this corpus; name another folder")
        written = _write(unfinished, settings, progress or (lambda fraction: None))
        content = json.dumps({"made_from": made_from, **written}, indent=1) + "\n"
        (unfinished / ABOUT).write_text(content, encoding="utf-8")
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(unfinished, folder)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        lock.release()
    return folder


def made_at(folder: Path) -> int:
    """Return when a corpus was made, in nanoseconds since 1970; 0 if there is no complete corpus in the folder."""
    try:
        return (folder / ABOUT).stat().st_mtime_ns
    except OSError:
        return 0


def about(folder: Path) -> dict[str, Any]:
    """Return the content of a corpus's ``about.json``; empty if there is no complete corpus in the folder."""
    try:
        content = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _flac(sound: Int16[np.ndarray, "sample"]) -> bytes:
    content = io.BytesIO()  # soundfile waits for the disk after each file that it writes itself
    soundfile.write(content, sound, RATE, "PCM_16", format="FLAC")
    return content.getvalue()


def _write(root: Path, settings: SynthSettings, progress: Callable[[float], None]) -> dict[str, Any]:
    digest, hours, done = hashlib.sha256(), {}, 0.0
    sizes = {"train": (settings.train_hours, settings.train_speakers),
             "test": (settings.test_hours, settings.test_speakers)}  # fmt: skip
    total = sum(length for length, _ in sizes.values())
    with Espeak() as espeak:
        for part, (length, count) in sizes.items():
            tables: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
            samples = 0
            for person in (speaker(part, number, settings.seed) for number in range(count)):
                until, number = samples + length * 3600 * RATE / count, 0
                (root / "audio" / person.id).mkdir(parents=True)
                while samples < until:
                    words, sound = utterance(espeak, person, number, settings.seed, settings.snr)
                    id = f"{person.id}-{number:05d}"
                    location = f"audio/{person.id}/{id}.flac"
                    (root / location).write_bytes(_flac(sound))
                    for name, value in zip(tables, (location, words.upper(), person.id), strict=True):
                        tables[name].append(f"{id} {value}\n")
                    digest.update(f"{id} {words}\n".encode() + sound.astype("<i2").tobytes())
                    samples, number = samples + len(sound), number + 1
                progress((done + length * (person.number + 1) / count) / total)
            (root / part).mkdir()
            for name, lines in tables.items():
                (root / part / name).write_text("".join(lines), encoding="utf-8")
            hours[part], done = samples / RATE / 3600, done + length
    return {"hours": hours, "sha256": digest.hexdigest()}
