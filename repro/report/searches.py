"""Table of a search for recipes, stage by stage."""

from collections.abc import Callable

import pandas as pd

from repro.report.records import Record

Group = list[Record]  # the seeds of a candidate


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
        for group in groups:
            values = {name: value for name, value in group[0]["params"].items() if name != "stage"}
            accuracies = accuracy(group)
            rows.append({
                "stage": stage,
                "settings": "; ".join(f"{name} = {value}" for name, value in values.items()),
                "validation accuracy": f"{sum(accuracies) / len(accuracies):.2f}",
                "each seed": " ".join(f"{value:.2f}" for value in accuracies),
                "chosen": "yes" if group is best else "",
            })  # fmt: skip
    return pd.DataFrame(rows)
