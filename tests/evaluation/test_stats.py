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


def test_an_interval_over_units_covers_the_true_rate_and_has_no_width_for_equal_units():
    draw = np.random.default_rng(0)
    fraction_right = lambda cases, right: right / cases  # noqa: E731
    covered = 0
    for _ in range(100):
        cases = draw.integers(50, 150, 40)
        right = draw.binomial(cases, draw.beta(6, 4, 40))
        interval = stats.over_nets_and_units(fraction_right, cases, [stats.Counts(right[None], (0,))], draws=500)
        covered += interval.low <= 0.6 <= interval.high
    assert covered >= 85
    alike = stats.over_nets_and_units(fraction_right, np.full(30, 4), [stats.Counts(np.full((1, 30), 3), (0,))])
    assert alike.value == alike.low == alike.high == 0.75
    assert stats.over_nets_and_units(fraction_right, np.array([4]), [stats.Counts(np.array([[3]]), (0,))]).low is None


def test_an_interval_over_models_and_units_covers_the_true_difference():
    draw = np.random.default_rng(0)
    cases, covered, by_units = np.full(60, 100), 0, 0
    difference = lambda cases, first, second: (first - second) / cases  # noqa: E731
    for _ in range(100):
        of_unit = draw.normal(0.5, 0.1, 60)
        first, second = (100 * (of_unit + draw.normal(level, 0.02, 8)[:, None]) for level in (0.01, 0.0))
        interval = stats.over_nets_and_units(
            difference, cases, [stats.Counts(first, (0,)), stats.Counts(second, (1,))], draws=500
        )
        covered += interval.low <= 0.01 <= interval.high
        means = [stats.Counts(counts.mean(0)[None], (0,)) for counts in (first, second)]
        single_model = stats.over_nets_and_units(difference, cases, means, draws=500)
        by_units += single_model.low <= 0.01 <= single_model.high
    assert covered >= 85 and by_units < 20, "resampling units alone ignores the variance between models"


def test_an_interval_over_few_models_covers_their_mean():
    """Three models, drawn again, would rarely deviate far enough: the truth would be covered in four of five cases."""
    draw, covered = np.random.default_rng(0), 0
    cases, rate = np.full(60, 100), lambda cases, right: right / cases
    for _ in range(200):
        right = 100 * (0.5 + draw.normal(0, 0.02, 3)[:, None] + draw.normal(0, 0.01, 60))
        interval = stats.over_nets_and_units(rate, cases, [stats.Counts(right, (0,))], draws=500)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.92 <= covered / 200 <= 0.99


def test_models_of_the_same_seeds_are_resampled_together():
    draw = np.random.default_rng(0)
    first = draw.normal(50, 20, (4, 30))
    difference = lambda cases, first_counts, second_counts: (first_counts - second_counts) / cases  # noqa: E731
    width = {}
    for seeds in ((0, 1, 2, 3), (4, 5, 6, 7)):
        systems = [stats.Counts(first + 1, (0, 1, 2, 3)), stats.Counts(first, seeds)]
        interval = stats.over_nets_and_units(difference, np.full(30, 100), systems)
        assert interval.value == pytest.approx(0.01)
        width[seeds] = interval.high - interval.low
    assert width[0, 1, 2, 3] == pytest.approx(0, abs=1e-9) and width[4, 5, 6, 7] > 0.005


def test_a_ratio_whose_denominator_is_zero_in_a_sample_has_no_interval():
    """A sample may lack the last unit, the only one that shows a gain to divide by."""
    ones = [1] * 5
    systems = [stats.Counts(np.array([[*ones, 3]]), (0,)), stats.Counts(np.array([[*ones, 5]]), (1,))]
    ratio = lambda cases, part, whole: (part - cases) / (whole - cases)  # noqa: E731
    estimate = stats.over_nets_and_units(ratio, np.array([*ones, 1]), systems)
    assert estimate.value == 0.5 and estimate.low is None and estimate.high is None
    never = stats.over_nets_and_units(ratio, np.array([*ones, 3]), [systems[0], systems[0]])
    assert np.isnan(never.value) and never.low is None


