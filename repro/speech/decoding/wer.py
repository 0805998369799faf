"""Word error rates, with intervals that say what other utterances would change.

The rate is all errors over all words of the references. Utterances are not alike in length, so the interval
comes from drawing utterances anew (Bisani & Ney 2004, "Bootstrap estimates for confidence intervals in ASR
performance evaluation"), and that of two systems' difference from drawing the same ones for both. Where speakers
are given, whole speakers are drawn, for the utterances of one are alike. A system may be several nets, each of which
heard the same utterances: their mean is taken, and the nets are drawn anew as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
from jaxtyping import Float, Int

from repro.errors import UserError
from repro.evaluation.stats import Counts, Estimate, over_nets_and_units


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


def rate(heard: Sequence[WordErrors], speakers: Sequence[str] | None = None, seed: int = 0) -> Estimate:
    """The word error rate of a system with its interval.

    Args:
        heard: by each net of the system, in the same utterances.
        speakers: the speaker of each utterance.
    """
    words, each = _by_unit(speakers, heard)
    return over_nets_and_units(lambda words, errors: errors / words, words, each, seed)


def difference(
    first: Sequence[WordErrors], second: Sequence[WordErrors], speakers: Sequence[str] | None = None, seed: int = 0
) -> Estimate:
    """The rate of the system ``first`` minus that of ``second`` on the same utterances, with its interval; the nets of
    two systems have nothing to do with each other.

    Raises:
        UserError: they are not of the same utterances.
    """
    words, each = _by_unit(speakers, first, second)
    return over_nets_and_units(lambda words, mine, theirs: (mine - theirs) / words, words, each, seed)


def _by_unit(
    speakers: Sequence[str] | None, *systems: Sequence[WordErrors]
) -> tuple[Float[np.ndarray, "unit"], list[Counts]]:
    """Words and each system's errors, summed over the utterances of each speaker, or of each utterance where there are
    no speakers."""
    words = systems[0][0].words
    if any(not np.array_equal(net.words, words) for system in systems for net in system):
        raise UserError("word errors: the systems did not hear the same utterances")
    whose = np.arange(len(words)) if speakers is None else np.asarray(speakers)
    if len(whose) != len(words):
        raise UserError(f"word errors: {len(whose)} speakers named for {len(words)} utterances")
    unit = np.unique(whose, return_inverse=True)[1]
    return np.bincount(unit, words), [
        Counts(np.stack([np.bincount(unit, net.errors) for net in system]), (number,))
        for number, system in enumerate(systems)
    ]
