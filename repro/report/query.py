"""Queries on records, and numbers as text."""

from typing import Any

from repro.config import COMMITTED
from repro.evaluation.stats import Estimate
from repro.report.records import Record

# What a remark says of a verdict that the interval does not bear: it holds no effect and the paper's alike.
UNDECIDED = "undecided"


def select(records: list[Record], arm: str, **wanted: Any) -> list[Record]:
    """The records of an arm with these settings or parameters, by seed."""
    chosen = [
        record
        for record in records
        if record["arm"] == arm
        and all((record["settings"] | record["params"])[name] == value for name, value in wanted.items())
    ]
    return sorted(chosen, key=lambda record: record["seed"])


def described(record: Record) -> bool:
    """Whether a record is of a profile whose nets and data are what the claims' words and the remarks say."""
    return record["profile"] in COMMITTED.get(record["experiment"], ()) and not record["overrides"]


def of_others(found: list[Record]) -> dict[str, str]:
    """A remark for records of other profiles, to stand above those that were written for the committed ones."""
    if all(described(record) for record in found):
        return {}
    names = ", ".join(COMMITTED.get(found[0]["experiment"], ()))
    return {"Another profile": f"What follows describes the profiles {names}."}


def interval(estimate: Estimate, form: str = ".1f") -> str:
    """``[low, high]``, or a dash where there is none."""
    return "–" if estimate.low is None else f"[{estimate.low:{form}}, {estimate.high:{form}}]"


def signed(estimate: Estimate) -> str:
    """A difference with its sign and its interval."""
    return f"{estimate.value:+.2f} {interval(estimate, '.2f')}"


def percent(share: Estimate) -> Estimate:
    """A share in percent."""
    return share.each(lambda value: 100 * value)


def clear(difference: Estimate) -> bool | None:
    """Whether the whole interval is above zero; None where there is none, as of a single test speaker."""
    return None if difference.low is None else positive(difference)


def positive(estimate: Estimate) -> bool:
    """The whole interval above zero; false where there is none."""
    return estimate.low is not None and estimate.low > 0
