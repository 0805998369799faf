"""The section of the report on MNIST."""

from functools import partial
from pathlib import Path

from rich.table import Table

from repro.mnist.runs import Arm
from repro.report import records, terminal
from repro.report.mnist import analysis, figures, recipes, tables, transfer
from repro.report.query import has, of_others
from repro.report.records import Record
from repro.report.section import Figure, Section, drawable

FIGURES = (
    Figure("temperature_by_width", "Test errors by temperature, for each width.", figures.temperature_by_width,
           has(Arm.TEMPERATURE_SWEEP)),
    Figure("bias_shift", "Test errors by bias shift of classes missing from the transfer set.", figures.bias_shift,
           has(Arm.WITHOUT_3, Arm.ONLY_7_8)),
    Figure("data_fraction", "Soft and hard targets on less data.", figures.data_fraction, has(Arm.DATA_FRACTION)),
    Figure("by_teacher", "Errors of students by those of their teachers: trained for different numbers of epochs, or the mean of several.",
           transfer.by_teacher, has(Arm.OF_OTHER_TEACHER)),
    Figure("training_curves", "Training curves of the headline networks.", figures.training_curves,
           has(Arm.TEACHER, Arm.BASELINE, Arm.DISTILLED)),
)  # fmt: skip
SOFT_TARGETS = "Soft targets of the test digits that the teacher classifies correctly by the smallest margin."


def headline(runs: list[Record]) -> Table | str:
    """Return the headline for the terminal: the columns that fit there."""
    if not runs:
        return "no completed runs yet"
    title, make = tables.TABLES["headline"]
    table = make(runs)
    if table.empty:
        return "no completed runs of the headline yet"
    return terminal.table(title, table[["model", "paper", "ours", "95% CI", "each seed"]])


def sections(folder: Path) -> list[Section]:
    """Return the sections on section 3 and on the recipe search, where there are records."""
    parts = []
    for dataset in records.datasets(folder, "mnist"):
        runs = records.load(folder, "mnist", dataset)
        if dataset == "choice":
            title, make = recipes.TABLE
            parts.append(Section("mnist", "choice", "MNIST: recipe search", runs, {"recipes": (title, make(runs))},
                                 {}, [], {}))  # fmt: skip
        elif runs:
            parts.append(_section(folder, dataset, runs))
    return sorted(parts, key=lambda part: (part.dataset != "mnist", part.dataset == "choice"))


def _section(folder: Path, dataset: str, runs: list[Record]) -> Section:
    made = {name: (title, make(runs)) for name, (title, make) in tables.TABLES.items()}
    plots = drawable(FIGURES, runs)
    digits = records.load_shown(folder, "mnist", dataset)
    if digits is not None:
        plots = {"soft_targets": (SOFT_TARGETS, partial(figures.soft_targets, digits))} | plots
    title = "MNIST" if dataset == "mnist" else f"MNIST: {dataset}"
    return Section("mnist", dataset, title, runs, made, plots, analysis.findings(runs), of_others(runs))
