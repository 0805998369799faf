"""One experiment on one data set, as the report shows it: findings, tables, figures and notes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Drawing

from repro.evaluation.stats import Estimate
from repro.names import text_of
from repro.paper import Direction
from repro.report.format import Literal
from repro.report.records import Record, folder_name


@dataclass(frozen=True)
class Finding:
    """Our estimate for one claim.

    Attributes:
        claim: its id.
        ours: estimate with the 95% CI of its mean.
        direction: whether the effect is there; None where the records cannot tell or nothing is judged.
        note: remark.
        run: 95% prediction interval for one more run, of claims whose figure is one run of the paper.
        effect: the difference that is judged where ``ours`` is a level, such as the gain of an ensemble's accuracy over
            that of single networks.
    """

    claim: str
    ours: Estimate
    direction: Direction | None = None
    note: str = ""
    run: tuple[float, float] | None = None
    effect: Estimate | None = None


@dataclass(frozen=True)
class Figure:
    """A figure of the report: file name, caption, the function that draws it and the records it needs."""

    name: str
    caption: str
    draw: Callable[..., Drawing]
    needs: Callable[[list[Record]], bool] = bool


def drawable(figures: Iterable[Figure], records: list[Record]) -> dict[str, tuple[str, Callable[[], Drawing]]]:
    """Return caption and drawing function, by file name, of the figures that have records."""
    return {figure.name: (figure.caption, partial(figure.draw, records)) for figure in figures if figure.needs(records)}


def note(experiment: str, name: str, **values: Any) -> str:
    """Return the text of ``report/<experiment>/notes/<name>.md``, with ``{values}`` filled in where there are any."""
    text = (Path(__file__).parent / experiment / "notes" / f"{name}.md").read_text(encoding="utf-8").strip()
    return text.format(**values) if values else text


def left_out(data: str, noun: str, shown: Mapping[str, Any]) -> tuple[str, pd.DataFrame]:
    """Return title and table of what could not be used and of what was changed, by reason.

    No cell begins with a name: spreadsheets run one that begins with ``=``, ``+``, ``-`` or ``@`` as a formula.

    Args:
        data: plural of what is in the data, for the title.
        noun: plural of what is counted.
        shown: stored examples with ``left_out`` and ``remarked``: names by reason.
    """
    rows = [
        {"what": outcome, noun: len(names), "reason": reason,
         "examples": Literal(f"for example: {', '.join(map(text_of, names[:3]))}")}
        for kind, outcome in (("left_out", "left out"), ("remarked", "changed"))
        for reason, names in shown.get(kind, {}).items()
    ]  # fmt: skip
    return f"{data} left out or changed, by reason", pd.DataFrame(rows, dtype=object)


@dataclass(frozen=True)
class Section:
    """Results of one experiment on one data set.

    ``tables`` are (title, table) by file name; one without a title is only written as CSV. ``figures`` are (caption,
    drawing function) by file name. ``remarks`` are headings and Markdown that concern this data set alone. Notes that
    concern the whole experiment are files in ``report/<experiment>/notes``. A section that compares others has no
    records of its own.
    """

    experiment: str
    dataset: str
    title: str
    records: list[Record]
    tables: dict[str, tuple[str, pd.DataFrame]]
    figures: Mapping[str, tuple[str, Callable[[], Drawing]]]
    findings: list[Finding]
    remarks: dict[str, str]

    @property
    def place(self) -> str:
        """Folder of its files below ``results`` and ``figures``."""
        return f"{self.experiment}/{folder_name(self.experiment, self.dataset)}"
