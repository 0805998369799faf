"""Numbers, machines and tables as text: the one place where the report formats a value."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from repro.evaluation.stats import Estimate

NONE = "–"
# Data sets whose name does not say what they are.
LABELS = {"synth": "synth (synthetic speech)"}


def dataset_label(dataset: str) -> str:
    """A data set as tables and figures name it."""
    return LABELS.get(dataset, dataset)


def number(value: Any, digits: int = 4) -> str:
    """A number with ``digits`` significant digits; a dash for an empty value."""
    return NONE if value in ("", None) else f"{float(value):.{digits}g}"


def interval(estimate: Estimate, form: str = ".1f") -> str:
    """``[low, high]``, or a dash where there is no interval."""
    return NONE if estimate.low is None else f"[{estimate.low:{form}}, {estimate.high:{form}}]"


def signed(estimate: Estimate) -> str:
    """A difference with its sign and its 95% interval."""
    return f"{estimate.value:+.2f} {interval(estimate, '.2f')}"


def percent(fraction: Estimate) -> Estimate:
    """A fraction in percent."""
    return fraction.each(lambda value: 100 * value)


def bounds(low: Any, high: Any, digits: int = 3) -> str:
    """``[low, high]`` of a row of claims.csv; a dash where it has none."""
    return NONE if low in ("", None) else f"[{number(low, digits)}, {number(high, digits)}]"


def machine(description: Mapping[str, Any]) -> str:
    """The machine of a record or of the speed ratios, in words."""
    cores, threads = description["cores"], description["threads"]
    used = f"{cores} cores" if cores > 1 else "1 core"
    if threads < cores:
        used += f", {threads} thread{'s' if threads > 1 else ''}"
    return f"{description['processor']}, {used}, {description['precision']} ({description['bf16_units']})"


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown without padding; what would end a cell or begin a tag is escaped."""
    rows = [[cell(name) for name in table.columns], ["---"] * len(table.columns)]
    rows += [[cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(value: Any) -> str:
    """A value as the text of a Markdown cell, on one line."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
