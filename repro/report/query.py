"""Queries on records and on estimates."""

from collections.abc import Callable
from typing import Any

from repro import paper
from repro.config import COMMITTED
from repro.evaluation.stats import Estimate
from repro.paper import Direction
from repro.report.format import interval, percent, signed
from repro.report.records import Record

__all__ = ["described", "direction", "has", "interval", "of_others", "percent", "positive", "select", "signed"]


def select(records: list[Record], arm: str, **wanted: Any) -> list[Record]:
    """Return the records of an arm with these settings or parameters, by seed."""
    chosen = [
        record
        for record in records
        if record["arm"] == arm
        and all((record["settings"] | record["params"])[name] == value for name, value in wanted.items())
    ]
    return sorted(chosen, key=lambda record: record["seed"])


def has(*arms: str) -> Callable[[list[Record]], bool]:
    """Return a predicate of records: whether some are of one of these arms."""
    return lambda records: any(record["arm"] in arms for record in records)


def described(record: Record) -> bool:
    """Return whether a record is of a committed profile without overrides, as the notes describe."""
    return record["profile"] in COMMITTED.get(record["experiment"], ()) and not record["overrides"]


def of_others(records: list[Record]) -> dict[str, str]:
    """Return a remark for records of other profiles, to stand above notes that describe the committed ones."""
    if all(described(record) for record in records):
        return {}
    names = ", ".join(COMMITTED.get(records[0]["experiment"], ()))
    return {"Another profile": f"What follows describes the profiles {names}."}


def direction(effect: Estimate, paper_effect: float | str) -> Direction | None:
    """Return whether an effect is there, positive as the paper's; None where there is no interval.

    Args:
        effect: ours.
        paper_effect: the paper's, or the id of the claim that has it.
    """
    size = paper.BY_ID[paper_effect].effect if isinstance(paper_effect, str) else paper_effect
    return paper.direction_of(effect.low, effect.high, size)


def positive(estimate: Estimate) -> bool:
    """Return whether the whole interval is above zero; false where there is no interval."""
    return estimate.low is not None and estimate.low > 0
