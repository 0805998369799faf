"""Section and table of a search for recipes, stage by stage."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
from rich.table import Table

from repro.config_search import RESULTS_SUFFIX
from repro.report import terminal
from repro.report.query import of_others
from repro.report.records import Record
from repro.report.section import Section

Group = list[Record]  # the seeds of a candidate
TitledTable = tuple[str, Callable[[list[Record]], pd.DataFrame]]


def search_headline(runs: list[Record], titled: TitledTable) -> Table | str:
    """Return the table of a search for the terminal; a line where there are no runs."""
    title, make = titled
    table = make(runs)
    return "no completed runs yet" if table.empty else terminal.table(title, table)


def search_section(experiment: str, dataset: str, runs: list[Record], titled: TitledTable) -> Section | None:
    """Return the section of a profile that ends after its search; None for other results.

    Args:
        titled: title of the table of the search, and the function that makes it from records.
    """
    title, make = titled
    if not dataset.endswith(RESULTS_SUFFIX) or (table := make(runs)).empty:
        return None
    name = f"{experiment.capitalize()}: recipe search on {dataset.removesuffix(RESULTS_SUFFIX)}"
    return Section(experiment, dataset, name, runs, {"search": (title, table)}, {}, [], of_others(runs))


def search_table(
    records: list[Record], badness: Callable[[Group], float], accuracy: Callable[[Group], list[float]]
) -> pd.DataFrame:
    """Return the candidates of each stage with their validation accuracy; the best of each stage is marked.

    Args:
        records: the judged runs; their parameters hold the stage and the values of its settings.
        badness: by which the search chooses, the lowest.
        accuracy: validation accuracy of each seed in percent.
    """
    candidates: dict[str, Group] = {}
    for record in records:
        candidates.setdefault(str(record["params"]), []).append(record)
    stages: dict[int, list[Group]] = {}
    for group in candidates.values():
        stages.setdefault(group[0]["params"]["stage"], []).append(group)
    rows = []
    for stage, groups in sorted(stages.items()):
        groups = [group for group in groups if not any("diverged" in record["metrics"] for record in group)]
        best = min(groups, key=lambda group: (badness(group), str(group[0]["params"])), default=None)
        for group in sorted(groups, key=_in_order):
            values = _values(group)
            accuracies = accuracy(group)
            rows.append({
                "stage": stage,
                "settings": "; ".join(f"{name} = {value}" for name, value in values.items()),
                "validation accuracy": f"{sum(accuracies) / len(accuracies):.2f}",
                "each seed": " ".join(f"{value:.2f}" for value in accuracies),
                "chosen": "yes" if group is best else "",
            })  # fmt: skip
    return pd.DataFrame(rows)


def _values(group: Group) -> dict[str, Any]:
    return {name: value for name, value in group[0]["params"].items() if name != "stage"}


def _in_order(group: Group) -> list[tuple[float, str]]:
    """Return a key that sorts candidates by their values: numbers in order, then text."""
    return [(value, "") if isinstance(value, int | float) else (math.inf, str(value))
            for value in _values(group).values()]  # fmt: skip
