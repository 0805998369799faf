"""Terminal output of the experiments: the headline table, and at the end the verdicts and the paths of the results."""

import re
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from repro.engine.progress import PlainConsole
from repro.names import text_of
from repro.report import records
from repro.report.format import NONE, measured

# What a narrow terminal does not break: an interval alone in its cell, and words of up to 11 characters.
UNBROKEN = re.compile(r"^\[.*\]$|\S{1,11}")


def table(title: str, content: pd.DataFrame) -> Table:
    """Return a table for the terminal; all text in it is literal."""
    shown = Table(title=Text(title, "table.title"), box=box.SIMPLE, padding=(0, 1, 0, 0), title_justify="left")
    text = content.astype(str)
    for column in text.columns:
        parts = [part for cell in (str(column), *text[column]) for part in UNBROKEN.findall(cell)]
        shown.add_column(Text(str(column)), overflow="fold", min_width=max(map(len, parts)))
    for row in text.itertuples(index=False):
        shown.add_row(*map(Text, row))
    return shown


def show(content: RenderableType) -> None:
    """Print to standard output without wrapping lines, so that paths stay in one piece; text is literal."""
    PlainConsole().print(content, soft_wrap=True)


def closing(folder: Path, experiment: str, dataset: str) -> Group:
    """Return the verdicts of an experiment on a data set and the paths of its results, printed as its command ends."""
    claims = pd.read_csv(folder / "results" / "claims.csv", keep_default_na=False, dtype=str)
    claims = claims[(claims["dataset"] == dataset) & claims["claim"].str.startswith(f"{experiment}.")]
    short = claims[["claim", "paper"]].copy()
    short["ours"] = [
        " ".join(part for part in measured(row.ours, (row.ci_low, row.ci_high)) if part != NONE)
        for row in claims.itertuples(index=False)
    ]
    short["verdict"] = claims["verdict"]
    paths = {
        "tables": records.path(folder, experiment, dataset).parent,
        "claims": folder / "results" / "claims.csv",
        "figures": folder / "figures" / experiment / records.folder_name(experiment, dataset),
        "full report": folder / "REPRODUCE.md",
    }
    verdicts = [table("Claims", short)] if len(short) else []
    return Group(*verdicts, *(f"{label}: {text_of(path)}" for label, path in paths.items() if path.exists()))
