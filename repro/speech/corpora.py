"""The corpus that a setting names."""

from collections.abc import Callable
from pathlib import Path

from repro.core import store
from repro.data.corpus import Corpus, kaldi
from repro.speech.settings import Data


def load(data: Data, folder: Path, say: Callable[[str], None] = lambda line: None) -> Corpus:
    """The corpus that ``data`` asks for; ``folder`` is where corpora are kept, fetched or made."""
    if data.corpus == "librispeech":
        from repro.data import librispeech

        return librispeech.load(folder, data.train_set, data.test_set)
    if data.folder is not None:
        here = data.folder if data.folder.exists() or data.folder.is_absolute() else folder / data.folder
        return kaldi(here)
    from repro.data import synth

    root = folder / f"synth-{store.key(synth.specification(data.synth))[:8]}"
    if not synth.about(root):
        say(f"making synthetic speech in {root}")
    return kaldi(synth.build(root, data.synth), "synth", synthetic=True)