@pytest.mark.parametrize(("units", "has_interval"), [(2, False), (5, False), (6, True)])
def test_few_units_have_no_interval(units, has_interval):
    cases, right = np.full(units, 100), np.arange(40, 40 + units)
    rate = lambda cases, right: right / cases  # noqa: E731
    counts = [stats.Counts(right[None], (0,))]
    assert (stats.over_nets_and_units(rate, cases, counts).low is not None) == has_interval
    assert (stats.run_over_nets_and_units(rate, cases, counts) is not None) == has_interval


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


def test_a_prediction_interval_over_models_and_units_covers_one_more_run():
    draw, covered, runs = np.random.default_rng(0), 0, 150
    cases, rate = np.full(50, 100), lambda cases, right: right / cases
    for _ in range(runs):
        models = draw.normal(0.5, 0.02, 7)
        units = draw.normal(0, 0.08, (2, 50))  # our test speakers, and the paper's
        ours = 100 * (models[:6, None] + units[0])
        low, high = stats.run_over_nets_and_units(rate, cases, [stats.Counts(ours, (0,))], draws=500)
        covered += low <= models[6] + units[1].mean() <= high
    assert 0.87 < covered / runs <= 1
    fixed = stats.Counts(100 * np.full((1, 50), 0.5), (0,))
    assert stats.run_over_nets_and_units(rate, cases, [fixed]) == (0.5, 0.5)


@pytest.mark.parametrize(("deviation", "sets", "most_over_cases"), [(0.05, 300, 0.95), (0.2, 150, 0.88)])
def test_an_interval_over_clusters_covers_the_true_ratio(deviation, sets, most_over_cases):
    """Relative gains of 339 classes of 6 images; ``deviation`` is that of the gain of a class.

    An interval over images covers the truth too rarely, and clearly so where classes differ much.
    """
    draw, shape, covered, by_cases = np.random.default_rng(0), (339, 6), 0, 0
    truth = 0.02 / 0.45
    for _ in range(sets):
        of_class = draw.normal(0.02, deviation, (339, 1))
        gained = (draw.random(shape) < abs(of_class)) * np.sign(of_class)
        right = draw.random(shape) < 0.45
        clusters = stats.over_clusters(np.divide, np.stack([gained.sum(1), right.sum(1)]))
        cases = stats.ratio_interval(gained.ravel(), right.ravel())
        covered += clusters.low <= truth <= clusters.high
        by_cases += cases.low <= truth <= cases.high
    assert 0.92 <= covered / sets <= 0.98
    assert by_cases < covered and by_cases / sets < most_over_cases


def test_an_interval_over_clusters_is_exact_for_equal_clusters_and_absent_for_a_single_one():
    alike = stats.over_clusters(np.divide, np.array([[3] * 20, [4] * 20]))
    assert alike.value == alike.low == alike.high == 0.75 and alike.count == 20
    single = stats.over_clusters(np.divide, np.array([[3], [4]]))
    assert single.value == 0.75 and single.low is None
    undefined = stats.over_clusters(np.divide, np.array([[1, 0, 0, 0, 0, 0]] * 2))
    assert undefined.value == 1 and undefined.low is None, "a sample may lack the first cluster"
    assert np.isnan(stats.over_clusters(np.divide, np.zeros((2, 0))).value)


def test_an_interval_over_seeds_and_clusters_covers_what_varies_with_either():
    """Seeds, classes and both together vary alike; an interval over classes alone covers the truth too rarely."""
    draw, covered, by_classes, sets = np.random.default_rng(0), 0, 0, 200
    for _ in range(sets):
        gained = 1 + draw.normal(size=(10, 1)) + draw.normal(size=(1, 60)) + draw.normal(size=(10, 60))
        totals = np.stack([gained, np.ones((10, 60))])
        both, classes = stats.over_seeds_and_clusters(np.divide, totals), stats.over_clusters(np.divide, totals.sum(1))
        assert both.value == pytest.approx(classes.value) and both.count == 10
        covered += both.low <= 1 <= both.high
        by_classes += classes.low <= 1 <= classes.high
    assert covered / sets > 0.88 and by_classes / sets < 0.6
    assert stats.over_seeds_and_clusters(np.divide, np.ones((2, 5, 60))).low is None, "too few seeds"


def test_equal_cases_of_a_cluster_do_not_narrow_the_interval():
    right = np.random.default_rng(1).integers(0, 2, 50)
    once, often = (stats.over_clusters(np.divide, np.array([k * right, [k] * 50])) for k in (1, 9))
    assert (once.low, once.high) == (often.low, often.high) and once.low < once.value < once.high


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
