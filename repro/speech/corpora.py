"""The corpus that a setting names."""

import re
from collections.abc import Callable
from pathlib import Path

from repro.core import store
from repro.data.corpus import Corpus, kaldi
from repro.errors import UserError
from repro.speech.settings import Data


def load(data: Data, folder: Path, say: Callable[[str], None] = lambda line: None) -> Corpus:
    """The corpus that ``data`` asks for; ``folder`` is where corpora are kept, fetched or made."""
    if data.corpus == "librispeech":
        from repro.data import librispeech

        return librispeech.load(folder, data.train_set, data.test_set)
    if data.folder is not None:
        here = data.folder if data.folder.exists() or data.folder.is_absolute() else folder / data.folder
        return kaldi(here, _name(here))
    from repro.data import synth

    root = folder / f"synth-{store.key(synth.specification(data.synth))[:8]}"
    if not synth.about(root):
        say(f"making synthetic speech in {root}")
    try:
        return kaldi(synth.build(root, data.synth), "synth", synthetic=True)
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename or root}: cannot be written ({error.strerror or error})"
        ) from error


def _name(root: Path) -> str:
    """The folder's name, safe in a path and unlike the names of the project's own corpora."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", root.resolve().name).strip("-") or "speech"
    return f"folder-{name}" if name in ("synth", "librispeech") else name
