"""Intervals and paired tests against textbook values and simulation."""

import numpy as np
import pytest
import torch

from repro.core import metrics, stats


def test_interval_of_a_mean_is_students():
    found = stats.mean_interval([10, 12, 14, 16, 18])
    assert found.value == 14 and found.high - 14 == pytest.approx(2.776445 * np.sqrt(10 / 5), rel=1e-5)
    assert stats.mean_interval([3]).low is None


def test_wilson_interval():
    found = stats.wilson(14, 1010)
    assert (found.low, found.high) == pytest.approx((0.00828, 0.02313), abs=1e-4)


def test_fieller_covers_the_true_ratio():
    draw, hits = np.random.default_rng(0), 0
    for _ in range(400):
        b = draw.normal(80, 6, 5)
        found = stats.ratio_interval(0.9 * b + draw.normal(0, 4, 5), b)
        hits += found.low <= 0.9 <= found.high
    assert 0.92 < hits / 400 < 0.98
    assert stats.ratio_interval([1.0, -1.0, 2.0], [0.1, -0.1, 0.1]).low is None


def test_mcnemar_counts_only_disagreements():
    first = np.array([True] * 10 + [False] * 90)
    second = np.array([False] * 10 + [True] * 2 + [False] * 88)
    assert stats.mcnemar_p(first, second) == pytest.approx(0.03857, abs=1e-4)
    assert stats.mcnemar_p(first, first) == 1


def test_noise_spread_is_reached_one_time_in_twenty():
    draw, reached = np.random.default_rng(1), 0
    for _ in range(500):
        table = draw.normal(0, 3, (5, 1)) + draw.normal(0, 4, (5, 4))
        means = table.mean(0)
        reached += means.max() - means.min() > stats.noise_spread(table)
    assert 0.03 < reached / 500 < 0.075


def test_argmin_interval():
    table = np.array([[9, 5, 1, 6], [9, 5, 2, 7], [9, 2, 4, 8]])
    assert stats.argmin_interval(table, [1, 2, 3, 4])[0] == 3
    assert stats.argmin_interval(table, [1, 2, 3, 4])[1:] == (2, 3)


def test_calibration_error_of_known_confidences():
    logits = torch.log(torch.tensor([[0.8, 0.2]] * 10))
    labels = torch.tensor([0] * 6 + [1] * 4)
    assert metrics.calibration_error(logits, labels) == pytest.approx(0.2, abs=1e-6)


def test_shift_curve_is_the_shifted_argmax():
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 10, generator=draw), torch.randint(10, (200,), generator=draw)
    shifts = torch.tensor([-1.5, 0.0, 0.7, 3.0])
    errors, on_classes = metrics.shift_curve(logits, labels, (3, 7), shifts)
    for shift, wrong, wrong_on in zip(shifts.tolist(), errors, on_classes, strict=True):
        shifted = logits.clone()
        shifted[:, [3, 7]] += shift
        missed = shifted.argmax(-1) != labels
        assert wrong == int(missed.sum()) and wrong_on == int((missed & ((labels == 3) | (labels == 7))).sum())


def test_packed_cases_come_back():
    wrong = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) < 0.01
    assert np.array_equal(metrics.unpack(metrics.pack(wrong), 10_000), wrong.numpy())


def test_agreement_is_with_the_other_net():
    a = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert metrics.agreement(a, a) == 1 and metrics.agreement(a, a.flip(0)) == 0


def test_an_interval_over_units_covers_the_truth_and_is_narrow_where_units_are_alike():
    draw = np.random.default_rng(0)
    share = lambda sums: sums[..., 0] / sums[..., 1]  # noqa: E731
    covered = 0
    for _ in range(100):
        cases = draw.integers(50, 150, 40)
        right = draw.binomial(cases, draw.beta(6, 4, 40))
        found = stats.over_units(share, np.stack([right, cases]), draws=500)
        covered += found.low <= 0.6 <= found.high
    assert covered >= 85
    alike = stats.over_units(share, np.stack([np.full(30, 3), np.full(30, 4)]))
    assert alike.value == alike.low == alike.high == 0.75
    assert stats.over_units(share, np.array([[3], [4]])).low is None
