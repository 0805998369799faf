"""The sections of the report on the variants: one for each testbed, and one that compares all testbeds."""

from pathlib import Path

from rich.table import Table

from repro.report import records as storage
from repro.report import terminal
from repro.report.format import dataset_label
from repro.report.query import of_others, select
from repro.report.records import Record
from repro.report.section import Figure, Section, drawable, left_out
from repro.report.variants import analysis, figures, tables
from repro.variants.runs import Arm

# Columns for which a terminal is too narrow.
NOT_IN_TERMINAL = ("delta vs no KD", "teacher agreement", "step time / KD", "memory / KD")


def has_students(records: list[Record]) -> bool:
    """Return whether there are students of KD, which all rows are compared with."""
    return bool(analysis.kd_baseline(records))


def has_timings(records: list[Record]) -> bool:
    """Return whether there are students and timings."""
    return has_students(records) and bool(select(records, Arm.TIMING))


def has_temperatures(records: list[Record]) -> bool:
    """Return whether students of some size were distilled at several temperatures."""
    sweep = select(records, Arm.TEMPERATURE_SWEEP, varied="student size")
    return len({record["settings"]["options"]["temperature"] for record in sweep}) > 1


FIGURES = (
    Figure("methods", "Delta vs KD of each method, with 95% CI.", figures.methods, has_students),
    Figure("cost", "Delta vs KD against time and memory of training.", figures.cost, has_timings),
    Figure("fidelity", "Test accuracy against teacher agreement.", figures.fidelity, has_students),
    Figure("gap", "Capacity gap: students of each size minus the same students without a teacher.", figures.gap,
           lambda records: len(analysis.gap_rows(records)) > 2),  # one is without a teacher
    Figure("temperature", "Temperature by student size and, where it was varied, by hard-label weight.",
           figures.temperature, has_temperatures),
    Figure("view", "View of the teacher.", figures.view,
           lambda records: bool(select(records, Arm.TEACHER_VIEW, distilled_from="teacher"))),
)  # fmt: skip


def headline(records: list[Record]) -> Table | str:
    """Return the table of methods for the terminal."""
    if not has_students(records):
        return "no completed runs yet"
    title, make = tables.TABLES["summary"]
    return terminal.table(title, make(records).drop(columns=[*NOT_IN_TERMINAL]))


def sections(folder: Path) -> list[Section]:
    """Return the section on all testbeds and one for each testbed that has records."""
    order = ("mnist", "icons", "icons-long")
    names = sorted(storage.datasets(folder, "variants"), key=lambda name: (*order, name).index(name))
    parts = [part for name in names if (part := _section(folder, name)) is not None]
    testbeds = {part.dataset: part.records for part in parts if has_students(part.records)}
    if not testbeds:
        return parts
    compared = {
        "testbeds": (
            "Methods on every testbed: test accuracy in percent (delta vs KD); † significantly different from KD",
            tables.testbeds(testbeds),
        ),
        "sources": ("Results that the literature reports, on other models and data", tables.sources()),
    }
    remarks = of_others([record for part in parts for record in part.records])
    return [Section("variants", "all", "Variants: all testbeds", [], compared, {}, [], remarks), *parts]


def _section(folder: Path, dataset: str) -> Section | None:
    records = storage.load(folder, "variants", dataset)
    if not records:
        return None
    made = {name: (title, make(records)) for name, (title, make) in tables.TABLES.items()}
    made["left_out"] = left_out("Images", "files", storage.load_shown(folder, "variants", dataset) or {})
    plots = drawable(FIGURES, records)
    return Section("variants", dataset, f"Variants: {dataset_label(dataset)}", records, made, plots, [], {})
