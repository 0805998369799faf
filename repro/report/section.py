"""A section of the report: its findings, tables and figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from repro.evaluation.stats import Estimate
from repro.report.records import Record, folder_name


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
    dataset: str
    title: str
    records: list[Record]
    tables: dict[str, tuple[str, pd.DataFrame]]
    figures: Mapping[str, tuple[str, Callable[[], Figure]]]
    findings: list[Finding]
    remarks: dict[str, str]

    @property
    def place(self) -> str:
        """Folder of its files below ``results`` and ``figures``."""
        return f"{self.experiment}/{folder_name(self.experiment, self.dataset)}"
