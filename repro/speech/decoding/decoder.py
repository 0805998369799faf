"""Words from a network's scores of tied states: pocketsphinx's search, dictionary and HMMs, other scores.

The hybrid of section 4: what an HMM needs of a frame x in state s is p(x | s), and by Bayes' rule that is
p(s | x) / p(s) times p(x), which is the same for all states. So a network's log posterior less the state's log
prior stands where the log likelihood of a Gaussian mixture stood. Frames in a row are not independent, though, and
the product of their likelihoods is far too sure of itself beside the language model: hence ``acoustic_scale``.

Silence and fillers: between words the search may pass through silence, [NOISE] or [SPEECH], which have tied states
of their own in the model. They are no words, and are not returned.
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

from repro.errors import UserError
from repro.speech.alignment import STATES, Pronunciations, dictionary_path, known_phones
from repro.speech.decoding.sphinx import UNIT, WORST, Sphinx

Item = TypeVar("Item")


@dataclass(frozen=True)
class Search:
    """How words are searched for. Logarithms are natural.

    A path scores ``acoustic_scale`` times what its frames score, plus ``language_weight`` times the language
    model's log probability, plus ``word_insertion`` for each word and ``silence`` for each silence. Paths that lie
    ``beam`` below the best are given up, words that end ``word_beam`` below it too, and where more than ``most_active``
    HMMs are left in a frame, as with scores that hardly differ, those that lie lowest. Only the ratio of the first two
    matters, as long as the others are of the same size beside them. The weights are pocketsphinx's own; the beams are
    half of its: on held-out speakers of speechocean762 wider ones found no better words in ten times the time.
    """

    acoustic_scale: float = 1.0
    language_weight: float = 6.5
    word_insertion: float = math.log(0.65)
    silence: float = math.log(0.005)
    beam: float = 60.0
    word_beam: float = 40.0
    most_active: int = 5000

    def __post_init__(self):
        for name in ("acoustic_scale", "language_weight", "beam", "word_beam"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"search: {name} should be above 0, and is {getattr(self, name)}")


class Decoder:
    """pocketsphinx's search with one dictionary and one language model; for one thread at a time."""

    def __init__(self, dictionary: Pronunciations, language_model: Path, search: Search | None = None):
        """The models are loaded when the first words are asked for.

        Args:
            dictionary: pronunciations in the model's phones (see ``pronunciations``).
            language_model: an ARPA file. Words of it that have no pronunciation are never found, and neither are
                those of the dictionary that it lacks.

        Raises:
            UserError: there is no such file, or a pronunciation is of other phones.
        """
        if not language_model.is_file():
            raise UserError(f"language model: there is no file {language_model}")
        for word, spellings in dictionary.items():
            if other := {phone for phones in spellings for phone in phones} - known_phones():
                raise UserError(f"dictionary: {word}: {min(other)} is not one of pocketsphinx's phones")
        self.dictionary, self.language_model, self.search = dictionary, language_model, search or Search()

    def words(self, scores: Float[np.ndarray, "frame state"]) -> list[str]:
        """The likeliest words; none where the search finds none.

        Args:
            scores: log posterior less log prior, in nats, a column for each of pocketsphinx's tied states; -inf
                for a state that no path shall pass through.

        Raises:
            UserError: it has another shape, or holds NaN or infinity.
        """
        found = costs(scores, self.search.acoustic_scale)
        return self._hybrid.listen_to_costs(found) if len(found) else []

    def stock(self, samples: Float[np.ndarray, "sample"]) -> list[str]:
        """The words by pocketsphinx's own acoustic model and settings, from sound at 16 kHz in -1 .. 1."""
        sound = (np.clip(samples, -1, 1) * 32767).round().astype(np.int16)
        return self._stock.listen_to_sound(sound) if len(sound) else []

    @cached_property
    def _hybrid(self) -> "Sphinx":
        lw, beam, word_beam = self.search.language_weight, -self.search.beam, -self.search.word_beam
        return self._load(
            lw=lw, fwdflatlw=lw, bestpathlw=lw,
            wip=math.exp(self.search.word_insertion), silprob=math.exp(self.search.silence),
            beam=math.exp(beam), pbeam=math.exp(beam), fwdflatbeam=math.exp(beam),
            wbeam=math.exp(word_beam), fwdflatwbeam=math.exp(word_beam), maxhmmpf=self.search.most_active,
        )  # fmt: skip

    @cached_property
    def _stock(self) -> "Sphinx":
        # Not the other one: after a whole recording it would write past the end of its buffers of scores.
        return self._load()

    def _load(self, **options: float) -> "Sphinx":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "words.dict"
            write_dictionary(self.dictionary, path)
            return Sphinx(path, self.language_model, options)


