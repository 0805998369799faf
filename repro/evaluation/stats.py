"""Confidence intervals and paired tests over seeds, examples and speakers. All intervals are 95% CIs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
# Fewest units, such as speakers, for an interval over them: of 95% intervals over two, half miss the true value.
FEWEST_UNITS = 6
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
        variance: of the values' mean from what they have in common and the next value has not, such as the test set.
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


def over_clusters(statistic: Callable[..., np.ndarray], totals: np.ndarray) -> Estimate:
    """Return a statistic of sums over clusters, such as classes, with a percentile bootstrap interval over clusters.

    The interval covers another draw of as many clusters for the same models. Whole clusters are drawn, because the
    cases of a cluster depend on each other. There is no interval for a single cluster, nor where the statistic is
    undefined in some sample. With few clusters the interval is too narrow. Seed and number of samples are fixed.

    Args:
        statistic: sums of the quantities, each of shape (...) -> values of shape (...).
        totals: the sum of each quantity over the cases of each cluster, of shape (quantity, cluster).
    """
    clusters = totals.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(*totals.sum(1)))
        if clusters < 2:
            return Estimate(value, None, None, clusters)
        samples = statistic(*(totals @ _cluster_weights(clusters).T))
    low, high = _percentile_interval(samples) or (None, None)
    return Estimate(value, low, high, clusters)


def over_seeds_and_clusters(statistic: Callable[..., np.ndarray], totals: np.ndarray) -> Estimate:
    """Return a statistic of sums over seeds and clusters, with a percentile bootstrap interval over both.

    The interval covers other clusters and other models: seeds and clusters are drawn independently of each other (the
    pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122), because the cases of a seed and those of a cluster depend
    on each other. There is no interval for fewer than ``FEWEST_UNITS`` seeds or clusters, nor where the statistic is
    undefined in some sample.

    Args:
        statistic: sums of the quantities, each of shape (...) -> values of shape (...).
        totals: the sum of each quantity over the cases of each seed and cluster, of shape (quantity, seed, cluster).
    """
    seeds, clusters = totals.shape[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(*totals.sum((1, 2))))
        if min(seeds, clusters) < FEWEST_UNITS:
            return Estimate(value, None, None, seeds)
        of_seeds = np.random.default_rng(1).multinomial(
            seeds, np.full(seeds, 1 / seeds), size=len(_cluster_weights(clusters))
        )
        by_seed = totals @ _cluster_weights(clusters).T  # (quantity, seed, draw)
        samples = statistic(*(by_seed * of_seeds.T).sum(1))
    low, high = _percentile_interval(samples) or (None, None)
    return Estimate(value, low, high, seeds)


@lru_cache(maxsize=32)
def _cluster_weights(clusters: int, draws: int = 5000) -> np.ndarray:
    """Return how often each bootstrap sample contains each cluster, of shape (draw, cluster)."""
    weights = np.random.default_rng(0).multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
    return weights.astype(np.uint16)  # a quarter of the memory


def _percentile_interval(samples: np.ndarray) -> tuple[float, float] | None:
    """Return the percentile interval of bootstrap samples; None where a sample is not finite."""
    if not np.isfinite(samples).all():
        return None
    low, high = np.quantile(samples, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


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
    """Return a statistic of sums over units and means over models, with a 95% interval over both.

    The interval covers other speakers, drawn by the bootstrap, and other models, by Student's t distribution; the model
    of a system that has a single one stays fixed.
    There is no interval for fewer than ``FEWEST_UNITS`` units, nor for a ratio whose denominator is zero in some
    sample. With few units the interval is too narrow.

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
    low, high = _bootstrap(statistic, whole, systems, seed, draws, one_run=False) or (None, None)
    return Estimate(value, low, high, units)


def run_over_nets_and_units(
    statistic: Callable[..., np.ndarray], cases: np.ndarray, systems: Sequence[Counts], seed: int = 0, draws: int = 2000
) -> tuple[float, float] | None:
    """Return the prediction interval of the statistic for one more run: one new model of each system, new units.

    The arguments are those of ``over_nets_and_units``. None where there is no interval.
    """
    return _bootstrap(statistic, np.asarray(cases, dtype=float), systems, seed, draws, one_run=True)


def _bootstrap(
    statistic: Callable[..., np.ndarray], cases: np.ndarray, systems: Sequence[Counts], seed: int, draws: int,
    *, one_run: bool,
) -> tuple[float, float] | None:  # fmt: skip
    units = len(cases)
    if units < FEWEST_UNITS:
        return None
    draw = np.random.default_rng(seed)
    resample = partial(draw.multinomial, units, np.full(units, 1 / units), size=draws)
    # Another run has other units as well: their noise adds to that of ours.
    weights = resample() + resample() - 1 if one_run else resample()
    drawn = {system.seeds: _model_weights(draw, len(system.of), draws, one_run) for system in systems}
    sums = [(drawn[system.seeds] @ np.asarray(system.of, dtype=float) * weights).sum(1) for system in systems]
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = statistic(weights @ cases, *sums)
    return _percentile_interval(samples)


def _model_weights(draw: np.random.Generator, models: int, draws: int, one_run: bool) -> np.ndarray:
    """Return the weights (draw, model) of the mean of other models or, for one run, of one more model.

    Their mean deviates from ours as a Student's t variable with the covariance of the models over n, one more model
    with 1 + 1 / n times that covariance: few models drawn again would rarely deviate far enough.
    """
    if models < 2:
        return np.ones((draws, models))
    normal = draw.standard_normal((draws, models))
    scale = np.sqrt((one_run + 1 / models) / draw.chisquare(models - 1, (draws, 1)))
    return 1 / models + scale * (normal - normal.mean(1, keepdims=True))


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
