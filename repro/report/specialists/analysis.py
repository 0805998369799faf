"""Gains of specialists over the generalist, and costs of systems, computed from the records."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from repro.evaluation import bootstrap, metrics, stats
from repro.evaluation.stats import Estimate
from repro.report.query import select
from repro.report.records import Record
from repro.specialists.runs import OF_ALL_SEEDS, OF_THE_SEARCH, Arm

NUMBER = "number of specialists"


@dataclass(frozen=True)
class Gain:
    """Predictions before (generalist alone) and after (with specialists): arrays of shape (seed, image).

    ``right`` holds 0 or 1. ``within`` holds the number of covering specialists in whose classes the image is right,
    out of ``covering``. ``labels`` has shape (image,).
    """

    right: tuple[np.ndarray, np.ndarray]
    within: tuple[np.ndarray, np.ndarray]
    covering: np.ndarray
    labels: np.ndarray

    def accuracy(self, after: int) -> list[float]:
        """Return the accuracy in percent of each seed; ``after`` is 0 or 1."""
        return (100 * self.right[after].mean(1)).tolist()

    def conditional(self, after: int) -> list[float]:
        """Return the accuracy within the special classes in percent, of each seed; ``after`` is 0 or 1."""
        return (100 * self.within[after].sum(1) / np.maximum(self.covering.sum(1), 1)).tolist()

    def relative(self) -> list[float]:
        """Return the relative gain in accuracy in percent, of each seed."""
        return percent_gain(*self.right)

    def difference(self) -> Estimate:
        """Return the gain in accuracy in percentage points, paired over seeds."""
        return stats.paired_difference(self.accuracy(1), self.accuracy(0))

    def conditional_difference(self) -> Estimate:
        """Return the gain in accuracy within the special classes in percentage points, paired over seeds."""
        return stats.paired_difference(self.conditional(1), self.conditional(0))

    def over_classes(self, statistic: Callable[..., np.ndarray], *values: np.ndarray) -> Estimate:
        """Return a statistic of sums over seeds and images, with a bootstrap interval over the classes of the images.

        Args:
            statistic: sums of the values, each of shape (...) -> values of shape (...).
            values: a value for each seed and image.
        """
        totals = np.array([np.bincount(self.labels, value.sum(0)) for value in values])
        concerned = totals[:, totals.any(0)]  # other classes add nothing to any sum
        return replace(bootstrap.over_clusters(statistic, concerned), count=len(self.covering))

    def over_seeds_and_classes(self, statistic: Callable[..., np.ndarray], *values: np.ndarray) -> Estimate:
        """Return a statistic of sums over seeds and images, with a bootstrap interval over seeds and classes.

        The arguments are those of ``over_classes``.
        """
        totals = np.array([[np.bincount(self.labels, of_seed) for of_seed in value] for value in values])
        return bootstrap.over_seeds_and_clusters(statistic, totals[:, :, totals.any((0, 1))])


def percent_gain(before: np.ndarray, after: np.ndarray) -> list[float]:
    """Return the relative gain in percent of counts (seed, image), of each seed; counts of 0 are taken as 1."""
    counts = before.sum(1)
    return (100 * (after.sum(1) - counts) / np.maximum(counts, 1)).tolist()


def gain(records: list[Record], arm: str = Arm.COMBINED, split: str = "test", **wanted: Any) -> Gain | None:
    """Return the gain of an arm with these parameters; None where there are no records."""
    selected = select(records, arm, **wanted)
    return gain_of(selected, split, _labels(records, split)) if selected else None


def _labels(records: list[Record], split: str) -> np.ndarray | None:
    """Return the labels of the images, which one record holds; None where records of an earlier version lack them."""
    return next((metrics.unpack_counts(record["labels"][split]) for record in records if "labels" in record), None)


def gain_of(records: list[Record], split: str = "test", labels: np.ndarray | None = None) -> Gain:
    """Return the gain of records that differ only in their seeds.

    Args:
        labels: labels of the images. Default: all are of one class, so that there is no interval over classes.
    """
    values = [record["metrics"] for record in records]
    cases = values[0][f"{split}_cases"]
    labels = np.zeros(cases, int) if labels is None else labels

    def right(when: str) -> np.ndarray:
        return np.array([~metrics.unpack(m[f"{split}_wrong{when}"], cases) for m in values]).astype(int)

    def counts(name: str) -> np.ndarray:
        return np.array([metrics.unpack_counts(m[f"{split}_{name}"]) for m in values])

    within = counts("conditional_before"), counts("conditional")
    return Gain((right("_before"), right("")), within, counts("covering"), labels)


def accuracy(records: list[Record], arm: str, split: str = "test", **wanted: Any) -> list[float]:
    """Return the accuracy in percent of an arm with these parameters, of each seed."""
    return accuracy_of(select(records, arm, **wanted), split)


def accuracy_of(records: list[Record], split: str = "test") -> list[float]:
    """Return the accuracy in percent of each record."""
    return [100 * (1 - r["metrics"][f"{split}_errors"] / r["metrics"][f"{split}_cases"]) for r in records]


def paired(first: list[float], second: list[float]) -> Estimate:
    """Return the mean of ``first`` minus ``second`` over the seeds that both have, the first ones."""
    count = min(len(first), len(second))
    return stats.paired_difference(first[:count], second[:count])


def epochs(record: Record) -> float:
    """Return the epochs of a record's recipe."""
    return record["settings"]["recipe"]["epochs"]


