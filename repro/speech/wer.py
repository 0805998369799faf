"""Word error rates, with intervals that say what other utterances would change.

The rate is all errors over all words of the references. Utterances are not alike in length, so the interval
comes from drawing utterances anew (Bisani & Ney 2004, "Bootstrap estimates for confidence intervals in ASR
performance evaluation"), and that of two systems' difference from drawing the same ones for both. Where speakers
are given, whole speakers are drawn, for the utterances of one are alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
from jaxtyping import Float, Int

from repro.core.stats import LEVEL, Estimate
from repro.errors import UserError

DRAWS = 2000


@dataclass(frozen=True, eq=False)
class WordErrors:
    """What it takes to turn each utterance's reference into what was heard, and the reference's words."""

    substitutions: Int[np.ndarray, "utterance"]
    deletions: Int[np.ndarray, "utterance"]
    insertions: Int[np.ndarray, "utterance"]
    words: Int[np.ndarray, "utterance"]

    @property
    def errors(self) -> Int[np.ndarray, "utterance"]:
        """All three together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """The word error rate; 1 means as many errors as words, and more is possible."""
        return float(self.errors.sum() / self.words.sum())


def count(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> WordErrors:
    """The fewest errors of each utterance; one in which nothing was heard has all its words deleted.

    Raises:
        UserError: there are not as many hypotheses as references, none at all, or a reference without words.
    """
    if len(references) != len(hypotheses):
        raise UserError(f"word errors: {len(references)} references, but {len(hypotheses)} hypotheses")
    if not references:
        raise UserError("word errors: there is no utterance to count them in")
    for number, words in enumerate(references):
        if not words:
            raise UserError(f"word errors: reference {number} has no words")
    found = jiwer.process_words([" ".join(words) for words in references], [" ".join(words) for words in hypotheses])
    counts: dict[str, list[int]] = {"substitute": [], "delete": [], "insert": []}
    for chunks in found.alignments:
        for kind, lengths in counts.items():
            # Words inserted have no place in the reference.
            lengths.append(sum(max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                               for chunk in chunks if chunk.type == kind))  # fmt: skip
    substituted, deleted, inserted = (np.asarray(one) for one in counts.values())
    return WordErrors(substituted, deleted, inserted, np.asarray([len(words) for words in references]))


def rate(heard: WordErrors, speakers: Sequence[str] | None = None, seed: int = 0) -> Estimate:
    """The word error rate with its interval; ``speakers`` names the speaker of each utterance."""
    errors, words = _by_unit(speakers, heard.errors, heard.words)
    drawn = _draws(len(words), seed)
    return _estimate(heard.rate, errors[drawn].sum(1) / words[drawn].sum(1), len(words))


def difference(first: WordErrors, second: WordErrors, speakers: Sequence[str] | None = None, seed: int = 0) -> Estimate:
    """The rate of ``first`` minus that of ``second`` on the same utterances, with its interval.

    Raises:
        UserError: they are not of the same utterances.
    """
    if not np.array_equal(first.words, second.words):
        raise UserError("word errors: the two systems did not hear the same utterances")
    more, words = _by_unit(speakers, first.errors - second.errors, first.words)
    drawn = _draws(len(words), seed)
    return _estimate(first.rate - second.rate, more[drawn].sum(1) / words[drawn].sum(1), len(words))


def _by_unit(speakers: Sequence[str] | None, *values: Int[np.ndarray, "utterance"]) -> list[Float[np.ndarray, "unit"]]:
    """Sums over the utterances of each speaker; the utterances themselves where there are no speakers."""
    if speakers is None:
        return [one.astype(float) for one in values]
    if len(speakers) != len(values[0]):
        raise UserError(f"word errors: {len(speakers)} speakers named for {len(values[0])} utterances")
    unit = np.unique(np.asarray(speakers), return_inverse=True)[1]
    return [np.bincount(unit, one) for one in values]


def _draws(units: int, seed: int) -> Int[np.ndarray, "draw unit"]:
    return np.random.default_rng(seed).integers(units, size=(DRAWS, units))


def _estimate(value: float, drawn: Float[np.ndarray, "draw"], units: int) -> Estimate:
    if units < 2:
        return Estimate(value, None, None, units)
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(value, float(low), float(high), units)
