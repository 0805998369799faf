"""The corpus that the setting ``data`` of the speech experiment selects."""

import time
from collections.abc import Callable
from pathlib import Path

from repro.data.speech.corpus import Corpus
from repro.data.speech.kaldi import kaldi
from repro.engine import files, store
from repro.errors import UserError
from repro.names import dataset_name
from repro.speech.settings import Data

LINE_SECONDS = 60  # between lines of progress


def load(data: Data, folder: Path, say: Callable[[str], None] = lambda line: None) -> Corpus:
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


def _synth(data: Data, folder: Path, say: Callable[[str], None]) -> Corpus:
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