def by_epochs(records: list[Record], arm: str) -> dict[float, list[Record]]:
    """Return the records of an arm by the epochs of their recipes, the fewest first."""
    selected = select(records, arm)
    return {
        count: [record for record in selected if epochs(record) == count]
        for count in sorted(set(map(epochs, selected)))
    }


def of_kind(records: list[Record], arm: str, kind: str, fraction: float = 1.0) -> list[Record]:
    """Return the records of an arm with specialists of a kind, trained on a fraction of the training images."""
    return [record for record in select(records, arm, kind=kind) if record["params"].get("fraction", 1.0) == fraction]


def num_ablated(records: list[Record]) -> int | None:
    """Return the number of specialists in the ablations of kind, clustering, subset size and width."""
    return next((record["metrics"]["count"] for record in records if record["arm"] == Arm.KIND), None)


def num_specialists(records: list[Record]) -> int | None:
    """Return the number of the main specialists."""
    return next((record["metrics"]["count"] for record in records if record["arm"] == Arm.COMBINED), None)


def of_ablation_seeds(records: list[Record]) -> list[Record]:
    """Return the records of the ablations' seeds, which may be fewer than those of Tables 3 and 4."""
    seeds = {record["seed"] for record in records if record["arm"] not in {*OF_ALL_SEEDS, *OF_THE_SEARCH}}
    return [record for record in records if record["seed"] in seeds]


def baseline(records: list[Record]) -> Gain | None:
    """Return the gain of as many of the main specialists as the ablations have, on their seeds: their reference."""
    return gain(of_ablation_seeds(records), Arm.COUNT, count=num_ablated(records))


def accuracy_within(records: list[Record], split: str, before: bool = False) -> list[float]:
    """Return the accuracy in percent within the special classes, of each seed, pooled over specialists.

    Args:
        records: of single specialists.
        before: of the generalist instead of the specialists.
    """
    by_seed: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        by_seed.setdefault(record["seed"], []).append(record["metrics"])
    suffix = "_before" if before else ""
    return [
        100 * sum(m[f"{split}_special_right{suffix}"] for m in values)
        / max(1, sum(m[f"{split}_special_cases"] for m in values))
        for values in by_seed.values()
    ]  # fmt: skip


@dataclass(frozen=True)
class Ablation:
    """Gains at the values of one varied setting."""

    label: str
    gains: dict[Any, Gain]
    categorical: bool = False


def ablations(records: list[Record]) -> list[Ablation]:
    """Return the ablations with more than one value: number and size of subsets, width, and clustering."""
    count, reference = num_ablated(records), baseline(records)
    suffix = "" if count is None else f" ({count} specialists)"
    generalists, specialists = select(records, Arm.GENERALIST), select(records, Arm.SPECIALIST)
    main_size = len(specialists[0]["settings"]["subset"]) if specialists else 0
    main_width = generalists[0]["settings"]["width"] if generalists else 0
    main_clustering = specialists[0]["settings"]["clustering"] if specialists else ""

    def gains(arm: Arm, name: str, main: dict[Any, Gain | None]) -> dict[Any, Gain]:
        values = dict.fromkeys(record["params"][name] for record in records if record["arm"] == arm)
        changes = main | {value: gain(records, arm, **{name: value}) for value in values}
        return {value: change for value, change in changes.items() if change is not None}

    every = select(records, Arm.COMBINED)[:1]
    counts = gains(Arm.COUNT, "count", {record["metrics"]["count"]: gain(records) for record in every})
    sizes = gains(Arm.SUBSET_SIZE, "subset_size", {main_size: reference})
    widths = gains(Arm.WIDTH, "width", {main_width: reference})
    clusterings = gains(Arm.CLUSTERING, "clustering", {main_clustering: reference})
    panels = [
        Ablation(NUMBER, counts),
        Ablation(f"classes per specialist{suffix}", sizes),
        Ablation(f"generalist width{suffix}", widths),
        Ablation(f"clustering{suffix}", clusterings, categorical=True),
    ]
    return [panel for panel in panels if len(panel.gains) > 1]
