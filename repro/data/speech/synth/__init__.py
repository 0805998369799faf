"""The embedded corpus "synth": queries to a telephone, said by voices of eSpeak NG in noisy rooms; made on the spot.

A Kaldi data directory that ``corpus.kaldi`` reads. It is a pure function of its settings and the seed: an utterance
depends on nothing but its part, its speaker and its number.
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
STEP = 50  # a second holds 50 blocks of 441 samples as spoken, of 320 as written
ABOUT = "about.json"
DECAY = 3 * np.log(10)  # nepers: the amplitude of a reverberation falls by 60 dB in its time
CEILING = 0.95  # of full scale
# What differs from speaker to speaker and room to room; pairs are bounds of uniform draws.
MICROPHONE = ((60, 250, 1000, 3000, 8000), 3.0)  # Hz, and the standard deviation of the gain there in dB
CUTOFF = (60.0, 250.0)  # Hz, of the microphone's high-pass
REVERBERATION = (0.1, 0.7)  # s, to fall by 60 dB
DIRECTNESS = (0.0, 18.0)  # dB, direct sound over reverberation
COLOUR = (0.5, 2.0)  # the power of the noise falls with the frequency to this power: pink is 1, brown 2
FLATTEST = 60  # Hz: below, the noise is white
LEVEL = (-34.0, -20.0)  # dB of full scale
SILENCE = (0.1, 0.4)  # s, before and after the speech

Share = Annotated[float, Field(gt=0, le=10_000)]
Count = Annotated[int, Field(ge=1, le=10_000)]
Decibel = Annotated[float, Field(ge=-20, le=100)]


class SynthSettings(Settings):
    """How much is said by how many, and how far in dB the speech is above the noise: bounds of a uniform draw."""

    train_hours: Share = 10.0
    test_hours: Share = 1.0
    train_speakers: Count = 200
    test_speakers: Count = 40
    snr: tuple[Decibel, Decibel] = (10.0, 30.0)

    @model_validator(mode="after")
    def _ordered(self) -> "SynthSettings":
        if self.snr[0] > self.snr[1]:
            raise ValueError("snr: should be the lower bound, then the upper one")
        return self


@dataclass(frozen=True)
class Speaker:
    """Who speaks, in which part of the corpus, and the gain of their microphone at each frequency of ``response``."""

    part: str
    number: int
    voice: Voice
    gains: tuple[float, ...]
    cutoff: float

    @property
    def id(self) -> str:
        """The name in ``utt2spk``."""
        return f"{self.part}-{self.number:04d}"


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """Random numbers that belong to this seed and key alone."""
    text = ":".join(map(str, (seed, *key)))
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))


def speaker(part: str, number: int, seed: int) -> Speaker:
    """A speaker of a part, ``train`` or ``test``; none is in both."""
    draw = generator(seed, "speaker", part, number)
    places, deviation = MICROPHONE
    return Speaker(part, number, voice(draw), tuple(draw.normal(0, deviation, len(places))), draw.uniform(*CUTOFF))


def utterance(
    espeak: Espeak, who: Speaker, number: int, seed: int, snr: tuple[float, float]
) -> tuple[str, Int16[np.ndarray, "sample"]]:
    """The words in lower case and the recording, at 16 kHz, of a speaker's utterance of that number."""
    draw = generator(seed, "utterance", who.part, who.number, number)
    text = sentence(draw, who.part == "test")
    return text, record(espeak.say(who.voice, manner(who.voice, draw), text), who, draw.uniform(*snr), draw)


def record(
    spoken: Int16[np.ndarray, "sample"], who: Speaker, snr: float, draw: np.random.Generator
) -> Int16[np.ndarray, "written"]:
    """Speech as it is recorded in a room: resampled to 16 kHz, with reverberation, noise and the microphone's colour.

    All at once on the spectrum, where each is a product; without the effect that the number of threads has on sums.
    """
    before, after = (round(length * SPOKEN_RATE) for length in draw.uniform(*SILENCE, 2))
    decay, directness = draw.uniform(*REVERBERATION), draw.uniform(*DIRECTNESS)
    colour, level = draw.uniform(*COLOUR), draw.uniform(*LEVEL)
    blocks = ceil((before + len(spoken) + after) * STEP / SPOKEN_RATE)
    room = ceil(decay * STEP)  # so that no echo of the end comes round to the beginning
    total = fft.next_fast_len(blocks + room, real=True)
    wide, narrow = total * SPOKEN_RATE // STEP, total * RATE // STEP
    frequency = fft.rfftfreq(narrow, 1 / RATE).astype(np.float32)

    samples = np.zeros(wide, np.float32)
    samples[before : before + len(spoken)] = spoken
    speech = fft.rfft(samples)[: len(frequency)] * np.float32(narrow / wide)
    speech *= _room(decay, directness, draw, narrow)
    noise = draw.standard_normal((len(frequency), 2), np.float32).view(np.complex64)[:, 0]
    noise *= np.maximum(frequency, FLATTEST) ** np.float32(-colour / 2)

    power = _power(speech, narrow) * narrow / (len(spoken) * RATE / SPOKEN_RATE)  # while there is speech
    noise *= np.sqrt(power / _power(noise, narrow)) * 10 ** (-snr / 20)
    mixed = (speech + noise) * (_microphone(who, frequency) * np.sqrt(10 ** (level / 10) / power))
    sound = fft.irfft(mixed.astype(np.complex64), narrow)[: blocks * RATE // STEP]
    sound *= min(1, CEILING / np.abs(sound).max())
    return (sound * 32767).round().astype(np.int16)


def _room(
    decay: float, directness: float, draw: np.random.Generator, length: int
) -> Complex64[np.ndarray, "frequency"]:
    """The spectrum of a room's impulse response: the direct sound, then noise that dies away."""
    time = np.arange(round(decay * RATE), dtype=np.float32) / RATE
    tail = draw.standard_normal(len(time), np.float32) * np.exp(-time * np.float32(DECAY / decay))
    tail[: round(draw.uniform(0.001, 0.01) * RATE)] = 0  # the way to the nearest wall
    tail *= np.float32(10 ** (-directness / 20)) / np.sqrt((tail**2).sum())
    tail[0] = 1
    return fft.rfft(tail, length)


def _microphone(who: Speaker, frequency: Float32[np.ndarray, "frequency"]) -> Float32[np.ndarray, "frequency"]:
    """Gain at each frequency: a smooth curve through the speaker's gains, on a high-pass of second order."""
    heard = np.maximum(frequency, 1)
    gain = np.interp(np.log(heard), np.log(MICROPHONE[0]), who.gains)
    return (10 ** (gain / 20) / np.sqrt(1 + (who.cutoff / heard) ** 4)).astype(np.float32)


def _power(spectrum: Complex64[np.ndarray, "frequency"], length: int) -> float:
    """Mean square of the signal of that length."""
    return float(2 * (np.abs(spectrum) ** 2).sum(dtype=np.float64) / length**2)


def specification(settings: SynthSettings, seed: int = 0) -> dict[str, Any]:
    """All that the corpus is made from, as JSON data; equal ones give the same words and samples."""
    files = (FILES / name for name in ("rules.txt", "words.txt"))
    return {
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "code": code_version(
            ("data/speech/synth/__init__.py", "data/speech/synth/grammar.py", "data/speech/synth/voices.py")
        ),
        "language": hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12],
        "espeakng-loader": version("espeakng-loader"),
    }


