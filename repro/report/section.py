"""One experiment at one setting, as it is reported: tables, figures, findings, and what is to be said beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from repro.config import COMMITTED
from repro.core.stats import Estimate
from repro.report.records import Record


@dataclass(frozen=True)
class Finding:
    """Ours for one claim: the estimate, whether the claim's direction holds (None: it cannot be told), and a remark."""

    claim: str
    ours: Estimate
    direction_holds: bool | None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """What the records of one experiment at one setting come to.

    ``tables`` are (title, table) by file name, ``figures`` (caption, how to draw it) by file name;
    ``remarks`` are headings and Markdown that stand below. A section that brings others together has no records of its
    own.
    """

    experiment: str
    setting: str
    title: str
    records: list[Record]
    tables: dict[str, tuple[str, pd.DataFrame]]
    figures: Mapping[str, tuple[str, Callable[[], Figure]]]
    findings: list[Finding]
    remarks: dict[str, str]


# What a remark says of a verdict that the interval does not bear: it holds no effect and the paper's alike.
UNDECIDED = "undecided"


def select(records: list[Record], role: str, **settings: Any) -> list[Record]:
    """The records of a role with these settings, by seed."""
    found = [
        record
        for record in records
        if record["role"] == role and all(record["settings"][name] == value for name, value in settings.items())
    ]
    return sorted(found, key=lambda record: record["seed"])


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
