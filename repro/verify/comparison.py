"""Comparison of a committed record with that of the same run, retrained: every metric, then the run as a whole."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from repro.evaluation.stats import LEVEL, prediction_interval
from repro.report.records import Record

MEASURED = re.compile(r"time|seconds|memory|bytes")  # of the machine rather than of the network
LONGEST = 8  # a longer list holds examples, speakers or points of a curve
CLOSE = 0.02  # relative difference
LARGEST = 1e300
OPTIONAL = {"agreement"}  # with a teacher, where one is stored beside the run
MACHINE = ("processor", "device", "precision", "threads", "torch")


class Verdict(StrEnum):
    """Verdicts on a metric, from the best to the worst; the last alone is a failure.

    Lists are judged by their sum. Those of equal sum, and packed bits, may differ where the training does.
    A run of a single seed has no known spread: a metric of it is close below a relative difference of ``CLOSE``; above,
    it is not reproduced on the same machine and data, and undecided on others.
    """

    EQUAL = "equal"
    LISTS_DIFFER = "equal but for lists"
    CLOSE = "close"
    WITHIN = "within the spread"
    UNKNOWN = "spread unknown"
    NOT = "not reproduced"


@dataclass(frozen=True)
class Metric:
    """A metric in both records, with the interval that it was judged by, if any, and its distance in half-widths."""

    name: str
    committed: Any
    now: Any
    low: float | None
    high: float | None
    verdict: Verdict
    distance: float

    @property
    def rank(self) -> tuple[int, float]:
        """Sort key: the metric that differs most has the highest."""
        return list(Verdict).index(self.verdict), self.distance


def flat(metrics: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the numbers in metrics with their names, and long lists and text as they are; no times and no sizes."""
    if MEASURED.search(name):
        return
    if isinstance(metrics, dict):
        for key, value in metrics.items():
            yield from flat(value, f"{name}.{key}".lstrip("."))
    elif isinstance(metrics, list) and len(metrics) <= LONGEST:
        for index, value in enumerate(metrics):
            yield from flat(value, f"{name}[{index}]")
    else:
        yield name, metrics


def is_number(value: Any) -> bool:
    """Return whether a value is a single number, which a float can hold."""
    return isinstance(value, int | float) and abs(value) < LARGEST


def compare(committed: Record, now: Record, seeds: list[Record], runs: int) -> list[Metric]:
    """Return the committed metrics, compared; an evaluation may add some where other runs are beside it.

    Args:
        committed: the committed record.
        now: the record of the same run, retrained.
        seeds: the committed records of its other seeds.
        runs: number of runs that are compared. The intervals of all their metrics, two for each, share the 5% of errors
            (Bonferroni).
    """
    again, others = _values(now), [_values(record) for record in seeds]
    same_data = committed.get("data_digest") == now.get("data_digest")
    alike = same_data and all(committed["machine"].get(name) == now["machine"].get(name) for name in MACHINE)
    values = {name: value for name, value in _values(committed).items() if name in again or name not in OPTIONAL}
    level = 1 - (1 - LEVEL) / (2 * runs * len(values))
    metrics = [
        _compare(name, value, again.get(name), [other.get(name) for other in others], level, alike)
        for name, value in values.items()
    ]
    numbers = [metric for metric in metrics if is_number(metric.committed)]
    if alike and numbers and all(metric.verdict is Verdict.EQUAL for metric in numbers):
        # The same training on the same machine: lists that differ were altered.
        metrics = [replace(m, verdict=Verdict.NOT) if m.verdict is Verdict.LISTS_DIFFER else m for m in metrics]
    return metrics


def _values(record: Record) -> dict[str, Any]:
    """Return the metrics and the training curve of a record, by name."""
    return dict(flat(record["metrics"])) | {"curve": record.get("curve", [])}


def _compare(name: str, value: Any, now: Any, others: list[Any], level: float, alike: bool) -> Metric:
    """Compare a number, a list of numbers by its sum, or packed values, which are equal or differ."""
    if is_number(value) and is_number(now):
        return _number(name, value, now, [float(other) for other in others if is_number(other)], level, alike)
    verdict = Verdict.EQUAL if value == now else Verdict.NOT
    if verdict is Verdict.NOT and isinstance(value, str) and isinstance(now, str):
        verdict = Verdict.LISTS_DIFFER
    totals = [_total(item) for item in (value, now, *others)]
    if verdict is Verdict.NOT and isinstance(value, list) and isinstance(now, list) and len(value) == len(now):
        total, total_now, *rest = totals
        if total is None and total_now is None:
            verdict = Verdict.LISTS_DIFFER  # a curve with gaps
        if total is not None and total_now is not None:
            spread = [other for other in rest if other is not None]
            metric = _number(f"{name} (sum)", total, total_now, spread, level, alike)
            return replace(metric, verdict=Verdict.LISTS_DIFFER) if metric.verdict is Verdict.EQUAL else metric
    return Metric(name, "(list)", "(missing)" if now is None else "(list)", None, None, verdict, 0.0)


def _total(values: Any) -> float | None:
    """Return the sum of a list of numbers or of lists of them; None for anything else."""
    if is_number(values):
        return float(values)
    if not isinstance(values, list):
        return None
    parts = [_total(value) for value in values]
    return sum(part for part in parts if part is not None) if None not in parts else None


def _number(name: str, value: Any, now: Any, others: list[float], level: float, alike: bool) -> Metric:
    """Judge a number by the interval of the committed seeds, and the committed one by that of the others and the new.

    The first finds what training does differently today. The second finds a wrong record, which widens the first.
    """
    if value == now:
        return Metric(name, value, now, None, None, Verdict.EQUAL, 0.0)
    spread = prediction_interval([*others, value], level=level)
    without = prediction_interval([*others, now], level=level)
    if len({*others, value}) < 2 or len({*others, now}) < 2:
        distance = abs(now - value) / max(abs(value), 1e-12) / CLOSE
        far = Verdict.NOT if alike else Verdict.UNKNOWN
        return Metric(name, value, now, None, None, Verdict.CLOSE if distance < 1 else far, distance)
    assert spread and without, "there are two values or more"
    distance = max(_distance(now, *spread), _distance(value, *without))
    return Metric(name, value, now, *spread, Verdict.WITHIN if distance <= 1 else Verdict.NOT, distance)


def _distance(value: float, low: float, high: float) -> float:
    """Return how far a value lies from the middle of an interval, in halves of its width."""
    return abs(value - (low + high) / 2) / ((high - low) / 2)
