"""The sections of the report on specialists, one for each data set."""

from functools import partial
from pathlib import Path

from rich.table import Table

from repro.report import records, terminal
from repro.report.format import dataset_label
from repro.report.query import of_others, select
from repro.report.records import Record
from repro.report.searches import search_headline, search_section
from repro.report.section import Figure, Section, drawable, left_out
from repro.report.specialists import analysis, figures, overfitting, tables
from repro.report.specialists.findings import findings
from repro.specialists.runs import Arm


def has_specialists(runs: list[Record]) -> bool:
    """Return whether some records are of a generalist with specialists."""
    return any(record["arm"] == Arm.COMBINED for record in runs)


def has_ablations(runs: list[Record]) -> bool:
    """Return whether some setting has more than one value."""
    return has_specialists(runs) and bool(analysis.ablations(runs))


FIGURES = (
    Figure("cover", "Relative gain by number of covering specialists, beside the paper's Table 4.", figures.cover,
           has_specialists),
    Figure("by_specialist", "Gain of each specialist within its special classes.", figures.by_specialist,
           has_specialists),
    Figure("ablations", "Ablations (all values: table *ablations*).", figures.ablations, has_ablations),
    Figure("overfitting", "Section 6.1: accuracy within the special classes while specialists are trained.",
           overfitting.curves, overfitting.has_curves),
    Figure("equal_compute", "Specialists against ensembles of generalists and longer training, by cost.",
           figures.equal_compute, has_specialists),
)  # fmt: skip
# Drawn from the stored examples of the first seed instead of the records.
EXAMPLE_FIGURES = (
    Figure("contact_sheet", "Clusters of confusable classes: example images and names (Table 2).",
           figures.contact_sheet),
    Figure("covariance", "Correlations of the generalist's predictions, classes ordered by specialist.",
           figures.covariance),
    Figure("changed_predictions", "Test images whose prediction equation 5 corrected or broke.",
           figures.changed_predictions),
)  # fmt: skip


def headline(runs: list[Record]) -> Table | str:
    """Return Table 3 on test images for the terminal; before it exists, the table of the search."""
    if not has_specialists(runs):
        return search_headline(runs, tables.TABLES["search"])
    title, make = tables.TABLES["table3"]
    table = make(runs)
    columns = ["accuracy", "system", tables.DEVELOPMENT, "ours", tables.SEEDS]
    return terminal.table(f"{title}, on test images", table.loc[table["split"] == "test", columns])


def sections(folder: Path) -> list[Section]:
    """Return a section for each data set with records, the icons first."""
    datasets = sorted(records.datasets(folder, "specialists"), key=lambda name: name != "icons")
    return [section for name in datasets if (section := _section(folder, name)) is not None]


def _section(folder: Path, dataset: str) -> Section | None:
    stored = records.load(folder, "specialists", dataset)
    if not stored:
        return None
    if searched := search_section("specialists", dataset, stored, tables.TABLES["search"]):
        return searched
    runs = [*stored, *_shared_ensembles(folder, dataset, stored)]
    made = {name: (title, make(runs)) for name, (title, make) in tables.TABLES.items()}
    plots = drawable(FIGURES, runs)
    examples = records.load_shown(folder, "specialists", dataset) or {}
    made["left_out"] = left_out("Images", "files", examples)
    if "clusters" in examples:
        made = {"table2": (tables.TABLE_2, tables.clusters(examples))} | made
        plots = {figure.name: (figure.caption, partial(figure.draw, examples)) for figure in EXAMPLE_FIGURES} | plots
    title = f"Specialists: {dataset_label(dataset)}"
    return Section("specialists", dataset, title, stored, made, plots, findings(runs), of_others(stored))


def _shared_ensembles(folder: Path, dataset: str, runs: list[Record]) -> list[Record]:
    """Return the ensembles of another profile with the same generalists, for a profile that has none itself.

    Profiles that differ in their specialists alone, such as those of small subsets, have the same generalists.
    """
    if select(runs, Arm.ENSEMBLE):
        return []
    generalists = {record["key"] for record in select(runs, Arm.GENERALIST)}
    return [
        record
        for name in records.datasets(folder, "specialists") if dataset.startswith(f"{name}-")
        for record in select(records.load(folder, "specialists", name), Arm.ENSEMBLE)
        if record["settings"]["nets"][0] in generalists
    ]  # fmt: skip
