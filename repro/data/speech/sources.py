"""The setting that selects the corpus of the speech experiment, and the corpus that it selects."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from repro.config import Settings
from repro.data.speech.corpus import Corpus
from repro.data.speech.kaldi import kaldi
from repro.data.speech.synth import SynthSettings
from repro.engine import files, store
from repro.errors import UserError
from repro.names import dataset_name

# Corpora with a name; all others are folders.
CORPORA = ("synth", "librispeech")
LINE_SECONDS = 60  # between lines of progress


class CorpusSource(Settings):
    """Setting ``data``: the corpus, and the fraction of its speakers that is set aside for validation."""

    renamed: ClassVar[dict[str, str]] = {"held_out": "validation_speaker_fraction"}
    corpus: str = Field(
        "synth",
        description="Corpus: synth, librispeech, or kaldi:PATH for a folder with train/ and test/. Default: synth.",
    )
    synth: SynthSettings = Field(
        SynthSettings(), description="Size of the synthetic corpus; used with corpus = synth only."
    )
    train_set: str = Field(
        "dev-clean", description="Training part of LibriSpeech by torchaudio's name. Default: dev-clean."
    )
    test_set: str = Field(
        "test-clean", description="Test part of LibriSpeech by torchaudio's name. Default: test-clean."
    )
    validation_speaker_fraction: float = Field(
        0.1, gt=0, lt=1, description="Fraction of the training speakers set aside for validation. Default: 0.1."
    )

    @field_validator("corpus")
    @classmethod
    def _known(cls, corpus: str) -> str:
        if corpus not in CORPORA and not (corpus.startswith("kaldi:") and corpus != "kaldi:"):
            raise ValueError(f"must be {', '.join(CORPORA)}, or kaldi:PATH")
        return corpus

    @property
    def folder(self) -> Path | None:
        """Folder of a Kaldi corpus; None for corpora with a name."""
        return Path(self.corpus.removeprefix("kaldi:")) if self.corpus.startswith("kaldi:") else None


def load(data: CorpusSource, folder: Path, say: Callable[[str], None] = lambda line: None) -> Corpus:
    """Read the corpus that ``data`` selects.

    Args:
        data: the setting.
        folder: the data directory, where corpora are stored, fetched and made.
        say: prints a line of progress. Default: nothing is printed.

    Raises:
        UserError: the corpus is missing or malformed, or cannot be fetched, made or written.
    """
    if data.corpus == "librispeech":
        from repro.data.speech import librispeech

        return librispeech.load(folder, data.train_set, data.test_set)
    if data.folder is not None:
        root = data.folder.expanduser()
        if not root.exists() and not root.is_absolute():
            if not (folder / root).exists():
                raise UserError(f"data.corpus: there is no folder {root}, neither here nor in {folder}")
            root = folder / root
        return kaldi(root, dataset_name(root, "speech"))
    return _synth(data, folder, say)


def _synth(data: CorpusSource, folder: Path, say: Callable[[str], None]) -> Corpus:
    """Read the synthetic corpus; make it if it is missing, or if a file has changed since it was first read."""
    from repro.data.speech import synth

    root = folder / f"synth-{store.key(synth.specification(data.synth))[:8]}"
    first_digest = root / "digest"
    printed = time.monotonic()

    def progress(fraction: float) -> None:
        nonlocal printed
        if time.monotonic() - printed > LINE_SECONDS:
            printed = time.monotonic()
            say(f"synthetic speech: {fraction:.0%} made")

    def build(damaged: int | None = None) -> None:
        synth.build(root, data.synth, progress=progress, damaged=damaged)

    def read() -> Corpus:
        return kaldi(root, "synth", synthetic=True)

    def read_if_whole() -> Corpus | None:
        if not first_digest.exists():
            return read()
        try:
            corpus = read()
        except UserError:  # a table of the corpus is missing or malformed
            return None
        return corpus if first_digest.read_text(encoding="utf-8", errors="replace") == corpus.digest else None

    try:
        if not synth.about(root):
            say(f"making synthetic speech in {root}")
        build()
        made_at = synth.made_at(root)
        corpus = read_if_whole()
        if corpus is None:
            say(f"{root} is damaged: its content has changed since it was made; making it again")
            build(made_at)
            corpus = read()
        if not first_digest.exists():
            files.write(first_digest, corpus.digest.encode())
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename or root}: cannot be written ({error.strerror or error})"
        ) from error
    return corpus
