"""Recipes tried for the paper profile, judged on the validation split."""

import pandas as pd

from repro.evaluation import stats
from repro.mnist.runs import Arm
from repro.report.query import interval, select
from repro.report.records import Record


def recipes(records: list[Record]) -> pd.DataFrame:
    """Return validation errors of every candidate, fewest first within a kind of network; no test errors."""
    rows = []
    for name in dict.fromkeys(record["params"]["name"] for record in records):
        runs = select(records, Arm.SEARCH, name=name)
        settings = runs[0]["settings"]
        recipe = {key: value for key, value in settings["recipe"].items() if value not in (None, 0, 0.0)}
        if recipe["optimizer"] == "adamw":
            recipe.pop("momentum", None)
        estimate = stats.mean_interval([run["metrics"]["validation_errors"] for run in runs])
        row = {
            "candidate": name,
            "hidden units": "x".join(map(str, settings["hidden"])),
            "T": settings["temperature"] if settings["teacher"] else "–",
            "hard-label weight": settings["hard_label_weight"],
            "recipe": ", ".join(f"{key} {value}" for key, value in recipe.items()),
            "validation errors of 10,000": f"{estimate.value:.1f}",
            "95% CI": interval(estimate),
            "seeds": estimate.count,
        }
        rows.append(((bool(settings["teacher"]), settings["hidden"], estimate.value), row))
    return pd.DataFrame([row for _, row in sorted(rows, key=lambda pair: pair[0])])


TABLE = ("Recipe search: trained on the first 50,000 training images, judged on the last 10,000", recipes)
