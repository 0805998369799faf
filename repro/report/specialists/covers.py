"""Table 4: the gain by number of specialists that cover the correct class, and its slope on that number."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.query import percent
from repro.report.specialists.analysis import Gain

COVER = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10plus")
MOST = len(COVER) - 1
# A relative gain on fewer images, on average over seeds, or on fewer classes of all seeds is noise: it has no interval,
# no claim, no point in the figure and no rank.
MIN_IMAGES, MIN_CLASSES = 50, 5


@dataclass(frozen=True)
class Cover:
    """Images whose class is covered by the same number of specialists, a row of Table 4.

    ``images``, ``before`` and ``after`` are counts for each seed. ``over_classes`` is the relative gain in percent of
    all seeds together, with an interval over classes; None where nothing was right before.
    """

    images: np.ndarray
    before: np.ndarray
    after: np.ndarray
    classes: int
    over_classes: Estimate | None

    @property
    def over_seeds(self) -> Estimate | None:
        """Relative gain in percent with an interval over seeds; None where nothing was right before."""
        if self.over_classes is None:
            return None
        return percent(stats.ratio_interval(self.after - self.before, self.before))

    @property
    def is_large(self) -> bool:
        """True where there are enough classes, and enough images on average over seeds, for a relative gain."""
        return self.classes >= MIN_CLASSES and self.images.mean() >= MIN_IMAGES and self.over_classes is not None


def covers(change: Gain) -> list[Cover]:
    """Return one entry for each number of covering specialists; 10 or more are one entry."""
    return [_cover(change, _covering(change) == number) for number in range(len(COVER))]


def _covering(change: Gain) -> np.ndarray:
    return np.minimum(change.covering, MOST)


def _cover(change: Gain, mask: np.ndarray) -> Cover:
    """Return the entry of the images in ``mask``, of shape (seed, image)."""
    before, after = (np.where(mask, right, 0) for right in change.right)
    classes = len(np.unique(change.labels[mask.any(0)]))
    gained = percent(change.over_classes(np.divide, after - before, before)) if before.any() else None
    return Cover(mask.sum(1), before.sum(1), after.sum(1), classes, gained)


def slope(change: Gain) -> Estimate | None:
    """Return the slope of the relative gain on the number of covering specialists, in percent per specialist.

    It is the regression line through the relative gains of Table 4, each with the weight of its images that were right
    before, with all seeds together. None where all classes are covered by the same number of specialists.
    """
    number, (before, after) = _covering(change), change.right
    sums = (before, number * before, number**2 * before, after - before, number * (after - before))
    return _defined(change.over_seeds_and_classes(_weighted_slope, *sums))


def _weighted_slope(
    weight: np.ndarray, moment: np.ndarray, square: np.ndarray, gained: np.ndarray, gained_moment: np.ndarray
) -> np.ndarray:
    """Return the slope of the regression line from sums of weights w, w k and w k^2, and of gains w g and w g k."""
    mean = moment / weight
    return (gained_moment - mean * gained) / (square - mean * moment)


def slope_within_classes(change: Gain) -> Estimate | None:
    """Return the slope of the gain in accuracy on the number of covering specialists, with class fixed effects.

    It compares images with themselves where other specialists of another seed cover their class, so that no property
    of a class is behind it. In percentage points per specialist; None where no class is covered differently.
    """
    number, (before, after) = _covering(change), change.right
    gained, deviation = after - before, number - number.mean(0)
    # The mean gain of an image over seeds changes no sum over all seeds, but would be noise in a sample of them.
    return _defined(change.over_seeds_and_classes(np.divide, deviation * (gained - gained.mean(0)), deviation**2))


def _defined(estimate: Estimate) -> Estimate | None:
    return percent(estimate) if np.isfinite(estimate.value) else None


def rank_correlation(change: Gain) -> float | None:
    """Return Spearman's rank correlation of number of covering specialists and relative gain, of large enough entries.

    None for fewer than three entries, or if all gains are equal.
    """
    rows = [
        (number, cover.over_classes.value)
        for number, cover in enumerate(covers(change))
        if cover.is_large and cover.over_classes is not None
    ]
    if len(rows) < 3 or len({value for _, value in rows}) < 2:
        return None
    return float(spearmanr(*zip(*rows, strict=True)).statistic)


def rank_correlation_of_paper() -> float:
    """Return the rank correlation of the paper's Table 4."""
    return float(spearmanr(range(len(COVER)), paper.COVER_GAINS).statistic)
