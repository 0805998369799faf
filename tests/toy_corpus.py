"""A corpus of a few frames whose filterbanks tell the state, and a decoder that needs no words."""

import numpy as np
import torch

from repro.speech.alignment import STATES
from repro.speech.features import BANKS

USED = 12  # of the model's tied states
VALIDATION_RATES = {0.5: 0.4, 1.0: 0.3}


def recordings(speakers: str, seed: int, frames: int = 60):
    """Return four utterances of each speaker; the filterbanks encode the state, with noise."""
    generator = torch.Generator().manual_seed(seed)
    utterances = []
    for speaker in speakers:
        for number in range(4):
            states = torch.randint(USED, (frames // 6,), generator=generator).repeat_interleave(6)
            banks = torch.randn(frames, BANKS, generator=generator) + 2 * torch.eye(USED, BANKS)[states]
            utterances.append((f"{speaker}{number}", speaker, banks, states.short()))
    return utterances


def decode(task, data, make_scores, search, threads, on_done):
    scores = list(make_scores(data.test, torch.arange(3)))
    report(task.test, on_done)
    assert all(np.isfinite(utterance).all() and utterance.shape == (60, STATES) for utterance in scores)
    return word_errors(int(np.argmax(scores[0].sum(0)) % 2)) | {"scale": search.acoustic_scale}


def decode_stock(task, data, corpus, threads, on_done):
    report(task.test, on_done)
    return word_errors(2)


def validation_rates(task, data, make_scores, searches, threads, on_done):
    for _ in searches:
        report(task.validation, on_done)
    return VALIDATION_RATES


def report(utterances, on_done):
    for _ in utterances:
        on_done()


def word_errors(errors):
    counts = {"substitutions": errors, "deletions": 0, "insertions": 0, "words": 2}
    return {f"test_{name}": [value] * 3 for name, value in counts.items()} | {"test_speakers": list("klm")}
