"""Bootstrap intervals cover the truth in simulation."""

import numpy as np
import pytest

from repro.evaluation import bootstrap, stats


def test_an_interval_over_units_covers_the_true_rate_and_has_no_width_for_equal_units():
    draw = np.random.default_rng(0)
    fraction_right = lambda cases, right: right / cases  # noqa: E731
    covered = 0
    for _ in range(100):
        cases = draw.integers(50, 150, 40)
        right = draw.binomial(cases, draw.beta(6, 4, 40))
        interval = bootstrap.over_nets_and_units(
            fraction_right, cases, [bootstrap.Counts(right[None], (0,))], draws=500
        )
        covered += interval.low <= 0.6 <= interval.high
    assert covered >= 85
    alike = bootstrap.over_nets_and_units(fraction_right, np.full(30, 4), [bootstrap.Counts(np.full((1, 30), 3), (0,))])
    assert alike.value == alike.low == alike.high == 0.75
    assert (
        bootstrap.over_nets_and_units(fraction_right, np.array([4]), [bootstrap.Counts(np.array([[3]]), (0,))]).low
        is None
    )


def test_an_interval_over_models_and_units_covers_the_true_difference():
    draw = np.random.default_rng(0)
    cases, covered, by_units = np.full(60, 100), 0, 0
    difference = lambda cases, first, second: (first - second) / cases  # noqa: E731
    for _ in range(100):
        of_unit = draw.normal(0.5, 0.1, 60)
        first, second = (100 * (of_unit + draw.normal(level, 0.02, 8)[:, None]) for level in (0.01, 0.0))
        interval = bootstrap.over_nets_and_units(
            difference, cases, [bootstrap.Counts(first, (0,)), bootstrap.Counts(second, (1,))], draws=500
        )
        covered += interval.low <= 0.01 <= interval.high
        means = [bootstrap.Counts(counts.mean(0)[None], (0,)) for counts in (first, second)]
        single_model = bootstrap.over_nets_and_units(difference, cases, means, draws=500)
        by_units += single_model.low <= 0.01 <= single_model.high
    assert covered >= 85 and by_units < 20, "resampling units alone ignores the variance between models"


def test_an_interval_over_few_models_covers_their_mean():
    """Three models, drawn again, would rarely deviate far enough: the truth would be covered in four of five cases."""
    draw, covered = np.random.default_rng(0), 0
    cases, rate = np.full(60, 100), lambda cases, right: right / cases
    for _ in range(200):
        right = 100 * (0.5 + draw.normal(0, 0.02, 3)[:, None] + draw.normal(0, 0.01, 60))
        interval = bootstrap.over_nets_and_units(rate, cases, [bootstrap.Counts(right, (0,))], draws=500)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.92 <= covered / 200 <= 0.99


def test_models_of_the_same_seeds_are_resampled_together():
    draw = np.random.default_rng(0)
    first = draw.normal(50, 20, (4, 30))
    difference = lambda cases, first_counts, second_counts: (first_counts - second_counts) / cases  # noqa: E731
    width = {}
    for seeds in ((0, 1, 2, 3), (4, 5, 6, 7)):
        systems = [bootstrap.Counts(first + 1, (0, 1, 2, 3)), bootstrap.Counts(first, seeds)]
        interval = bootstrap.over_nets_and_units(difference, np.full(30, 100), systems)
        assert interval.value == pytest.approx(0.01)
        width[seeds] = interval.high - interval.low
    assert width[0, 1, 2, 3] == pytest.approx(0, abs=1e-9) and width[4, 5, 6, 7] > 0.005


def test_a_ratio_whose_denominator_is_zero_in_a_sample_has_no_interval():
    """A sample may lack the last unit, the only one that shows a gain to divide by."""
    ones = [1] * 5
    systems = [bootstrap.Counts(np.array([[*ones, 3]]), (0,)), bootstrap.Counts(np.array([[*ones, 5]]), (1,))]
    ratio = lambda cases, part, whole: (part - cases) / (whole - cases)  # noqa: E731
    estimate = bootstrap.over_nets_and_units(ratio, np.array([*ones, 1]), systems)
    assert estimate.value == 0.5 and estimate.low is None and estimate.high is None
    never = bootstrap.over_nets_and_units(ratio, np.array([*ones, 3]), [systems[0], systems[0]])
    assert np.isnan(never.value) and never.low is None


