"""The corpus that a setting names."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from repro.data.speech.corpus import Corpus
from repro.data.speech.kaldi import kaldi
from repro.engine import files, store
from repro.errors import UserError
from repro.speech.settings import CORPORA, Data


def load(data: Data, folder: Path, say: Callable[[str], None] = lambda line: None) -> Corpus:
    """The corpus that ``data`` asks for; ``folder`` is where corpora are kept, fetched or made."""
    if data.corpus == "librispeech":
        from repro.data.speech import librispeech

        return librispeech.load(folder, data.train_set, data.test_set)
    if data.folder is not None:
        own = data.folder.expanduser()
        here = own if own.exists() or own.is_absolute() else folder / own
        return kaldi(here, _name(here))
    return _synth(data, folder, say)


def _synth(data: Data, folder: Path, say: Callable[[str], None]) -> Corpus:
    """Synthetic speech, made where it is not there or where a file has changed since the first time it was read."""
    from repro.data.speech import synth

    root = folder / f"synth-{store.key(synth.specification(data.synth))[:8]}"
    seen = root / "digest"

    def built() -> Corpus:
        return kaldi(synth.build(root, data.synth), "synth", synthetic=True)

    try:
        if not synth.about(root):
            say(f"making synthetic speech in {root}")
        corpus = built()
        if seen.exists() and seen.read_text(encoding="utf-8", errors="replace") != corpus.digest:
            say(f"{root} is damaged: it is not what was made there; making it again")
            shutil.rmtree(root)
            corpus = built()
        if not seen.exists():
            files.write(seen, corpus.digest.encode())
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename or root}: cannot be written ({error.strerror or error})"
        ) from error
    return corpus


def _name(root: Path) -> str:
    """The folder's name, safe in a path and unlike the names of the project's own corpora."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", root.resolve().name).strip("-") or "speech"
    return f"folder-{name}" if name in CORPORA else name
