"""Confidence intervals and paired tests over seeds, examples and speakers. All intervals are 95% CIs."""

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
    """An estimate, its 95% CI (None where it is undefined), and the number of values behind it."""

    value: float
    low: float | None
    high: float | None
    count: int

    def each(self, change: Callable[[float], float]) -> "Estimate":
        """Return the estimate with ``change`` applied to its value and to both ends of its CI."""
        low, high = (None if end is None else change(end) for end in (self.low, self.high))
        return Estimate(change(self.value), low, high, self.count)


def mean_interval(values: Values) -> Estimate:
    """Return the mean of independent values (seeds) with Student's t interval; no interval for a single value."""
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(mean, None, None, len(array))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    return Estimate(mean, mean - half, mean + half, len(array))


def prediction_interval(values: Values, level: float = LEVEL) -> Estimate:
    """Return the mean of independent values with the interval of one more value; no interval for a single value."""
    array = np.asarray(values, dtype=float)
    mean, count = float(array.mean()), len(array)
    if count < 2:
        return Estimate(mean, None, None, count)
    half = float(stats.t.ppf(0.5 + level / 2, count - 1) * array.std(ddof=1) * (1 + 1 / count) ** 0.5)
    return Estimate(mean, mean - half, mean + half, count)


def paired_difference(first: Values, second: Values) -> Estimate:
    """Return the mean of ``first - second``, paired by seed, with Student's t interval."""
    return mean_interval(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))


def p_of_zero(mean: Estimate) -> float:
    """Return the two-sided p value of Student's t test that a mean of ``mean_interval`` is zero.

    It is the p value of ``scipy.stats.ttest_rel`` on the pairs (tested), from the interval alone: callers hold
    estimates, some of them rescaled, and no longer the pairs.
    """
    assert mean.low is not None and mean.high is not None, "a single value has no interval and no p value"
    half, freedom = (mean.high - mean.low) / 2, mean.count - 1
    if half == 0:
        return float(mean.value == 0)
    error = half / stats.t.ppf(0.5 + LEVEL / 2, freedom)
    return float(2 * stats.t.sf(abs(mean.value) / error, freedom))


def ratio_interval(numerator: Values, denominator: Values) -> Estimate:
    """Return the ratio of two means paired by seed, with Fieller's interval.

    There is no interval for a single pair, nor where the CI of the denominator contains zero.
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
    """Return the ratio of two means over (seed, example) with Fieller's interval over examples, paired.

    The mean of an example over the seeds is one value: the interval covers another draw of as many test examples, for
    the same models.
    """
    return ratio_interval(*(np.asarray(values, dtype=float).mean(0) for values in (numerator, denominator)))


@dataclass(frozen=True)
class Counts:
    """Counts of each model of a system in each unit, such as correct frames of a speaker, of shape (model, unit).

    Systems with the same ``seeds``, such as students at two temperatures, are resampled together.
    """

    of: np.ndarray
    seeds: tuple[int, ...]


def over_nets_and_units(
    statistic: Callable[..., np.ndarray], cases: np.ndarray, systems: Sequence[Counts], seed: int = 0, draws: int = 2000
) -> Estimate:
    """Return a statistic of sums over units and means over models, with a percentile bootstrap interval over both.

    The interval covers other speakers and other models; the model of a system that has a single one stays fixed. A
    ratio whose denominator is zero in some sample has no interval.

    Args:
        statistic: sums of the examples, and of the counts of each system, each of shape (...) -> values of shape (...).
        cases: number of examples in each unit.
        systems: counts of each system.
        seed: seed of the bootstrap. Default: 0.
        draws: number of bootstrap samples. Default: 2000.
    """
    whole, each = np.asarray(cases, dtype=float), [np.asarray(system.of, dtype=float) for system in systems]
    units = len(whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(whole.sum(), *(counts.mean(0).sum() for counts in each)))
    if units < 2:
        return Estimate(value, None, None, units)
    draw = np.random.default_rng(seed)
    weights = draw.multinomial(units, np.full(units, 1 / units), size=draws)
    drawn = {
        system.seeds: draw.multinomial(len(system.of), np.full(len(system.of), 1 / len(system.of)), size=draws)
        / len(system.of)
        for system in systems
    }
    sums = [(drawn[system.seeds] @ counts * weights).sum(1) for system, counts in zip(systems, each, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = statistic(weights @ whole, *sums)
    if not np.isfinite(samples).all():
        return Estimate(value, None, None, units)
    low, high = np.quantile(samples, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(value, float(low), float(high), units)


def wilson(successes: int, cases: int) -> Estimate:
    """Return a fraction of independent examples with Wilson's score interval."""
    low, high = proportion_confint(successes, cases, alpha=1 - LEVEL, method="wilson")
    return Estimate(successes / cases, float(low), float(high), cases)


def mcnemar_p(first_wrong: np.ndarray, second_wrong: np.ndarray) -> float:
    """Return the p value of the exact two-sided McNemar test that two models err equally often on the same examples."""
    only_first = int((first_wrong & ~second_wrong).sum())
    only_second = int((~first_wrong & second_wrong).sum())
    return float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)


def noise_spread(table: np.ndarray) -> float:
    """Return the spread (largest minus smallest) of column means that seed noise alone reaches 1 time in 20.

    ``table`` has a row for each seed and a column for each condition, paired by seed. The spread is the critical value
    of Tukey's studentized range for a two-way layout, under the hypothesis that no condition has an effect.
    """
    seeds, conditions = table.shape
    residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    freedom = (seeds - 1) * (conditions - 1)
    deviation = np.sqrt((residual**2).sum() / freedom / seeds)
    return _studentised_range(conditions, freedom) * float(deviation)


@cache
def _studentised_range(conditions: int, freedom: int) -> float:
    return float(stats.studentized_range.ppf(LEVEL, conditions, freedom))


def argmin_interval(table: np.ndarray, grid: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Return the value of ``grid`` at which the mean over seeds is least, with its 95% bootstrap range over seeds.

    ``table`` has a row for each seed and a column for each value of ``grid``.
    """
    rows = np.random.default_rng(0).integers(len(table), size=(draws, len(table)))
    best = np.asarray(grid)[table[rows].mean(1).argmin(-1)]
    low, high = np.quantile(best, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="nearest")
    return float(grid[int(table.mean(0).argmin())]), float(low), float(high)
