"""Word errors, word error rates and their intervals."""

import math

import numpy as np
import pytest

from repro.errors import UserError
from repro.speech.decoding import wer


def test_word_errors_match_a_count_by_hand():
    references = ["a b c d", "the cat sat", "one two", "x"]
    hypotheses = ["a x c d e", "cat sat", "", "x"]
    errors = wer.count([text.split() for text in references], [text.split() for text in hypotheses])
    assert errors.substitutions.tolist() == [1, 0, 0, 0]
    assert errors.deletions.tolist() == [0, 1, 2, 0]
    assert errors.insertions.tolist() == [1, 0, 0, 0]
    assert errors.errors.tolist() == [2, 1, 2, 0]
    assert errors.words.tolist() == [4, 3, 2, 1]
    assert errors.rate == 0.5


def simulated(chance: float, words: np.ndarray, seed: int) -> wer.WordErrors:
    errors = np.random.default_rng(seed).binomial(words, chance)
    return wer.WordErrors(errors, 0 * errors, 0 * errors, words)


def test_interval_covers_the_true_rate_in_95_percent_of_samples():
    covered = 0
    for seed in range(200):
        words = np.random.default_rng(seed).integers(1, 20, 150)
        estimate = wer.rate([simulated(0.3, words, seed)], seed=seed)
        covered += estimate.low <= 0.3 <= estimate.high
    assert 180 <= covered <= 199


def test_paired_interval_covers_a_known_difference_and_is_narrower():
    words = np.full(400, 10)
    hard = np.random.default_rng(0).beta(0.5, 1, 400)  # errors come in the same utterances
    first = np.random.default_rng(1).binomial(10, 0.5 * hard)
    second = first - np.random.default_rng(2).binomial(first, 0.2)
    worse, better = (wer.WordErrors(errors, 0 * errors, 0 * errors, words) for errors in (first, second))
    estimate = wer.difference([worse], [better])
    true = 0.2 * 0.5 * (0.5 / 1.5)
    assert estimate.low < true < estimate.high
    assert estimate.value == pytest.approx(worse.rate - better.rate)
    alone = wer.rate([worse])
    assert estimate.high - estimate.low < alone.high - alone.low
    assert wer.difference([worse], [worse]) == type(estimate)(0.0, 0.0, 0.0, 400)
    assert wer.difference([worse], [better]) == estimate


def test_whole_speakers_are_resampled():
    words = np.full(200, 10)
    speakers = [f"s{n // 20}" for n in range(200)]
    errors = np.repeat(np.arange(10), 20)  # speakers differ, their utterances do not
    system = wer.WordErrors(errors, 0 * errors, 0 * errors, words)
    plain, whole = wer.rate([system]), wer.rate([system], speakers)
    assert (plain.count, whole.count) == (200, 10)
    assert whole.high - whole.low > 3 * (plain.high - plain.low)
    assert wer.rate([system], ["one"] * 200).low is None


def test_mismatched_lists_are_named_in_the_message():
    system = simulated(0.3, np.array([3, 4]), 0)
    with pytest.raises(UserError, match="2 references, but 1 hypotheses"):
        wer.count([["a"], ["b"]], [["a"]])
    with pytest.raises(UserError, match="reference 1 has no words"):
        wer.count([["a"], []], [["a"], ["b"]])
    with pytest.raises(UserError, match="no utterance"):
        wer.count([], [])
    with pytest.raises(UserError, match="1 speakers for 2"):
        wer.rate([system], ["a"])
    with pytest.raises(UserError, match="same utterances"):
        wer.difference([system], [simulated(0.3, np.array([3, 5]), 0)])
    assert not math.isnan(system.rate)
