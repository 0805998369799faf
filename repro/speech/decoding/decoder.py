"""Hybrid DNN-HMM decoding (section 4): pocketsphinx's search and HMMs with a network's scores of tied states.

An HMM needs p(x | s) of a frame x in state s. By Bayes' rule that is p(s | x) / p(s) times p(x), which is the same for
all states. So a network's log posterior minus the state's log prior replaces the log-likelihood of a Gaussian mixture.
Consecutive frames are not independent, and the product of their likelihoods is overconfident next to the language
model: hence ``acoustic_scale``.

Between words the search may pass through silence, [NOISE] or [SPEECH], which have tied states of their own. They are
not words and are not returned.
"""

import math
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from repro.data.speech.lexicon import Pronunciations, known_phones
from repro.errors import UserError
from repro.speech.alignment import STATES
from repro.speech.decoding.sphinx import UNIT, WORST, Sphinx

Item = TypeVar("Item")


@dataclass(frozen=True)
class Search:
    """Weights and beams of the search, in natural logarithms.

    The score of a path is ``acoustic_scale`` times the scores of its frames, plus ``language_weight`` times the
    language model's log probability, plus ``word_insertion`` for each word and ``silence`` for each silence. The search
    drops paths that are ``beam`` below the best, words that end ``word_beam`` below it and, if more than
    ``max_active_hmms`` HMMs remain in a frame, the worst of them. The weights are pocketsphinx's; the beams are half
    of its: on validation speakers of speechocean762 wider beams gave no better words in ten times the time.
    """

    acoustic_scale: float = 1.0
    language_weight: float = 6.5
    word_insertion: float = math.log(0.65)
    silence: float = math.log(0.005)
    beam: float = 60.0
    word_beam: float = 40.0
    max_active_hmms: int = 5000

    def __post_init__(self):
        for name in ("acoustic_scale", "language_weight", "beam", "word_beam"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"search: {name} must be above 0, not {getattr(self, name)}")


class Decoder:
    """pocketsphinx's search with one dictionary and one language model; not thread-safe."""

    def __init__(self, dictionary: Pronunciations, language_model: Path, search: Search | None = None):
        """Check the arguments; the models are loaded at first use.

        Args:
            dictionary: pronunciations in the model's phones (see ``repro.data.speech.lexicon.pronunciations``).
            language_model: an ARPA file. Only words that both it and the dictionary contain can be decoded.
            search: weights and beams. Default: those of ``Search``.

        Raises:
            UserError: the file does not exist, or a pronunciation has unknown phones.
        """
        if not language_model.is_file():
            raise UserError(f"language model: there is no file {language_model}")
        for word, spellings in dictionary.items():
            if unknown := {phone for phones in spellings for phone in phones} - known_phones():
                raise UserError(f"dictionary: {word}: {min(unknown)} is not one of pocketsphinx's phones")
        self.dictionary, self.language_model, self.search = dictionary, language_model, search or Search()

    def words(self, scores: Float[np.ndarray, "frame state"]) -> list[str]:
        """Return the most likely words; none if the search finds none.

        Args:
            scores: log posterior minus log prior in nats, one column per tied state; -inf excludes a state.

        Raises:
            UserError: the scores have another shape, or contain NaN or infinity.
        """
        integer_costs = costs(scores, self.search.acoustic_scale)
        return self._hybrid.decode_costs(integer_costs) if len(integer_costs) else []

    def stock(self, samples: Float[np.ndarray, "sample"]) -> list[str]:
        """Return the words by pocketsphinx's own acoustic model and settings, from samples at 16 kHz in -1 .. 1."""
        audio = (np.clip(samples, -1, 1) * 32767).round().astype(np.int16)
        return self._stock.decode_audio(audio) if len(audio) else []

    @cached_property
    def _hybrid(self) -> "Sphinx":
        lw, beam, word_beam = self.search.language_weight, -self.search.beam, -self.search.word_beam
        return self._load(
            lw=lw, fwdflatlw=lw, bestpathlw=lw,
            wip=math.exp(self.search.word_insertion), silprob=math.exp(self.search.silence),
            beam=math.exp(beam), pbeam=math.exp(beam), fwdflatbeam=math.exp(beam),
            wbeam=math.exp(word_beam), fwdflatwbeam=math.exp(word_beam), maxhmmpf=self.search.max_active_hmms,
        )  # fmt: skip

    @cached_property
    def _stock(self) -> "Sphinx":
        # Not the hybrid decoder: after a whole recording it would write past the end of its buffers of scores.
        return self._load()

    def _load(self, **options: float) -> "Sphinx":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "words.dict"
            write_dictionary(self.dictionary, path)
            return Sphinx(path, self.language_model, options)


def transcribe(
    listeners: Sequence[Callable[[Item], list[str]]],
    items: Iterable[Item],
    on_done: Callable[[], None] | None = None,
) -> list[list[str]]:
    """Return the words of many utterances, decoded in parallel with one thread for each listener.

    Most time is spent in pocketsphinx, outside of Python's lock. The result does not depend on the number of
    listeners, because decoders keep no state between utterances. Items are taken no faster than they are decoded, so
    that few of a generator's scores are in memory.

    Args:
        listeners: functions from an item to words, such as ``[decoder.words for decoder in decoders]``.
        items: scores or samples of the utterances.
        on_done: called after each utterance.
    """
    idle: SimpleQueue[Callable[[Item], list[str]]] = SimpleQueue()
    for listener in listeners:
        idle.put(listener)

    def decode(item: Item) -> list[str]:
        listener = idle.get()
        try:
            return listener(item)
        finally:
            idle.put(listener)

    hypotheses: list[list[str]] = []
    pending: deque = deque()

    def collect(leave: int) -> None:
        while len(pending) > leave:
            hypotheses.append(pending.popleft().result())
            if on_done:
                on_done()

    pool = ThreadPoolExecutor(len(listeners))
    try:
        for item in items:
            pending.append(pool.submit(decode, item))
            collect(leave=len(listeners))
        collect(leave=0)
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, utterances that wait are not decoded
    return hypotheses


def costs(scores: Float[np.ndarray, "frame state"], scale: float) -> Int[np.ndarray, "frame state"]:
    """Return scores in pocketsphinx's form: units of ``UNIT`` nats below the frame's best state, at most ``WORST``.

    Raises:
        UserError: the scores have another shape, or contain NaN or infinity.
    """
    if scores.ndim != 2 or scores.shape[1] != STATES:
        raise UserError(f"scores: must be frames by {STATES} states, not {' by '.join(map(str, scores.shape))}")
    best = scores.max(1, keepdims=True, initial=-np.inf)
    if np.isnan(best).any() or np.isposinf(best).any():
        raise UserError("scores: must be finite or -inf, but contain NaN or an infinity")
    best[np.isneginf(best)] = 0  # a frame whose states are all excluded
    return ((best - scores) * (scale / UNIT)).clip(max=WORST).round().astype(np.int16)


def write_dictionary(dictionary: Pronunciations, path: Path) -> None:
    """Write pronunciations in pocketsphinx's format: ``word`` for the first, ``word(2)`` for the second."""
    with path.open("w", encoding="utf-8") as file:
        for word, spellings in dictionary.items():
            for number, phones in enumerate(spellings, 1):
                file.write(f"{word}{f'({number})' if number > 1 else ''} {' '.join(phones)}\n")
