"""Confidence intervals and paired tests over seeds and examples. All intervals are 95% CIs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
NORMAL_QUANTILE = float(stats.norm.ppf(0.5 + LEVEL / 2))
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


def mean_interval(values: Values, level: float = LEVEL) -> Estimate:
    """Return the mean of independent values (seeds) with Student's t interval; no interval for a single value."""
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(mean, None, None, len(array))
    half = float(stats.t.ppf(0.5 + level / 2, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    return Estimate(mean, mean - half, mean + half, len(array))


def prediction_interval(values: Values, variance: float = 0.0, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the prediction interval for one more independent value; None for a single value.

    Args:
        values: independent values, such as the test errors of one network per seed.
        variance: additional variance of the mean, from what the values share and a new run would not, such as the
            test set. Default: none.
        level: of the interval. Default: 95%.
    """
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return None
    spread = array.var(ddof=1) * (1 + 1 / len(array)) + variance
    half = float(stats.t.ppf(0.5 + level / 2, len(array) - 1) * spread**0.5)
    return float(array.mean()) - half, float(array.mean()) + half


def is_equivalent(differences: Values, margin: float) -> bool | None:
    """Return whether a mean lies within ``margin`` of zero by two one-sided t tests at 5% (Schuirmann 1987).

    Returns:
        True if the 90% interval of the mean lies within the margin; False if it lies wholly outside; else None.
    """
    mean = mean_interval(differences, level=0.9)
    if mean.low is None or mean.high is None:
        return None
    if -margin < mean.low and mean.high < margin:
        return True
    return False if mean.high < -margin or mean.low > margin else None


def paired_difference(first: Values, second: Values) -> Estimate:
    """Return the mean of ``first - second``, paired by seed, with Student's t interval."""
    return mean_interval(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))


@dataclass(frozen=True)
class Contrast:
    """The mean difference of a system from a baseline, and its two-sided p value (None where it is undefined)."""

    difference: Estimate
    p_value: float | None


def contrasts(values: Mapping[str, Mapping[int, float]], baseline: str) -> dict[str, Contrast]:
    """Return every other system minus a baseline, from a two-way analysis of variance by system and seed.

    The variance that neither explains is pooled over the systems, which therefore need not have the same seeds, and a
    few seeds suffice. With two systems it is Student's paired t test.

    Args:
        values: the value of each system at each of its seeds.
        baseline: the system that the others are compared with.
    """
    from statsmodels.regression.linear_model import OLS  # here, for it takes a second

    others = [system for system in values if system != baseline]
    if baseline not in values or not others:
        return {}
    cells = [(system, seed, value) for system, by_seed in values.items() for seed, value in by_seed.items()]
    data = pd.DataFrame(cells, columns=["system", "seed", "value"])
    systems, seeds = pd.get_dummies(data["system"], dtype=float), pd.get_dummies(data["seed"], dtype=float)
    fit = OLS(data["value"].to_numpy(), np.hstack([systems, seeds.iloc[:, 1:]])).fit()
    result = {}
    for system in others:
        contrast = np.zeros(fit.params.shape)
        contrast[: len(values)] = (systems.columns == system) * 1.0 - (systems.columns == baseline)
        value = float(contrast @ fit.params)
        if fit.df_resid < 1:
            result[system] = Contrast(Estimate(value, None, None, len(values[system])), None)
            continue
        test = fit.t_test(contrast)
        low, high = map(float, test.conf_int(1 - LEVEL)[0])
        result[system] = Contrast(Estimate(value, low, high, len(values[system])), float(test.pvalue))
    return result


def holm_rejects(p_values: Sequence[float]) -> list[bool]:
    """Return which hypotheses are rejected at a family-wise error rate of 5%, by Holm's method (1979).

    As statsmodels' ``multipletests``, which collects garbage at each call: half a second, many times in a report.
    """
    order = np.argsort(p_values)
    remaining = np.arange(len(order), 0, -1)  # hypotheses that are not rejected before each one
    passed = np.cumprod(np.asarray(p_values, dtype=float)[order] * remaining <= 1 - LEVEL)
    rejected = np.zeros(len(order), dtype=bool)
    rejected[order] = passed.astype(bool)
    return rejected.tolist()


def outlying_variances(values: Mapping[str, Values]) -> set[str]:
    """Return the systems whose variance is an outlier at the 1% level by Cochran's C test, the largest one first.

    Cochran 1941, "The distribution of the largest of a set of estimated variances as a fraction of their total", as in
    ISO 5725-2. It assumes as many values of each system; where they differ, the median number is used.
    """
    variances = {system: float(np.var(values[system], ddof=1)) for system in values if len(values[system]) > 1}
    outlying: set[str] = set()
    while len(variances) > 1:
        count, of_each = len(variances), float(np.median([len(values[system]) for system in variances])) - 1
        critical = stats.f.isf(0.01 / count, of_each, (count - 1) * of_each)
        largest = max(variances, key=lambda system: variances[system])
        if variances[largest] <= sum(variances.values()) / (1 + (count - 1) / critical):
            break
        outlying.add(largest)
        del variances[largest]
    return outlying


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


def wilson(successes: int, cases: int) -> Estimate:
    """Return a fraction of independent examples with Wilson's score interval."""
    interval = stats.binomtest(successes, cases).proportion_ci(LEVEL, method="wilson")
    return Estimate(successes / cases, float(interval.low), float(interval.high), cases)


def mcnemar_p(first_wrong: np.ndarray, second_wrong: np.ndarray) -> float:
    """Return the p value of the exact two-sided McNemar test that two models err equally often on the same examples."""
    only_first = int((first_wrong & ~second_wrong).sum())
    only_second = int((~first_wrong & second_wrong).sum())
    differing = only_first + only_second
    return float(stats.binomtest(only_first, differing).pvalue) if differing else 1.0


def argmin_interval(table: np.ndarray, grid: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Return the value of ``grid`` at which the mean over seeds is least, with its 95% bootstrap range over seeds.

    ``table`` has a row for each seed and a column for each value of ``grid``.
    """
    rows = np.random.default_rng(0).integers(len(table), size=(draws, len(table)))
    best = np.asarray(grid)[table[rows].mean(1).argmin(-1)]
    low, high = np.quantile(best, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="nearest")
    return float(grid[int(table.mean(0).argmin())]), float(low), float(high)
