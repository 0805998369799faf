"""The section of the report on speech, for each corpus."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.table import Table

from repro.config_search import RESULTS_SUFFIX
from repro.report import records, terminal
from repro.report.plotting import marked
from repro.report.query import has, of_others
from repro.report.records import Record
from repro.report.searches import search_headline, search_section
from repro.report.section import Figure, Section, drawable, left_out, note
from repro.report.speech import analysis, figures, queries, tables
from repro.speech.runs import Arm

FIGURES = (
    Figure("ensemble_size", "Gain over a single model of ensembles and of their students, by size of the ensemble.",
           figures.ensemble_size, has(Arm.DISTILLED)),
    Figure("temperature", "Frame accuracy and word error rate of the students by temperature.", figures.temperature,
           has(Arm.DISTILLED)),
    Figure("data_fraction_curves", "Train and test accuracy during training on a data fraction, by hard and by soft targets.",
           figures.data_fraction_curves, has(Arm.DATA_FRACTION)),
    Figure("data_fraction", "Test accuracy by fraction of the data.", figures.data_fraction, has(Arm.DATA_FRACTION)),
)  # fmt: skip
UTTERANCE = (
    "An utterance: filterbanks, words, phones, and the tied states of the alignment that are the targets, "
    "right or wrong."
)
HIDDEN_IN_TERMINAL = ["range over models", "WER delta vs single (pp)", "models", "models decoded"]


def headline(runs: list[Record]) -> Table | str:
    """Return Table 1 for the terminal; before it exists, the table of the search."""
    title, make = tables.TABLES["table1"]
    table = make(runs)
    if table.empty or not queries.ensemble(runs):
        return search_headline(runs, tables.TABLES["search"])
    return terminal.table(title, table.drop(columns=HIDDEN_IN_TERMINAL))


def sections(folder: Path) -> list[Section]:
    """Return one section for each corpus with records."""
    parts = (_section(folder, name) for name in records.datasets(folder, "speech"))
    return [part for part in parts if part is not None]


def _section(folder: Path, dataset: str) -> Section | None:
    runs = records.load(folder, "speech", dataset)
    if not runs:
        return None
    if searched := search_section("speech", dataset, runs, tables.TABLES["search"]):
        return _marked_synthetic(searched) if dataset == f"synth{RESULTS_SUFFIX}" else searched
    made = {name: (title, make(runs)) for name, (title, make) in tables.TABLES.items()}
    plots = drawable(FIGURES, runs)
    shown = records.load_shown(folder, "speech", dataset)
    if shown is not None:
        made["left_out"] = left_out("Utterances", "utterances", shown)
        plots["utterance"] = (UTTERANCE, partial(figures.utterance, shown))
    findings = analysis.findings(runs)
    section = Section("speech", dataset, f"Speech: {dataset}", runs, made, plots, findings, of_others(runs))
    return _marked_synthetic(section) if shown is not None and shown["synthetic"] else section


def _marked_synthetic(section: Section) -> Section:
    """Return a section whose title, tables and figures say that the speech is synthetic."""
    titled = {name: (f"{text} (synthetic speech)", table) for name, (text, table) in section.tables.items()}
    plots = {
        name: (f"{caption} Synthetic speech.", partial(marked, draw, "synthetic speech"))
        for name, (caption, draw) in section.figures.items()
    }
    return replace(
        section, title=f"{section.title} (synthetic speech)", tables=titled, figures=plots,
        remarks={"Synthetic speech": note("speech", "synthetic")} | dict(section.remarks),
    )  # fmt: skip
