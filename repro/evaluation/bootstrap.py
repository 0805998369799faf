"""Bootstrap intervals over classes or speakers, and over models as well. All intervals are 95% CIs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from repro.evaluation.stats import LEVEL, Estimate

# Fewest units, such as speakers, for an interval over them: of 95% intervals over two, half miss the true value.
FEWEST_UNITS = 6


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
