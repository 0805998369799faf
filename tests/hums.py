"""A Kaldi data directory of a few hums, for tests."""

from pathlib import Path

import numpy as np
import soundfile


def tone(seconds=0.5, rate=16000, channels=1):
    """Return a hum of 440 Hz as (sample, channel)."""
    wave = 0.1 * np.sin(np.arange(int(seconds * rate)) * 440 * 2 * np.pi / rate)
    return np.stack([wave] * channels, axis=1)


def write_corpus(root: Path) -> Path:
    """Write a corpus of two utterances in each part: by two speakers in train, by one in test; return its folder."""
    for part, speakers in (("train", "ab"), ("test", "cc")):
        (root / part).mkdir()
        names = [f"{part}{n}" for n in range(2)]
        for number, name in enumerate(names):  # no two recordings are the same
            soundfile.write(root / f"{name}.wav", tone() * ((1 if part == "train" else 0.9) - 0.03 * number), 16000)
        (root / part / "wav.scp").write_text("".join(f"{n} {n}.wav\n" for n in names))
        (root / part / "text").write_text("".join(f"{n} CALL Bob's <noise> [laugh] shop\n" for n in names))
        (root / part / "utt2spk").write_text("".join(f"{n} {s}\n" for n, s in zip(names, speakers, strict=True)))
    return root
