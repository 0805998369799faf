"""Word error rates and their bootstrap intervals.

The rate is all errors over all words of the references. Intervals come from resampling utterances (Bisani & Ney 2004,
"Bootstrap estimates for confidence intervals in ASR performance evaluation"); for the difference of two systems both
are resampled alike. If speakers are given, whole speakers are resampled, because the utterances of one speaker are
alike. A system may consist of several models that decoded the same utterances: their average is taken, and the models
are resampled as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
from jaxtyping import Float, Int

from repro.errors import UserError
from repro.evaluation.bootstrap import Counts, over_nets_and_units
from repro.evaluation.stats import Estimate


@dataclass(frozen=True, eq=False)
class WordErrors:
    """Substitutions, deletions and insertions of each utterance, and the words of its reference."""

    substitutions: Int[np.ndarray, "utterance"]
    deletions: Int[np.ndarray, "utterance"]
    insertions: Int[np.ndarray, "utterance"]
    words: Int[np.ndarray, "utterance"]

    @property
    def errors(self) -> Int[np.ndarray, "utterance"]:
        """Errors of all three kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """The word error rate as a fraction; insertions may make it larger than 1."""
        return float(self.errors.sum() / self.words.sum())


def count(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> WordErrors:
    """Return the word errors of each utterance under the alignment with fewest errors.

    Raises:
        UserError: the numbers of hypotheses and references differ or are 0, or a reference has no words.
    """
    if len(references) != len(hypotheses):
        raise UserError(f"word errors: {len(references)} references, but {len(hypotheses)} hypotheses")
    if not references:
        raise UserError("word errors: there is no utterance")
    for number, words in enumerate(references):
        if not words:
            raise UserError(f"word errors: reference {number} has no words")
    output = jiwer.process_words([" ".join(words) for words in references], [" ".join(words) for words in hypotheses])
    counts: dict[str, list[int]] = {"substitute": [], "delete": [], "insert": []}
    for chunks in output.alignments:
        for kind, lengths in counts.items():
            # Inserted words have length 0 in the reference.
            lengths.append(sum(max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                               for chunk in chunks if chunk.type == kind))  # fmt: skip
    substituted, deleted, inserted = (np.asarray(values) for values in counts.values())
    return WordErrors(substituted, deleted, inserted, np.asarray([len(words) for words in references]))


def rate(heard: Sequence[WordErrors], speakers: Sequence[str] | None = None, seed: int = 0) -> Estimate:
    """Return the word error rate of a system, a fraction, with its interval.

    Args:
        heard: word errors of each model of the system on the same utterances.
        speakers: speaker of each utterance; None to resample utterances.
        seed: of the bootstrap.
    """
    words, each = _by_unit(speakers, heard)
    return over_nets_and_units(lambda words, errors: errors / words, words, each, seed)


def difference(
    first: Sequence[WordErrors], second: Sequence[WordErrors], speakers: Sequence[str] | None = None, seed: int = 0
) -> Estimate:
    """Return the rate of ``first`` minus that of ``second`` on the same utterances, with its interval.

    The models of the two systems are resampled independently.

    Raises:
        UserError: the systems decoded different utterances.
    """
    words, each = _by_unit(speakers, first, second)
    return over_nets_and_units(lambda words, a, b: (a - b) / words, words, each, seed)


def _by_unit(
    speakers: Sequence[str] | None, *systems: Sequence[WordErrors]
) -> tuple[Float[np.ndarray, "unit"], list[Counts]]:
    """Return words and each system's errors by speaker, or by utterance if no speakers are given."""
    words = systems[0][0].words
    if any(not np.array_equal(net.words, words) for system in systems for net in system):
        raise UserError("word errors: the systems did not decode the same utterances")
    names = np.arange(len(words)) if speakers is None else np.asarray(speakers)
    if len(names) != len(words):
        raise UserError(f"word errors: {len(names)} speakers for {len(words)} utterances")
    unit = np.unique(names, return_inverse=True)[1]
    return np.bincount(unit, words), [
        Counts(np.stack([np.bincount(unit, net.errors) for net in system]), (number,))
        for number, system in enumerate(systems)
    ]
