"""Intervals and paired tests. All intervals are 95%."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95
Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95% interval (None where it cannot be had), and over how many values."""

    value: float
    low: float | None
    high: float | None
    count: int

    def each(self, change: Callable[[float], float]) -> "Estimate":
        """The mean and the interval's ends, all changed alike."""
        low, high = (None if end is None else change(end) for end in (self.low, self.high))
        return Estimate(change(self.value), low, high, self.count)


def mean_interval(values: Values) -> Estimate:
    """The mean of independent values (seeds) with Student's t interval; no interval from one value."""
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(mean, None, None, len(array))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    return Estimate(mean, mean - half, mean + half, len(array))


def paired_difference(first: Values, second: Values) -> Estimate:
    """The mean of ``first - second``, paired by seed, with Student's t interval."""
    return mean_interval(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))


def p_of_zero(mean: Estimate) -> float:
    """Student's two-sided p value that the mean with this interval is zero (see ``mean_interval``)."""
    assert mean.low is not None and mean.high is not None, "a single value has no interval and no p value"
    half, freedom = (mean.high - mean.low) / 2, mean.count - 1
    if half == 0:
        return float(mean.value == 0)
    error = half / stats.t.ppf(0.5 + LEVEL / 2, freedom)
    return float(2 * stats.t.sf(abs(mean.value) / error, freedom))


def ratio_interval(numerator: Values, denominator: Values) -> Estimate:
    """The ratio of two means paired by seed, with Fieller's interval.

    No interval from one pair, or where the denominator's own interval holds zero.
    """
    a, b = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    value, n = float(a.mean() / b.mean()), len(a)
    if n < 2:
        return Estimate(value, None, None, n)
    (var_a, cov), (_, var_b) = np.cov(a, b, ddof=1) / n
    t2 = stats.t.ppf(0.5 + LEVEL / 2, n - 1) ** 2
    leading = b.mean() ** 2 - t2 * var_b
    if leading <= 0:
        return Estimate(value, None, None, n)
    middle = a.mean() * b.mean() - t2 * cov
    root = np.sqrt(max(middle**2 - leading * (a.mean() ** 2 - t2 * var_a), 0.0))
    return Estimate(value, float((middle - root) / leading), float((middle + root) / leading), n)


def ratio_over_cases(numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
    """The ratio of two means over (seed, case) with Fieller's interval over cases, paired.

    A case's mean over the seeds is one value: the interval says what another draw of as many test cases
    would change, the nets being what they are.
    """
    return ratio_interval(*(np.asarray(values, dtype=float).mean(0) for values in (numerator, denominator)))


@dataclass(frozen=True)
class Counts:
    """What each net of a system counts in each unit, such as the frames of a speaker that it has right: (net, unit).

    Of systems with the same ``seeds``, such as students of two temperatures, the same nets are drawn.
    """

    of: np.ndarray
    seeds: tuple[int, ...]


def over_nets_and_units(
    statistic: Callable[..., np.ndarray], cases: np.ndarray, systems: Sequence[Counts], seed: int = 0, draws: int = 2000
) -> Estimate:
    """A statistic of sums over units and means over nets, with its percentile interval over draws of both: what other
    speakers would change, and other nets. A system of one net is what it is.

    Args:
        statistic: sums of the cases, and of what each system counts, each of shape (...) -> values of shape (...).
        cases: of each unit.
    """
    whole, each = np.asarray(cases, dtype=float), [np.asarray(one.of, dtype=float) for one in systems]
    value, units = float(statistic(whole.sum(), *(one.mean(0).sum() for one in each))), len(whole)
    if units < 2:
        return Estimate(value, None, None, units)
    draw = np.random.default_rng(seed)
    weights = draw.multinomial(units, np.full(units, 1 / units), size=draws)
    drawn = {
        one.seeds: draw.multinomial(len(one.of), np.full(len(one.of), 1 / len(one.of)), size=draws) / len(one.of)
        for one in systems
    }
    sums = [(drawn[one.seeds] @ counts * weights).sum(1) for one, counts in zip(systems, each, strict=True)]
    low, high = np.quantile(statistic(weights @ whole, *sums), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(value, float(low), float(high), units)


def wilson(successes: int, cases: int) -> Estimate:
    """A share of independent cases with Wilson's score interval."""
    low, high = proportion_confint(successes, cases, alpha=1 - LEVEL, method="wilson")
    return Estimate(successes / cases, float(low), float(high), cases)


def mcnemar_p(first_wrong: np.ndarray, second_wrong: np.ndarray) -> float:
    """Exact two-sided McNemar test that two nets err equally often, on the same test cases."""
    only_first = int((first_wrong & ~second_wrong).sum())
    only_second = int((~first_wrong & second_wrong).sum())
    return float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)


def noise_spread(table: np.ndarray) -> float:
    """The spread (largest minus smallest) of column means that seed noise alone reaches 1 time in 20.

    ``table`` holds a row for each seed and a column for each condition, paired by seed. The critical value
    of Tukey's studentised range for a two-way layout: what the column means may differ by when no
    condition has an effect.
    """
    seeds, conditions = table.shape
    residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    freedom = (seeds - 1) * (conditions - 1)
    deviation = np.sqrt((residual**2).sum() / freedom / seeds)
    return _studentised_range(conditions, freedom) * float(deviation)


@cache
def _studentised_range(conditions: int, freedom: int) -> float:
    return float(stats.studentized_range.ppf(LEVEL, conditions, freedom))


def argmin_interval(table: np.ndarray, where: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Where the mean over seeds is least, with the 95% range over bootstrap draws of seeds.

    ``table`` holds a row for each seed and a column for each value of ``where``.
    """
    rows = np.random.default_rng(0).integers(len(table), size=(draws, len(table)))
    best = np.asarray(where)[table[rows].mean(1).argmin(-1)]
    low, high = np.quantile(best, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="nearest")
    return float(where[int(table.mean(0).argmin())]), float(low), float(high)
