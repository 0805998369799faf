"""Section 8: one network distilled from generalist and specialists, its controls, and how its recipe was chosen."""

from typing import Any

import pandas as pd

from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.query import interval, select, signed
from repro.report.records import Record
from repro.report.searches import search_table
from repro.report.specialists import analysis
from repro.specialists.evaluate import validation_errors
from repro.specialists.runs import Arm

STUDENTS = {
    Arm.ON_LABELS: "trained on labels alone",
    Arm.SELF_DISTILLED: "distilled from the generalist",
    Arm.ENSEMBLE_DISTILLED: "distilled from an ensemble of equal training cost",
    Arm.REDISTILLED: "distilled from generalist and specialists",
}


def redistilled(records: list[Record]) -> pd.DataFrame:
    """Return the accuracies of networks that differ in their targets, and the fraction of the gain that each keeps."""
    generalist, change = analysis.accuracy(records, Arm.GENERALIST), analysis.gain(records)
    if change is None or not select(records, Arm.REDISTILLED):
        return pd.DataFrame()
    before = _epochs(select(records, Arm.GENERALIST))
    networks = [("generalist", generalist, before, "–")]
    for longer in analysis.by_epochs(records, Arm.LONGER).values():
        accuracy, trained = analysis.accuracy_of(longer), f"{before} + {_epochs(longer)}"
        name = "generalist, trained longer"
        if are_among(select(records, Arm.ON_LABELS), longer):
            name += "; its first seeds are the next row"
        networks.append((name, accuracy, trained, "–"))
    for arm, label in STUDENTS.items():
        runs = select(records, arm)
        if runs:
            started = f"{before} + " if runs[0]["settings"]["start"] else ""
            networks.append((label, analysis.accuracy_of(runs), f"{started}{_epochs(runs)}", _view(runs[0])))
    networks.append(("generalist with specialists (teacher)", change.accuracy(1), "–", "–"))
    return pd.DataFrame([
        {"network": name, "epochs": epochs, "teacher sees": view} | _row(name, values, generalist, change.accuracy(1))
        for name, values, epochs, view in networks
    ])  # fmt: skip


def are_among(some: list[Record], others: list[Record]) -> bool:
    """Return whether some records are of the same networks as others."""
    return bool(some) and {record["key"] for record in some} <= {record["key"] for record in others}


def _view(record: Record) -> str:
    """Return which images the teacher sees."""
    if record["settings"]["teacher"] is None:
        return "–"
    return "the student's images" if record["settings"]["run"] == "SameViewRun" else "original images"


def _row(name: str, values: list[float], generalist: list[float], teacher: list[float]) -> dict[str, Any]:
    accuracy = stats.mean_interval(values)
    is_reference = name == "generalist"
    return {
        "accuracy": f"{accuracy.value:.2f} {interval(accuracy, '.2f')}",
        "delta vs generalist (pp)": "–" if is_reference else signed(analysis.paired(values, generalist)),
        "fraction of the specialists' gain": "–" if is_reference else _fraction(values, generalist, teacher),
        "seeds": accuracy.count,
    }


def _fraction(values: list[float], generalist: list[float], teacher: list[float]) -> str:
    fraction = fraction_of_gain(values, generalist, teacher)
    return "–" if fraction is None else f"{fraction.value:.2f} {interval(fraction, '.2f')}"


def fraction_of_gain(values: list[float], generalist: list[float], teacher: list[float]) -> Estimate | None:
    """Return the gain over the generalist as a fraction of the teacher's, with Fieller's interval over seeds.

    The seeds are those of ``values``, the first ones. None where the teacher's gain is not above zero.
    """
    gained, possible = (
        [a - b for a, b, _ in zip(ours, generalist, values, strict=False)] for ours in (values, teacher)
    )
    return stats.ratio_interval(gained, possible) if sum(possible) > 0 else None


def _epochs(records: list[Record]) -> str:
    return ", ".join(f"{count:g}" for count in sorted(set(map(analysis.epochs, records))))


def search(records: list[Record]) -> pd.DataFrame:
    """Return the candidates of each stage of the search with their validation accuracy; the best of each is marked."""
    return search_table(select(records, Arm.SEARCH), validation_errors, _validation_accuracy)


def _validation_accuracy(group: list[Record]) -> list[float]:
    return analysis.accuracy_of(group, "validation")