@pytest.mark.parametrize(("units", "has_interval"), [(2, False), (5, False), (6, True)])
def test_few_units_have_no_interval(units, has_interval):
    cases, right = np.full(units, 100), np.arange(40, 40 + units)
    rate = lambda cases, right: right / cases  # noqa: E731
    counts = [bootstrap.Counts(right[None], (0,))]
    assert (bootstrap.over_nets_and_units(rate, cases, counts).low is not None) == has_interval
    assert (bootstrap.run_over_nets_and_units(rate, cases, counts) is not None) == has_interval


def test_a_prediction_interval_over_models_and_units_covers_one_more_run():
    draw, covered, runs = np.random.default_rng(0), 0, 150
    cases, rate = np.full(50, 100), lambda cases, right: right / cases
    for _ in range(runs):
        models = draw.normal(0.5, 0.02, 7)
        units = draw.normal(0, 0.08, (2, 50))  # our test speakers, and the paper's
        ours = 100 * (models[:6, None] + units[0])
        low, high = bootstrap.run_over_nets_and_units(rate, cases, [bootstrap.Counts(ours, (0,))], draws=500)
        covered += low <= models[6] + units[1].mean() <= high
    assert 0.87 < covered / runs <= 1
    fixed = bootstrap.Counts(100 * np.full((1, 50), 0.5), (0,))
    assert bootstrap.run_over_nets_and_units(rate, cases, [fixed]) == (0.5, 0.5)


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
        clusters = bootstrap.over_clusters(np.divide, np.stack([gained.sum(1), right.sum(1)]))
        cases = stats.ratio_interval(gained.ravel(), right.ravel())
        covered += clusters.low <= truth <= clusters.high
        by_cases += cases.low <= truth <= cases.high
    assert 0.92 <= covered / sets <= 0.98
    assert by_cases < covered and by_cases / sets < most_over_cases


def test_an_interval_over_clusters_is_exact_for_equal_clusters_and_absent_for_a_single_one():
    alike = bootstrap.over_clusters(np.divide, np.array([[3] * 20, [4] * 20]))
    assert alike.value == alike.low == alike.high == 0.75 and alike.count == 20
    single = bootstrap.over_clusters(np.divide, np.array([[3], [4]]))
    assert single.value == 0.75 and single.low is None
    undefined = bootstrap.over_clusters(np.divide, np.array([[1, 0, 0, 0, 0, 0]] * 2))
    assert undefined.value == 1 and undefined.low is None, "a sample may lack the first cluster"
    assert np.isnan(bootstrap.over_clusters(np.divide, np.zeros((2, 0))).value)


def test_an_interval_over_seeds_and_clusters_covers_what_varies_with_either():
    """Seeds, classes and both together vary alike; an interval over classes alone covers the truth too rarely."""
    draw, covered, by_classes, sets = np.random.default_rng(0), 0, 0, 200
    for _ in range(sets):
        gained = 1 + draw.normal(size=(10, 1)) + draw.normal(size=(1, 60)) + draw.normal(size=(10, 60))
        totals = np.stack([gained, np.ones((10, 60))])
        both, classes = (
            bootstrap.over_seeds_and_clusters(np.divide, totals),
            bootstrap.over_clusters(np.divide, totals.sum(1)),
        )
        assert both.value == pytest.approx(classes.value) and both.count == 10
        covered += both.low <= 1 <= both.high
        by_classes += classes.low <= 1 <= classes.high
    assert covered / sets > 0.88 and by_classes / sets < 0.6
    assert bootstrap.over_seeds_and_clusters(np.divide, np.ones((2, 5, 60))).low is None, "too few seeds"


def test_equal_cases_of_a_cluster_do_not_narrow_the_interval():
    right = np.random.default_rng(1).integers(0, 2, 50)
    once, often = (bootstrap.over_clusters(np.divide, np.array([k * right, [k] * 50])) for k in (1, 9))
    assert (once.low, once.high) == (often.low, often.high) and once.low < once.value < once.high
