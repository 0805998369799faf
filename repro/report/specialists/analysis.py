"""The claims of sections 5, 6.1 and 8 on specialists, computed from the records."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from repro import paper
from repro.evaluation import metrics, stats
from repro.evaluation.stats import Estimate
from repro.report.query import UNDECIDED, interval, percent, positive, select, signed
from repro.report.records import Record
from repro.report.section import Finding

MAIN = "with specialists"
# The generalist, trained on with labels alone: the control of whatever is trained after it.
LONGER = "hard targets, longer"
COVER = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10plus")
# A relative gain of fewer images than this is noise: such numbers of covering specialists get no place in the trend.
FEWEST_IMAGES = 50


@dataclass(frozen=True)
class Gain:
    """What specialists changed, image by image: arrays of (seed, image).

    ``right`` holds 0 or 1; ``within`` how many covering specialists' subsets the image is right in, out of
    ``covering``; each before (generalist alone) and after (with specialists).
    """

    right: tuple[np.ndarray, np.ndarray]
    within: tuple[np.ndarray, np.ndarray]
    covering: np.ndarray

    def accuracy(self, after: int) -> list[float]:
        """Accuracy in percent, each seed."""
        return (100 * self.right[after].mean(1)).tolist()

    def conditional(self, after: int) -> list[float]:
        """Accuracy within the special classes in percent, each seed."""
        return (100 * self.within[after].sum(1) / np.maximum(self.covering.sum(1), 1)).tolist()

    def relative(self) -> list[float]:
        """Relative gain of accuracy in percent, each seed."""
        return percent_gain(*self.right)


def percent_gain(before: np.ndarray, after: np.ndarray) -> list[float]:
    """Relative gain in percent of counts (seed, image), each seed; where nothing was right before, the gain on one."""
    counts = before.sum(1)
    return (100 * (after.sum(1) - counts) / np.maximum(counts, 1)).tolist()


def gain(records: list[Record], arm: str = MAIN, part: str = "test", **settings) -> Gain | None:
    """The gain that the records of a role tell of; None where there are none."""
    found = select(records, arm, **settings)
    return gain_of(found, part) if found else None


def gain_of(records: list[Record], part: str = "test") -> Gain:
    """The gain that these records tell of."""
    found = [record["metrics"] for record in records]
    cases = found[0][f"{part}_cases"]

    def right(when: str) -> np.ndarray:
        return np.array([~metrics.unpack(m[f"{part}_wrong{when}"], cases) for m in found]).astype(int)

    def counts(what: str) -> np.ndarray:
        return np.array([metrics.unpack_counts(m[f"{part}_{what}"]) for m in found])

    within = counts("conditional_before"), counts("conditional")
    return Gain((right("_before"), right("")), within, counts("covering"))


@dataclass(frozen=True)
class Cover:
    """The images whose class is covered by so many specialists: Table 4's row. Each of its counts is per seed."""

    images: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def relative(self) -> Estimate | None:
        """Relative gain in percent, the ratio of sums over seeds; None where nothing was right before."""
        if not self.before.sum():
            return None
        return percent(stats.ratio_interval(self.after - self.before, self.before))


def cover_over_images(found: Gain, number: int) -> Estimate | None:
    """The same gain of the images whose class so many specialists cover, with the interval over these images, each of
    them a mean over the seeds: that over three seeds is erratic where images are few."""
    before, after = found.right
    here = np.minimum(found.covering, 10) == number
    if not (here * before).any():
        return None
    gained, had = np.where(here, after - before, 0), np.where(here, before, 0)
    return replace(percent(stats.ratio_over_cases(gained, had)), count=len(before))


def covers(found: Gain) -> list[Cover]:
    """One for each number of covering specialists, 10 or more being one."""
    capped = np.minimum(found.covering, 10)
    return [Cover(*(np.where(capped == k, what, 0).sum(1) for what in (1, *found.right))) for k in range(len(COVER))]


def trend(found: Gain) -> Estimate | None:
    """Spearman's rank correlation of relative gain and number of covering specialists, over the seeds.

    Numbers of covering specialists with fewer than ``FEWEST_IMAGES`` images in a seed are left out.
    """
    values = []
    for seed in range(len(found.covering)):
        rows = [(k, c.after[seed] / c.before[seed] - 1) for k, c in enumerate(covers(found))
                if c.images[seed] >= FEWEST_IMAGES and c.before[seed]]  # fmt: skip
        if len(rows) > 2 and len({value for _, value in rows}) > 1:
            values.append(float(spearmanr(*zip(*rows, strict=True)).statistic))
    if len(values) != len(found.covering):
        return None
    mean = stats.mean_interval(values)
    low, high = (None if end is None else min(max(end, -1.0), 1.0) for end in (mean.low, mean.high))
    return Estimate(mean.value, low, high, mean.count)


