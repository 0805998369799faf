"""The recipes that were tried for the paper profile, before and after it was settled, judged on validation."""

import pandas as pd

from repro.evaluation import stats
from repro.report.records import Record


def recipes(records: list[Record]) -> pd.DataFrame:
    """Validation errors of every candidate, fewest first within a kind; test errors are not shown."""
    rows = []
    for arm in dict.fromkeys(record["arm"] for record in records):
        found = [record for record in records if record["arm"] == arm]
        settings = found[0]["settings"]
        recipe = {name: value for name, value in settings["recipe"].items() if value not in (None, 0, 0.0)}
        if recipe["optimizer"] == "adamw":
            recipe.pop("momentum", None)
        estimate = stats.mean_interval([record["metrics"]["validation_errors"] for record in found])
        rows.append(
            {
                "candidate": arm.removeprefix("candidate: "),
                "hidden": "x".join(map(str, settings["hidden"])),
                "T": settings["temperature"] if settings["teacher"] else "–",
                "hard weight": settings["hard_label_weight"],
                "recipe": ", ".join(f"{name} {value}" for name, value in recipe.items()),
                "validation errors of 10,000": f"{estimate.value:.1f}",
                "seeds": estimate.count,
                "_order": (settings["teacher"] or "", settings["hidden"], estimate.value),
            }
        )
    rows.sort(key=lambda row: (bool(row["_order"][0]), row["_order"][1], row["_order"][2]))
    return pd.DataFrame(rows).drop(columns="_order")


TABLE = ("Recipes tried: trained on the first 50,000 training cases, judged on the last 10,000", recipes)
