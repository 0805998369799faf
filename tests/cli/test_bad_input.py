"""Malformed image folders and corpora: one line that names the problem, exit code 2, nothing lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image


def write_image(path: Path, side: int = 16) -> None:
    """Write a square image of random colors, always the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)


def write_images(root: Path) -> None:
    """Write a valid data set of two classes with three images each in train and test, no two files alike."""
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            for number in range(3):
                path = root / part / name / f"{number}.png"
                write_image(path)
                with path.open("ab") as file:
                    file.write(bytes([label, number, part == "test"]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: shutil.rmtree(root / "test"), "has no folder 'test'"),
        (lambda root: shutil.rmtree(root / "train" / "dog"), "two or more classes"),
        (lambda root: write_image(root / "test" / "bird" / "0.png"), "bird"),
        (lambda root: [file.unlink() for file in (root / "train" / "cat").iterdir()], "the class is empty"),
        (lambda root: (root / "train" / "cat" / "0.png").write_bytes(b"no picture"), "cannot be read"),
        (lambda root: write_image(root / "train" / "cat" / "9.png", 20), "images must be of one size"),
        (lambda root: write_image(root / "train" / "cat" / "9.png", 4), "set data.resize"),
    ],
)
def test_a_malformed_folder_of_images_is_named(error_of, tmp_path, damage: Callable, message):
    write_images(tmp_path / "pets")
    damage(tmp_path / "pets")
    changes = ["--set", "data.source='folder'", "--set", "data.folder='pets'"]
    assert message in error_of("specialists", "--profile", "smoke", *changes)


def write_corpus(root: Path) -> None:
    """Write a valid corpus of noise: two speakers in each part, with one utterance each."""
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
        (root / "audio").mkdir(exist_ok=True)
        ids = [f"{part}{number}" for number in range(2)]
        for id in ids:
            noise = np.random.default_rng([len(id), int(id[-1])]).normal(0, 0.1, 16_000)
            soundfile.write(root / "audio" / f"{id}.wav", noise, 16_000)
        for name, line in (("wav.scp", "{0} audio/{0}.wav"), ("text", "{0} HELLO WORLD"), ("utt2spk", "{0} s{0}")):
            (root / part / name).write_text("".join(f"{line.format(id)}\n" for id in ids))


def change_lines(path: Path, change: Callable[[str], str]) -> None:
    """Rewrite a text file line by line."""
    path.write_text("".join(f"{change(line)}\n" for line in path.read_text().splitlines()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root), "there is no folder"),
        (lambda root: shutil.rmtree(root / "test"), "holds train/ and test/"),
        (lambda root: (root / "train" / "text").unlink(), "no such file"),
        (lambda root: (root / "train" / "wav.scp").write_text(""), "is empty"),
        (lambda root: (root / "train" / "wav.scp").write_bytes(b"\xff\xfe"), "is not text"),
        (lambda root: change_lines(root / "train" / "wav.scp", lambda line: f"{line} |"), "is a command"),
        (
            lambda root: change_lines(root / "train" / "wav.scp", lambda line: "train0 audio/train0.wav"),
            "duplicate key train0",
        ),
        (lambda root: change_lines(root / "train" / "text", lambda line: line.split()[0]), "holds no usable utterance"),
        (lambda root: shutil.rmtree(root / "audio"), "holds no usable utterance"),
        (lambda root: change_lines(root / "train" / "utt2spk", lambda line: f"x{line}"), "holds no usable utterance"),
        (lambda root: (root / "lexicon.txt").write_text("HELLO\n"), "HELLO has no phones"),
        (lambda root: [file.write_bytes(b"RIFF") for file in (root / "audio").iterdir()], "train"),
        (lambda root: change_lines(root / "train" / "utt2spk", lambda line: f"{line.split()[0]} stest0"), "train"),
    ],
)
def test_a_malformed_corpus_is_named(error_of, tmp_path, damage: Callable, message):
    write_corpus(tmp_path / "mine")
    damage(tmp_path / "mine")
    assert message in error_of("speech", "--profile", "smoke", "--set", "data.corpus='kaldi:mine'")


def test_a_relative_corpus_is_looked_for_here_and_in_the_data_directory(error_of):
    line = error_of("speech", "--profile", "smoke", "--set", "data.corpus=kaldi:nowhere")
    assert "there is no folder nowhere, neither here nor in" in line
