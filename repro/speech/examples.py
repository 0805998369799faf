"""What the figures show besides counts: an utterance with its words, phones and states; what was left out."""

import base64
from typing import Any

import torch

from repro.data.speech.corpus import Corpus, read_audio
from repro.speech.alignment import Aligner
from repro.speech.features import filterbanks
from repro.speech.preparation import Prepared

FRAMES = 400  # at most so many of the utterance shown


def shown(corpus: Corpus, data: Prepared) -> dict[str, Any]:
    """Plain JSON."""
    return {
        "synthetic": data.synthetic, "left_out": data.left_out, "remarked": data.remarked,
        "frames": {part: len(getattr(data, part)) for part in ("train", "validation", "test")},
        "speakers": {part: len(getattr(data, part).speakers) for part in ("train", "validation", "test")},
        "utterance": _utterance(corpus, data),
    }  # fmt: skip


def _utterance(corpus: Corpus, data: Prepared) -> dict[str, Any]:
    """The first test utterance of three words or more that is no longer than the figure; else the shortest of all."""
    lengths = torch.bincount(data.test.utterance).tolist()
    frames = dict(zip(data.test.ids, lengths, strict=True))
    candidates = [one for one in corpus.test if one.id in frames]
    fitting = [one for one in candidates if len(one.words) >= 3 and frames[one.id] <= FRAMES]
    one = fitting[0] if fitting else min(candidates, key=lambda each: frames[each.id])
    samples, _ = read_audio(one.audio)
    found = Aligner(corpus.lexicon).align(samples, one.words)
    assert found is not None, "an utterance of the data was aligned before"
    banks = filterbanks(samples)
    scaled = ((banks - banks.min()) / (banks.max() - banks.min()).clamp_min(1e-6) * 255).byte()
    segments = {kind: [[s.name, s.start, s.frames] for s in getattr(found, kind)] for kind in ("words", "phones")}
    return {
        "id": one.id, "text": " ".join(one.words), "frames": len(banks),
        "banks": base64.b64encode(scaled.numpy().tobytes()).decode(), "states": found.states.tolist(), **segments,
    }  # fmt: skip
