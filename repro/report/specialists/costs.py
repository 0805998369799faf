"""Costs of the specialists and of their controls: ensembles, and the generalist trained longer."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from repro.report.format import in_epochs
from repro.report.query import select
from repro.report.records import Record
from repro.report.specialists.analysis import accuracy, accuracy_of, by_epochs, epochs, gain
from repro.specialists.runs import NEAR, Arm

Cost = Literal["train_cost", "test_cost"]
SystemKind = Literal["generalist", "specialists", "longer", "ensemble"]


@dataclass(frozen=True)
class System:
    """A system of generalists and specialists with its costs.

    Costs are in units of one generalist: ``train_cost`` counts training images, ``test_cost`` the networks that
    process a test image. All networks have the generalist's size, apart from the last layer. ``accuracy`` is in
    percent, of each seed.
    """

    name: str
    kind: SystemKind
    train_cost: float
    test_cost: float
    accuracy: list[float]

    def is_near(self, other: "System", cost: Cost) -> bool:
        """Return whether a cost differs from another system's by at most the fraction ``NEAR`` of that."""
        return abs(getattr(self, cost) - getattr(other, cost)) <= NEAR * getattr(other, cost)


def systems(records: list[Record]) -> list[System]:
    """Return generalist, specialists, the generalist trained longer and ensembles; empty without specialists."""
    generalists, combined, change = select(records, Arm.GENERALIST), select(records, Arm.COMBINED), gain(records)
    if not generalists or change is None:
        return []
    images = epochs(generalists[0]) * generalists[0]["metrics"]["train_cases"]
    trained = sum(
        epochs(n) * n["metrics"]["train_special_cases"] / n["settings"]["special_fraction"]
        for n in select(records, Arm.SPECIALIST)
    ) / len(combined)  # fmt: skip
    active = float(np.mean([record["metrics"]["test_mean_active"] for record in combined]))
    rows = [
        System("generalist", "generalist", 1.0, 1.0, change.accuracy(0)),
        System("generalist with specialists", "specialists", 1 + trained / images, 1 + active, change.accuracy(1)),
    ]
    for more, longer in by_epochs(records, Arm.LONGER).items():
        name = f"generalist, trained {in_epochs(more)} longer"
        rows.append(System(name, "longer", 1 + more / epochs(generalists[0]), 1.0, accuracy_of(longer)))
    for size in sorted({record["params"]["num_models"] for record in records if record["arm"] == Arm.ENSEMBLE}):
        values = accuracy(records, Arm.ENSEMBLE, num_models=size)
        rows.append(System(f"ensemble of {size} generalists", "ensemble", float(size), float(size), values))
    return rows


def nearest_ensemble(rows: list[System], cost: Cost) -> System | None:
    """Return the ensemble whose cost is nearest to that of the specialists; None where none is near."""
    ours = specialists(rows)
    ensembles = [row for row in rows if row.kind == "ensemble" and row.is_near(ours, cost)]
    return min(ensembles, key=lambda row: abs(getattr(row, cost) - getattr(ours, cost)), default=None)


def longer(rows: list[System]) -> System | None:
    """Return the generalist trained longer that is compared with the specialists; None where there is none.

    It is the cheapest whose training costs at least as much as theirs, else the longest.
    """
    candidates = [row for row in rows if row.kind == "longer"]
    as_long = [row for row in candidates if row.train_cost >= specialists(rows).train_cost]
    if as_long:
        return min(as_long, key=lambda row: row.train_cost)
    return max(candidates, key=lambda row: row.train_cost, default=None)


def specialists(rows: list[System]) -> System:
    """Return the generalist with specialists."""
    return next(row for row in rows if row.kind == "specialists")


def controls(rows: list[System]) -> list[System]:
    """Return what specialists are compared with: ``longer``, and ensembles of equal cost in training and at test."""
    if not rows:
        return []
    systems_to_compare = (longer(rows), nearest_ensemble(rows, "train_cost"), nearest_ensemble(rows, "test_cost"))
    return list({system.name: system for system in systems_to_compare if system is not None}.values())
