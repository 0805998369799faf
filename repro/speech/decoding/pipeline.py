"""Words from a system's scores, and how many are wrong; the acoustic scale is chosen on validation."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.data.speech.corpus import Corpus, read_audio
from repro.engine import store
from repro.models.mlp import BatchedMLP
from repro.speech.alignment import STATES
from repro.speech.decoding import language_model, wer
from repro.speech.decoding.decoder import Decoder, Search, pronunciations, transcribe
from repro.speech.evaluate import means_of
from repro.speech.features import Frames, Inputs
from repro.speech.preparation import Prepared
from repro.speech.training import blocks
from repro.training.compute import Compute

CODE_DEPENDENCIES = ("speech/decoding/language_model.py", "speech/decoding/pipeline.py")


@dataclass(frozen=True)
class Task:
    """What is decoded: the pronunciations, the language model's file, and utterances of validation and of test."""

    pronunciations: dict[str, list[tuple[str, ...]]]
    language_model: Path
    validation: Int[Tensor, "utterance"]
    test: Int[Tensor, "utterance"]
    about: dict[str, Any]


def task(corpus: Corpus, data: Prepared, folder: Path, validation: int, test: int) -> Task:
    """A trigram model of the training transcripts, validation's left out, kept in ``folder``; its vocabulary is
    their words: a corpus's lexicon, which may list the words of test, gives pronunciations alone. Utterances are taken
    from each speaker in turn."""
    model = language_model.estimate(data.transcripts[id] for id in data.train.ids)
    path = folder / f"{store.key([data.digest, store.code_version(CODE_DEPENDENCIES)])}.arpa"
    model.write(path)  # anew, for what is there may be damaged
    chosen = {"validation": in_turn(data.validation, validation), "test": in_turn(data.test, test)}
    perplexity, unknown = model.perplexity(data.transcripts[data.test.ids[n]] for n in chosen["test"].tolist())
    known = pronunciations(model.vocabulary, corpus.lexicon)
    about = {"vocabulary": len(known), "perplexity": round(perplexity, 1), "unknown_words": unknown}
    return Task(known, path, chosen["validation"], chosen["test"], about)


def in_turn(frames: Frames, count: int) -> Int[Tensor, "utterance"]:
    """The first utterance of each speaker, then the second of each, up to so many, in the order of the corpus."""
    seen: dict[int, int] = {}
    turn = []
    for number, speaker in enumerate(frames.speaker.tolist()):
        seen[speaker] = seen.get(speaker, 0) + 1
        turn.append((seen[speaker], number))
    return torch.tensor(sorted(number for _, number in sorted(turn)[:count]))


def log_prior(train: Frames) -> Float[Tensor, "states"]:
    """The log share of each state among train's frames; states never seen count as half a frame."""
    counts = torch.bincount(train.states, minlength=STATES).double().clamp_min(0.5)
    return (counts / counts.sum()).log().float()


def scores(
    net: BatchedMLP, frames: Frames, utterances: Int[Tensor, "utterance"], prior: Float[Tensor, "states"],
    compute: Compute,
) -> Iterator[Float[np.ndarray, "frame state"]]:  # fmt: skip
    """Log posterior less log prior of each utterance, one after another: of a net, or of several nets' mean."""
    inputs = Inputs(frames, compute)
    for number in utterances.tolist():
        at = (frames.utterance == number).nonzero()[:, 0]
        found = [means_of(logits, [(len(net), "arithmetic")])[0] for _, logits in blocks(net, inputs, at)]
        yield (torch.cat(found).cpu() - prior).numpy()


def decode(
    what: Task, data: Prepared, make_scores: Callable[[Frames, Tensor], Iterator[np.ndarray]],
    scales: tuple[float, ...], most_active: int, threads: int,
) -> dict[str, Any]:  # fmt: skip
    """Decode validation at every scale and test at the best; the errors of each test utterance."""
    rates = {}
    for scale in scales if len(scales) > 1 else ():
        search = Search(acoustic_scale=scale, most_active=most_active)
        heard = _decode(what, make_scores(data.validation, what.validation), search, threads)
        rates[scale] = wer.count(_references(data, data.validation, what.validation), heard).rate
    best = min(rates, key=rates.__getitem__) if rates else scales[0]
    search = Search(acoustic_scale=best, most_active=most_active)
    heard = _decode(what, make_scores(data.test, what.test), search, threads)
    return _counted(what, data, heard) | {"scale": best, "validation_wer": {f"{s:g}": r for s, r in rates.items()}}


def decode_stock(what: Task, data: Prepared, corpus: Corpus, threads: int) -> dict[str, Any]:
    """The decoder's own acoustic model, with the same words and language model."""
    audio = {one.id: one.audio for one in corpus.test}
    sound = (read_audio(audio[data.test.ids[n]])[0].numpy() for n in what.test.tolist())
    decoders = [Decoder(what.pronunciations, what.language_model) for _ in range(threads)]
    return _counted(what, data, transcribe([one.stock for one in decoders], sound))


def _decode(what: Task, found: Iterator[np.ndarray], search: Search, threads: int) -> list[list[str]]:
    decoders = [Decoder(what.pronunciations, what.language_model, search) for _ in range(threads)]
    return transcribe([one.words for one in decoders], found)


def _references(data: Prepared, frames: Frames, utterances: Tensor) -> list[tuple[str, ...]]:
    return [data.transcripts[frames.ids[n]] for n in utterances.tolist()]


def _counted(what: Task, data: Prepared, heard: list[list[str]]) -> dict[str, Any]:
    found = asdict(wer.count(_references(data, data.test, what.test), heard))
    speakers = [data.test.speakers[int(data.test.speaker[n])] for n in what.test.tolist()]
    return {f"test_{name}": values.tolist() for name, values in found.items()} | {
        "test_speakers": speakers,
        **what.about,
    }
