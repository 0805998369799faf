"""Intervals and paired tests against textbook values and simulation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t, ttest_rel
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from repro.evaluation import metrics, stats


def test_interval_of_a_mean_is_that_of_students_t():
    interval = stats.mean_interval([10, 12, 14, 16, 18])
    assert interval.value == 14 and interval.high - 14 == pytest.approx(2.776445 * np.sqrt(10 / 5), rel=1e-5)
    assert stats.mean_interval([3]).low is None


def test_a_paired_difference_and_its_p_value_are_those_of_scipy():
    first, second = [97.0, 104.0, 99.0, 110.0, 101.0], [95.0, 98.0, 97.0, 99.0, 102.0]
    ours, scipys = stats.paired_difference(first, second), ttest_rel(first, second)
    interval = scipys.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    two_systems = {"first": dict(enumerate(first)), "second": dict(enumerate(second))}
    contrast = stats.contrasts(two_systems, "second")["first"]
    assert contrast.p_value == pytest.approx(scipys.pvalue, rel=1e-9)
    assert vars(contrast.difference) == pytest.approx(vars(ours), rel=1e-9)


def test_contrasts_are_those_of_a_two_way_analysis_of_variance():
    draw = np.random.default_rng(0)
    table = draw.normal(70, 1, (4, 5)) + draw.normal(0, 3, 5)
    values = {f"system {n}": dict(enumerate(row)) for n, row in enumerate(table)}
    contrast = stats.contrasts(values, "system 0")["system 2"]
    residuals = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    error = np.sqrt(2 / 5 * (residuals**2).sum() / 12)
    assert contrast.difference.value == pytest.approx(table[2].mean() - table[0].mean())
    assert contrast.p_value == pytest.approx(2 * t.sf(abs(contrast.difference.value) / error, 12))
    assert contrast.difference.high - contrast.difference.value == pytest.approx(t.ppf(0.975, 12) * error)
    unequal = stats.contrasts(values | {"system 2": {4: table[2, 4], 1: table[2, 1]}}, "system 0")["system 2"]
    lone = stats.contrasts({name: {0: by_seed[0]} for name, by_seed in values.items()}, "system 0")["system 2"]
    assert unequal.difference.count == 2 and unequal.p_value > contrast.p_value
    assert lone.difference.value == table[2, 0] - table[0, 0] and lone.difference.low is lone.p_value is None
    assert stats.contrasts(values, "absent") == stats.contrasts({"a": {0: 1.0}}, "a") == {}


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.0125, 0.025, 0.049]), max_size=12))
def test_holms_method_is_that_of_statsmodels(p_values):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)  # which multipletests calls each time
        expected = multipletests(p_values, method="holm")[0].tolist() if p_values else []
    assert stats.holm_rejects(p_values) == expected


def test_wilson_interval():
    interval = stats.wilson(14, 1010)
    assert (interval.low, interval.high) == pytest.approx((0.00828, 0.02313), abs=1e-4)


def test_fieller_covers_the_true_ratio():
    draw, hits = np.random.default_rng(0), 0
    for _ in range(400):
        b = draw.normal(80, 6, 5)
        interval = stats.ratio_interval(0.9 * b + draw.normal(0, 4, 5), b)
        hits += interval.low <= 0.9 <= interval.high
    assert 0.92 < hits / 400 < 0.98
    assert stats.ratio_interval([1.0, -1.0, 2.0], [0.1, -0.1, 0.1]).low is None


def test_mcnemar_counts_only_disagreements():
    first = np.array([True] * 10 + [False] * 90)
    second = np.array([False] * 10 + [True] * 2 + [False] * 88)
    assert stats.mcnemar_p(first, second) == pytest.approx(0.03857, abs=1e-4)
    assert stats.mcnemar_p(first, second) == pytest.approx(mcnemar([[0, 10], [2, 0]], exact=True).pvalue)
    assert stats.mcnemar_p(first, first) == 1


def test_argmin_interval():
    table = np.array([[9, 5, 1, 6], [9, 5, 2, 7], [9, 2, 4, 8]])
    assert stats.argmin_interval(table, [1, 2, 3, 4])[0] == 3
    assert stats.argmin_interval(table, [1, 2, 3, 4])[1:] == (2, 3)


def test_calibration_error_of_known_confidences():
    logits = torch.log(torch.tensor([[0.8, 0.2]] * 10))
    labels = torch.tensor([0] * 6 + [1] * 4)
    assert metrics.calibration_error(logits, labels) == pytest.approx(0.2, abs=1e-6)
    too_sure_and_too_unsure = torch.tensor([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10).log()
    labels = torch.tensor([0] * 6 + [1] * 4 + [0] * 9 + [1])
    assert metrics.calibration_error(too_sure_and_too_unsure, labels) == pytest.approx(0.3, abs=1e-6)


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


def test_packed_cases_are_unpacked_unchanged():
    wrong = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) < 0.01
    assert np.array_equal(metrics.unpack(metrics.pack(wrong), 10_000), wrong.numpy())


def test_agreement_is_the_fraction_of_equal_predictions():
    a = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert metrics.agreement(a, a) == 1 and metrics.agreement(a, a.flip(0)) == 0


def test_a_prediction_interval_covers_the_next_value():
    draw, hits, apart = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        values = draw.normal(70, 5, 6)
        low, high = stats.prediction_interval(values[:5])
        hits += low <= values[5] <= high
        test_set = draw.normal(0, 4)  # shared by our runs, not by the paper's
        low, high = stats.prediction_interval(values[:5] + test_set, 4.0**2)
        apart += low <= values[5] <= high
    assert 0.93 < hits / 1000 < 0.97 and 0.93 < apart / 1000 <= 1
    assert stats.prediction_interval([3.0]) is None


def test_equivalence_holds_fails_or_is_open():
    assert stats.is_equivalent([1.0, -1, 2, -2, 0], 10) is True
    assert stats.is_equivalent([20.0, 21, 22, 19, 23], 10) is False
    assert stats.is_equivalent([8.0, 14, 2, 12, 9], 10) is None
    draw = np.random.default_rng(0)
    wrong = sum(stats.is_equivalent(draw.normal(10, 3, 5), 10) is True for _ in range(1000))
    assert 30 < wrong < 70, "5% where the difference is just at the margin"


@pytest.mark.parametrize(("systems", "critical"), [(5, 0.9279), (10, 0.7175)])
def test_variances_are_outliers_beyond_the_critical_values_of_iso_5725(systems, critical):
    """The table holds those of two values for each system, at 1%."""

    def outlying(fraction):
        variances = [fraction / (1 - fraction) * (systems - 1), *[1.0] * (systems - 1)]
        return stats.outlying_variances({str(n): [0.0, (2 * v) ** 0.5] for n, v in enumerate(variances)})

    assert outlying(critical + 0.001) == {"0"} and outlying(critical - 0.001) == set()


def test_outlying_variances_are_found_one_after_another():
    draw = np.random.default_rng(0)
    values = {str(number): list(draw.normal(size=5)) for number in range(8)}
    assert stats.outlying_variances(values) == set()
    wild = values | {"wild": [0.0, 9.0, -9.0, 3.0, 1.0], "wilder": [0.0, 900.0, -900.0, 30.0, 1.0]}
    assert stats.outlying_variances(wild) == {"wild", "wilder"}
    assert stats.outlying_variances({"a": [1.0], "b": [2.0]}) == stats.outlying_variances({}) == set()
    assert stats.outlying_variances({"a": [1.0, 1.0], "b": [2.0, 2.0]}) == set()