def build(
    folder: Path, settings: SynthSettings | None = None, seed: int = 0, progress: Callable[[float], None] | None = None
) -> Path:
    """The corpus as a Kaldi data directory in ``folder``, made where it is not there yet.

    It holds ``train/`` and ``test/`` with ``wav.scp``, ``text`` and ``utt2spk``; ``audio/<speaker>/<utterance>.flac``,
    16 kHz, mono, 16 bits; and ``about.json``, what it was made from, the hours, and the sha256 of words and samples.
    It is built beside ``folder`` and renamed when it is whole. A corpus made from something else is replaced.

    Args:
        progress: is told the share that is done, 0 .. 1, after each speaker.

    Raises:
        UserError: something else is in the folder, another process is building there, or eSpeak does not start.
        OSError: it cannot be written.
    """
    settings, folder = settings or SynthSettings(), folder.expanduser().absolute()
    made_from = specification(settings, seed)
    if about(folder).get("made_from") == made_from:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished, replaced = (folder.with_name(f"{folder.name}.{what}") for what in ("unfinished", "replaced"))
    lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(f"{folder}: another process is building this corpus; wait for it") from error
    try:
        for leftover in (unfinished, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        if folder.exists() and not about(folder) and any(folder.iterdir()):
            raise UserError(f"{folder}: holds something other than this corpus; name another folder")
        written = _write(unfinished, settings, seed, progress or (lambda share: None))
        content = json.dumps({"made_from": made_from, **written}, indent=1) + "\n"
        (unfinished / ABOUT).write_text(content, encoding="utf-8")
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(unfinished, folder)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        lock.release()
    return folder


def about(folder: Path) -> dict[str, Any]:
    """What ``about.json`` says of a corpus; nothing where there is none, or none that is whole."""
    try:
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _flac(sound: Int16[np.ndarray, "sample"]) -> bytes:
    content = io.BytesIO()  # soundfile would wait for the disk after each file that it writes itself
    soundfile.write(content, sound, RATE, "PCM_16", format="FLAC")
    return content.getvalue()


def _write(root: Path, settings: SynthSettings, seed: int, progress: Callable[[float], None]) -> dict[str, Any]:
    digest, hours, done = hashlib.sha256(), {}, 0.0
    sizes = {"train": (settings.train_hours, settings.train_speakers),
             "test": (settings.test_hours, settings.test_speakers)}  # fmt: skip
    whole = sum(length for length, _ in sizes.values())
    with Espeak() as espeak:
        for part, (length, count) in sizes.items():
            tables: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
            samples = 0
            for who in (speaker(part, number, seed) for number in range(count)):
                until, number = samples + length * 3600 * RATE / count, 0
                (root / "audio" / who.id).mkdir(parents=True)
                while samples < until:
                    words, sound = utterance(espeak, who, number, seed, settings.snr)
                    id = f"{who.id}-{number:05d}"
                    where = f"audio/{who.id}/{id}.flac"
                    (root / where).write_bytes(_flac(sound))
                    for name, value in zip(tables, (where, words.upper(), who.id), strict=True):
                        tables[name].append(f"{id} {value}\n")
                    digest.update(f"{id} {words}\n".encode() + sound.astype("<i2").tobytes())
                    samples, number = samples + len(sound), number + 1
                progress((done + length * (who.number + 1) / count) / whole)
            (root / part).mkdir()
            for name, lines in tables.items():
                (root / part / name).write_text("".join(lines), encoding="utf-8")
            hours[part], done = samples / RATE / 3600, done + length
    return {"hours": hours, "sha256": digest.hexdigest()}
