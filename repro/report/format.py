"""Numbers, machines and tables as text: the one place where the report formats a value."""

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from repro.evaluation.stats import Estimate

NONE = "–"
# Data sets and settings whose name does not say what they are.
LABELS = {
    "synth": "synth (synthetic speech)",
    "cifar100-2percent": "cifar100, subsets of 2%",
    "icons-2percent": "icons, subsets of 2%",
    "icons-long": "icons, 20 epochs",
}

# Characters with a meaning in Markdown; an underscore has one only at the edge of a word.
MARKUP = re.compile(r"[\\`*\[\]<>&|~$]|(?<![^\W_])_|_(?![^\W_])")


class Literal(str):
    """Text that users chose, such as names of classes and files: no character of it is markup."""


def dataset_label(dataset: str) -> str:
    """Return the name of a data set in tables and figures."""
    return LABELS.get(dataset, dataset)


def with_unit(quantity: str, unit: str) -> str:
    """A quantity with its unit, unless its words name it."""
    return quantity if unit in quantity else f"{quantity}, {unit}"


def interval(estimate: Estimate, form: str = ".1f") -> str:
    """Return ``[low, high]``, or a dash where there is no interval."""
    return NONE if estimate.low is None else f"[{estimate.low:{form}}, {estimate.high:{form}}]"


def in_epochs(count: float) -> str:
    """Return a number of epochs with its noun."""
    return f"{count:g} epoch" if count == 1 else f"{count:g} epochs"


def signed(estimate: Estimate) -> str:
    """Return a difference with its sign and its 95% interval."""
    return f"{estimate.value:+.2f} {interval(estimate, '.2f')}"


def percent(fraction: Estimate) -> Estimate:
    """Return a fraction as a percentage."""
    return fraction.each(lambda value: 100 * value)


def measured(value: Any, *intervals: tuple[Any, Any]) -> list[str]:
    """Return a value and its intervals of a row of claims.csv, all with the same number of decimals.

    They show two significant digits of the first interval's width, and at least one decimal; without that interval, all
    numbers have four significant digits. What is empty becomes a dash.
    """
    low, high = intervals[0]
    width = 0.0 if low in ("", None) else float(high) - float(low)
    decimals = max(1, 1 - math.floor(math.log10(width))) if 0 < width < math.inf else None

    def text(number: Any) -> str:
        # Zero is added because "-0.0" is no number that anyone reads.
        return f"{float(number):.4g}" if decimals is None else f"{round(float(number), decimals) + 0.0:.{decimals}f}"

    ends = (NONE if low in ("", None) else f"[{text(low)}, {text(high)}]" for low, high in intervals)
    return [NONE if value in ("", None) else text(value), *ends]


def machine(description: Mapping[str, Any]) -> str:
    """Return the machine of a record or of the speed ratios, in words."""
    cores, threads = description["cores"], description["threads"]
    used = f"{cores} cores" if cores > 1 else "1 core"
    if threads < cores:
        used += f", {threads} thread{'s' if threads > 1 else ''}"
    return f"{description['processor']}, {used}, {description['precision']} ({description['bf16_units']})"


def markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown without padding, with bars and tags escaped."""
    rows = [[cell(name) for name in table.columns], ["---"] * len(table.columns)]
    rows += [[cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(value: Any) -> str:
    """Return a value as the text of a Markdown cell, on one line."""
    text = " ".join(str(value).split())
    if isinstance(value, Literal):
        return MARKUP.sub(lambda match: f"&#{ord(match[0])};", text)
    return text.replace("|", "\\|").replace("<", "&lt;")


def code(text: str) -> str:
    """Return text as a Markdown code span, between more backticks than it has in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def count_range(counts: set[int]) -> str:
    """Return numbers of seeds as text: ``3 to 10``, or ``3`` where all are equal."""
    return f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(max(counts))
