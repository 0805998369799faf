"""Decoding of validation utterances, to choose the acoustic scale, and of test utterances with a system's scores."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.data.speech.corpus import Corpus
from repro.data.speech.lexicon import pronunciations
from repro.engine import store
from repro.models.mlp import BatchedMLP
from repro.speech.alignment import STATES
from repro.speech.decoding import language_model, wer
from repro.speech.decoding.decoder import Decoder, Search, transcribe
from repro.speech.decoding.sphinx import general_words
from repro.speech.evaluate import means_of
from repro.speech.features import Frames, Inputs
from repro.speech.preparation import Prepared
from repro.speech.training import blocks
from repro.training.compute import Compute

CODE_DEPENDENCIES = ("speech/decoding/language_model.py", "speech/decoding/pipeline.py", "speech/decoding/sphinx.py")


@dataclass(frozen=True)
class Task:
    """Pronunciations, language model and utterances of decodings; ``metadata`` of a part is added to its records."""

    pronunciations: dict[str, list[tuple[str, ...]]]
    language_model: Path
    validation: Int[Tensor, "utterance"]
    test: Int[Tensor, "utterance"]
    metadata: dict[str, dict[str, Any]]


def make_task(
    corpus: Corpus, data: Prepared, folder: Path, validation: int, test: int, num_general_words: int = 0
) -> Task:
    """Return the decoding task, with a trigram model of the training transcripts written to ``folder``.

    The vocabulary is the words of these transcripts, without validation's, and the most frequent of general English.
    The corpus's lexicon, which may list test words, provides pronunciations only. Utterances are taken from each
    speaker in turn.

    Args:
        folder: where the language model is written.
        validation: number of validation utterances.
        test: number of test utterances.
        num_general_words: number of words of general English. Default: none.
    """
    general = general_words(num_general_words) if num_general_words else {}
    model = language_model.estimate((data.transcripts[id] for id in data.train.ids), general)
    path = folder / f"{store.key([data.digest, num_general_words, store.code_version(CODE_DEPENDENCIES)])}.arpa"
    model.write(path)  # always, because an existing file may be damaged
    chosen = {"validation": in_turn(data.validation, validation), "test": in_turn(data.test, test)}
    known = pronunciations(model.vocabulary, corpus.lexicon)
    metadata = {}
    for part, utterances in chosen.items():
        perplexity, unknown = model.perplexity(_references(data, getattr(data, part), utterances))
        metadata[part] = {"vocabulary": len(known), "perplexity": round(perplexity, 1), "unknown_words": unknown}
    return Task(known, path, chosen["validation"], chosen["test"], metadata)


def in_turn(frames: Frames, count: int) -> Int[Tensor, "utterance"]:
    """Return ``count`` utterances in corpus order: the first of each speaker, then the second of each, and so on."""
    seen: dict[int, int] = {}
    turn = []
    for number, speaker in enumerate(frames.speaker.tolist()):
        seen[speaker] = seen.get(speaker, 0) + 1
        turn.append((seen[speaker], number))
    return torch.tensor(sorted(number for _, number in sorted(turn)[:count]))


def log_prior(train: Frames) -> Float[Tensor, "states"]:
    """Return the log frequency of each state in the training frames; unseen states count as half a frame."""
    counts = torch.bincount(train.states, minlength=STATES).double().clamp_min(0.5)
    return (counts / counts.sum()).log().float()


def scores(
    net: BatchedMLP, frames: Frames, utterances: Int[Tensor, "utterance"], prior: Float[Tensor, "states"],
    compute: Compute,
) -> Iterator[Float[np.ndarray, "frame state"]]:  # fmt: skip
    """Yield log posterior minus log prior of each utterance, by the arithmetic mean of the models in ``net``.

    A single model's logits take the place of its log posteriors: the two differ by a number in each frame, to which
    the search is indifferent.
    """
    inputs = Inputs(frames, compute)
    bounds = torch.searchsorted(frames.utterance, torch.stack([utterances, utterances + 1]))
    for first, last in bounds.T.tolist():
        evaluated = blocks(net, inputs, torch.arange(first, last))
        log_p = [logits[0] if len(net) == 1 else means_of(logits, [(len(net), "arithmetic")])[0]
                 for _, logits in evaluated]  # fmt: skip
        yield (torch.cat(log_p).cpu() - prior).numpy()


MakeScores = Callable[[Frames, Tensor], Iterator[np.ndarray]]
OnDone = Callable[[], None]  # called after each utterance


def validation_rates(
    task: Task, data: Prepared, make_scores: MakeScores, searches: dict[float, Search], threads: int, on_done: OnDone
) -> dict[float, float]:
    """Return the word error rate on validation with each search, by its acoustic scale.

    Args:
        make_scores: returns the scores of some utterances of a part of the data.
    """
    references, rates = _references(data, data.validation, task.validation), {}
    for scale, search in searches.items():
        scores = make_scores(data.validation, task.validation)
        rates[scale] = wer.count(references, _decode(task, scores, search, threads, on_done)).rate
    return rates


def decode(
    task: Task, data: Prepared, make_scores: MakeScores, search: Search, threads: int, on_done: OnDone
) -> dict[str, Any]:
    """Decode the test utterances; return the errors of each, and the acoustic scale."""
    hypotheses = _decode(task, make_scores(data.test, task.test), search, threads, on_done)
    return _word_errors(task, data, hypotheses) | {"scale": search.acoustic_scale}


def decode_stock(task: Task, data: Prepared, corpus: Corpus, threads: int, on_done: OnDone) -> dict[str, Any]:
    """Decode test with pocketsphinx's own acoustic model, with the same dictionary and language model."""
    spoken = {utterance.id: utterance for utterance in corpus.test}
    samples = (spoken[data.test.ids[n]].read()[0].numpy() for n in task.test.tolist())
    decoders = [Decoder(task.pronunciations, task.language_model) for _ in range(threads)]
    return _word_errors(task, data, transcribe([decoder.stock for decoder in decoders], samples, on_done))


def _decode(task: Task, scores: Iterator[np.ndarray], search: Search, threads: int, on_done: OnDone) -> list[list[str]]:
    decoders = [Decoder(task.pronunciations, task.language_model, search) for _ in range(threads)]
    return decode_scores(decoders, scores, on_done)


def decode_scores(
    decoders: Sequence[Decoder], scores: Iterator[np.ndarray], on_done: OnDone | None = None
) -> list[list[str]]:
    """Return the words of utterances by their scores, which PyTorch makes on a single thread beside the decoders."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return transcribe([decoder.words for decoder in decoders], scores, on_done)
    finally:
        torch.set_num_threads(threads)


def _references(data: Prepared, frames: Frames, utterances: Tensor) -> list[tuple[str, ...]]:
    return [data.transcripts[frames.ids[n]] for n in utterances.tolist()]


def _word_errors(task: Task, data: Prepared, hypotheses: list[list[str]]) -> dict[str, Any]:
    counts = asdict(wer.count(_references(data, data.test, task.test), hypotheses))
    speakers = [data.test.speakers[int(data.test.speaker[n])] for n in task.test.tolist()]
    return {f"test_{name}": values.tolist() for name, values in counts.items()} | {
        "test_speakers": speakers,
        **task.metadata["test"],
    }
