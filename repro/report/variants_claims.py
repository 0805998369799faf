"""What the records of the variants say: rows of a bench, paired with plain distillation. Nothing here is a claim of
the paper's; paper.py lists the figures of the methods' own papers."""

import numpy as np

from repro.core import stats
from repro.core.stats import Estimate
from repro.report.records import Record
from repro.report.section import select

Found = list[Record]
# Roles that are no rows of the methods' table.
STUDIES = ("teacher", "assistant", "gap", "temperature", "view", "candidate", "cost")


def rows(records: Found) -> list[str]:
    """The methods there are students of: plain distillation's peers first, as the profile has them."""
    roles = dict.fromkeys(record["role"] for record in records)
    found = [role for role in roles if not role.startswith(STUDIES)]
    return sorted(found, key=lambda role: (role.startswith(("by way", "born again")), role != plain(records), role))


def plain(records: Found) -> str:
    """The row of plain distillation, which the others are compared with."""
    apart = (*STUDIES, "by way", "born again")
    taught = [record["role"] for record in records if record["settings"].get("method") == "soft_targets"]
    return next((role for role in taught if not role.startswith(apart)), "")


def accuracy(found: Found, part: str = "test") -> list[float]:
    """Percent right of each net."""
    return [100 * (1 - record["metrics"][f"{part}_errors"] / record["metrics"][f"{part}_cases"]) for record in found]


def ahead(records: Found, role: str) -> Estimate | None:
    """Points of test accuracy over plain distillation, paired by seed."""
    mine, theirs = select(records, role), select(records, plain(records))
    if not mine or len(mine) != len(theirs):
        return None
    return stats.paired_difference(accuracy(mine), accuracy(theirs))


def cost(records: Found, role: str) -> Record | None:
    """What a method's steps cost beside plain distillation's."""
    return next(iter(select(records, f"cost: {role}")), None)


def agreement(found: Found) -> Estimate | None:
    """Percent of test images on which student and teacher agree."""
    said = [100 * record["metrics"]["test_agreement"] for record in found if "test_agreement" in record["metrics"]]
    return stats.mean_interval(said) if said else None


def teacher(records: Found) -> Record | None:
    """The teacher of the rows."""
    taught = select(records, plain(records))
    if not taught:
        return None
    shape = taught[0]["settings"]["teacher_shape"]
    epochs = taught[0]["settings"]["teacher_epochs"]
    return next(
        (r for r in select(records, "teacher", shape=shape) if r["settings"]["recipe"]["epochs"] == epochs), None
    )


def mean_accuracy(found: Found) -> float:
    """The mean over nets."""
    return float(np.mean(accuracy(found)))