def pronunciations(words: Iterable[str], lexicon: Pronunciations | None = None) -> Pronunciations:
    """Of each word those of the CMU dictionary, then the lexicon's; a word that has none is left out.

    Args:
        lexicon: a corpus's own; pronunciations in other phones than pocketsphinx's are left out.
    """
    wanted = set(words)
    found: Pronunciations = {word: [] for word in sorted(wanted)}
    for line in dictionary_path().read_text(encoding="utf-8").splitlines():
        name, *phones = line.split()
        if (word := name.partition("(")[0]) in wanted:
            found[word].append(tuple(phones))
    for word in found:
        found[word] += [phones for phones in (lexicon or {}).get(word, []) if known_phones().issuperset(phones)]
    return {word: list(dict.fromkeys(spellings)) for word, spellings in found.items() if spellings}


def transcribe(
    listeners: Sequence[Callable[[Item], list[str]]],
    items: Iterable[Item],
    on_done: Callable[[int], None] | None = None,
) -> list[list[str]]:
    """The words of many utterances, heard by several decoders at once, a thread each.

    Most of the time goes by in pocketsphinx, outside of Python's lock. What is found does not depend on the number
    of listeners, for no decoder remembers what it heard before. Items are taken no faster than they are heard, so
    that a generator of scores never has more than a few in memory.

    Args:
        listeners: such as ``[decoder.words for decoder in decoders]``, or ``stock`` of each.
        items: what a listener takes.
        on_done: is called with how many utterances are done.
    """
    idle: SimpleQueue[Callable[[Item], list[str]]] = SimpleQueue()
    for one in listeners:
        idle.put(one)

    def hear(item: Item) -> list[str]:
        listener = idle.get()
        try:
            return listener(item)
        finally:
            idle.put(listener)

    found: list[list[str]] = []
    under_way: deque = deque()

    def collect(leave: int) -> None:
        while len(under_way) > leave:
            found.append(under_way.popleft().result())
            if on_done:
                on_done(len(found))

    with ThreadPoolExecutor(len(listeners)) as pool:
        for item in items:
            under_way.append(pool.submit(hear, item))
            collect(leave=len(listeners))
        collect(leave=0)
    return found


def costs(scores: Float[np.ndarray, "frame state"], scale: float) -> Int[np.ndarray, "frame state"]:
    """Scores as pocketsphinx has them: how many ``UNIT`` a state lies below the frame's best, at most ``WORST``."""
    if scores.ndim != 2 or scores.shape[1] != STATES:
        raise UserError(f"scores: should be frames by {STATES} states, and are {' by '.join(map(str, scores.shape))}")
    best = scores.max(1, keepdims=True, initial=-np.inf)
    if np.isnan(best).any() or np.isposinf(best).any():
        raise UserError("scores: should be finite, or -inf; there is a NaN or an infinity among them")
    best[np.isneginf(best)] = 0  # a frame in which no state is allowed
    return ((best - scores) * (scale / UNIT)).clip(max=WORST).round().astype(np.int16)


def write_dictionary(dictionary: Pronunciations, path: Path) -> None:
    """Write pronunciations as pocketsphinx reads them: ``word`` for the first, ``word(2)`` for the second."""
    with path.open("w", encoding="utf-8") as file:
        for word, spellings in dictionary.items():
            for number, phones in enumerate(spellings, 1):
                file.write(f"{word}{f'({number})' if number > 1 else ''} {' '.join(phones)}\n")