def findings(records: list[Record]) -> list[Finding]:
    """All claims for which there are records; the others are absent."""
    found = gain(records)
    if found is None:
        return []
    difference = stats.paired_difference(found.accuracy(1), found.accuracy(0))
    conditional = stats.paired_difference(found.conditional(1), found.conditional(0))
    relative = stats.mean_interval(found.relative())
    images = stats.ratio_over_cases(found.right[1] - found.right[0], found.right[0])
    control = accuracy(records, LONGER)
    beside = ""
    if len(control) == len(found.right[1]):
        more = stats.paired_difference(found.accuracy(1), control)
        beside = f"; minus the generalist trained longer {signed(more)} points"
    results = [
        Finding("specialists.baseline_acc", stats.mean_interval(found.accuracy(0)), True),
        Finding("specialists.baseline_conditional", stats.mean_interval(found.conditional(0)), True),
        Finding("specialists.with_acc", stats.mean_interval(found.accuracy(1)), positive(difference),
                f"paired difference {signed(difference)} points{beside}"),
        Finding("specialists.with_conditional", stats.mean_interval(found.conditional(1)), positive(conditional),
                f"paired difference {signed(conditional)} points"),
        Finding("specialists.relative_gain", relative, positive(relative),
                f"interval over seeds; over test images {interval(percent(images), '.2f')}{beside}"),
    ]  # fmt: skip
    for number, (name, cover) in enumerate(zip(COVER, covers(found), strict=True)):
        ours = cover_over_images(found, number)
        if ours is not None and cover.images.min() > 0:
            count = f"{cover.images.mean():.0f} test images a seed"
            note = f"{count}; interval over these, as if those of a class were independent"
            results.append(Finding(f"specialists.cover_{name}", ours, True, note))
    correlation = trend(found)
    if correlation is not None:
        holds = correlation.value > 0.5 and positive(correlation)
        note = f"numbers with fewer than {FEWEST_IMAGES} test images are left out"
        theirs = paper.BY_ID["specialists.cover_trend"].figure
        if (
            correlation.low is not None
            and correlation.high is not None
            and correlation.low <= 0
            and correlation.high >= theirs
        ):
            note += f"; {UNDECIDED}: the interval, cut at -1 and 1, holds none and the paper's alike"
        results.append(Finding("specialists.cover_trend", correlation, holds, note))
    return results + _soft_regulariser(records) + _distilled_back(records)


def studied(records: list[Record]) -> int | None:
    """How many specialists the studies took."""
    roles = (r for r in records if r["arm"].startswith(f"{MAIN}, ") and "kind: " in r["arm"])
    return next((record["metrics"]["count"] for record in roles), None)


def of_count(records: list[Record], count: int | None) -> list[Record]:
    """The main specialists, so many of them, with the generalist."""
    return [r for r in select(records, f"{MAIN}, count") if r["metrics"]["count"] == count]


def baseline(records: list[Record], part: str = "test") -> Gain | None:
    """As many of the main specialists as the studies took: what these are compared with."""
    return gain(of_count(records, studied(records)), f"{MAIN}, count", part)


def _soft_regulariser(records: list[Record]) -> list[Finding]:
    soft = gain(records, f"{MAIN}, kind: full softmax, soft targets")
    hard = gain(records, f"{MAIN}, kind: full softmax, hard targets")
    dustbin = baseline(records)
    if soft is None or hard is None or dustbin is None:
        return []
    ours = stats.paired_difference(soft.accuracy(1), dustbin.accuracy(1))
    without = stats.paired_difference(hard.accuracy(1), dustbin.accuracy(1))
    note = f"full softmax on hard targets alone: {signed(without)}; {studied(records)} specialists each"
    return [Finding("specialists.soft_regulariser", ours, positive(ours), note)]


def accuracy(records: list[Record], arm: str, part: str = "test") -> list[float]:
    """Accuracy in percent of the nets of a role, each seed."""
    return [100 * (1 - r["metrics"][f"{part}_errors"] / r["metrics"][f"{part}_cases"]) for r in select(records, arm)]


def _distilled_back(records: list[Record]) -> list[Finding]:
    back, generalist = (accuracy(records, r) for r in ("distilled from generalist and specialists", "generalist"))
    if not back or len(back) != len(generalist):
        return []
    ours = stats.paired_difference(back, generalist)
    notes = [
        f"minus {arm}: {signed(stats.paired_difference(back, other))}"
        for arm in ("distilled from the generalist", LONGER)
        if len(other := accuracy(records, arm)) == len(back)
    ]
    return [Finding("specialists.distilled_back", ours, positive(ours), "; ".join(notes))]
