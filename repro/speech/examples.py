"""Data for figures and tables that no record holds: one aligned utterance, and the utterances left out."""

import base64
from typing import Any

import torch

from repro.data.speech.corpus import Corpus
from repro.speech.alignment import Aligner
from repro.speech.features import filterbanks
from repro.speech.preparation import Prepared

FRAMES = 400  # longest utterance that is shown


def shown(corpus: Corpus, data: Prepared) -> dict[str, Any]:
    """Return the content of ``shown.json``: utterances left out, sizes of the parts, and one aligned utterance."""
    return {
        "synthetic": data.synthetic, "left_out": data.left_out, "remarked": data.remarked,
        "frames": {part: len(getattr(data, part)) for part in ("train", "validation", "test")},
        "speakers": {part: len(getattr(data, part).speakers) for part in ("train", "validation", "test")},
        "utterance": _utterance(corpus, data),
    }  # fmt: skip


def _utterance(corpus: Corpus, data: Prepared) -> dict[str, Any]:
    """Return the first test utterance of at least three words and at most ``FRAMES`` frames, else the shortest."""
    lengths = torch.bincount(data.test.utterance).tolist()
    frames = dict(zip(data.test.ids, lengths, strict=True))
    candidates = [utterance for utterance in corpus.test if utterance.id in frames]
    fitting = [c for c in candidates if len(c.words) >= 3 and frames[c.id] <= FRAMES]
    chosen = fitting[0] if fitting else min(candidates, key=lambda utterance: frames[utterance.id])
    samples, _ = chosen.read()
    alignment = Aligner(corpus.lexicon).align(samples, chosen.words)
    assert alignment is not None, "every utterance of the prepared corpus has been aligned before"
    banks = filterbanks(samples)
    scaled = ((banks - banks.min()) / (banks.max() - banks.min()).clamp_min(1e-6) * 255).byte()
    segments = {kind: [[s.name, s.start, s.frames] for s in segments]
                for kind, segments in (("words", alignment.words), ("phones", alignment.phones))}  # fmt: skip
    return {
        "id": chosen.id, "text": " ".join(chosen.words), "frames": len(banks),
        "banks": base64.b64encode(scaled.numpy().tobytes()).decode(), "states": alignment.states.tolist(), **segments,
    }  # fmt: skip
