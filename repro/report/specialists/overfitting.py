"""Section 6.1: do soft targets keep specialists with a full softmax from overfitting? A table and its curves."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from repro.evaluation import stats
from repro.report.plotting import FOURTH, OURS, SECOND
from repro.report.query import interval, select, signed
from repro.report.records import Record
from repro.report.specialists import analysis
from repro.report.specialists.analysis import Gain
from repro.specialists.runs import Arm

KINDS = ("dustbin", "full softmax, hard targets", "full softmax, soft targets")
COLORS = dict(zip(KINDS, (FOURTH, SECOND, OURS), strict=True))


def fractions(records: list[Record]) -> list[float]:
    """Return the fractions of the training images that specialists were trained on, the largest first."""
    kinds = [record for record in records if record["arm"] == Arm.KIND]
    return sorted({record["params"].get("fraction", 1.0) for record in kinds}, reverse=True)


def models(records: list[Record], kind: str, fraction: float) -> list[Record]:
    """Return the records of the single specialists of a kind, of as many specialists and seeds for each kind."""
    if kind == "dustbin" and fraction == 1:
        count, main = analysis.num_ablated(records) or 0, select(analysis.of_ablation_seeds(records), Arm.SPECIALIST)
        return [record for record in main if record["settings"]["number"] < count]
    return analysis.of_kind(records, Arm.ABLATION_SPECIALIST, kind, fraction)


def gain(records: list[Record], kind: str, fraction: float = 1.0) -> Gain | None:
    """Return the gain of as many specialists of a kind; None where there are no records."""
    if kind == "dustbin" and fraction == 1:
        return analysis.baseline(records)
    combined = analysis.of_kind(records, Arm.KIND, kind, fraction)
    return analysis.gain_of(combined) if combined else None


def kinds(records: list[Record]) -> pd.DataFrame:
    """Return accuracy within the special classes and overfitting of the kinds, by fraction of the training images."""
    rows = []
    for fraction in fractions(records):
        rows.append(_row("none (generalist)", fraction, models(records, "dustbin", fraction), None, before=True))
        rows += [_row(kind, fraction, models(records, kind, fraction), gain(records, kind, fraction)) for kind in KINDS]
    return pd.DataFrame([row for row in rows if row])


def _row(
    name: str, fraction: float, members: list[Record], change: Gain | None, before: bool = False
) -> dict[str, Any]:
    if not members:
        return {}
    train, test = (analysis.accuracy_within(members, split, before) for split in ("train", "test"))
    return {
        "specialists": name,
        "training images": f"{fraction:.0%}",
        "number": "–" if before else max(r["settings"]["number"] for r in members) + 1,
        "train accuracy (special classes)": f"{np.mean(train):.2f}",
        "test accuracy (special classes)": f"{np.mean(test):.2f} {interval(stats.mean_interval(test), '.2f')}",
        "train - test (pp)": signed(stats.paired_difference(train, test)),
        "gain (pp)": signed(change.difference()) if change else "–",
        "seeds": len(test),
    }


def has_curves(records: list[Record]) -> bool:
    """Return whether specialists were evaluated more than once during training."""
    return any(
        len(_curve(record)) > 1
        for fraction in fractions(records) for kind in KINDS for record in models(records, kind, fraction)
    )  # fmt: skip


def _curve(record: Record) -> list[list[float]]:
    """Return points (epoch, training loss, accuracy on training and on validation images); older records have two."""
    return [point for point in record["curve"] if len(point) == 4]


def curves(records: list[Record]) -> Figure:
    """Draw accuracy within the special classes against epochs, a panel for each fraction of the training images."""
    panels = fractions(records)
    figure = Figure(figsize=(1 + 4.4 * len(panels), 3.8))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, fraction in zip(axes, panels, strict=True):
        for kind, color in COLORS.items():
            points = [_curve(record) for record in models(records, kind, fraction)]
            longest = max(map(len, points), default=0)
            complete = np.array([curve for curve in points if len(curve) == longest])
            if longest > 1:
                epochs, _, train, validation = complete.mean(0).T
                axis.plot(epochs, train, "--", color=color, linewidth=1, label=f"{kind}: training images")
                axis.plot(epochs, validation, "-", color=color, linewidth=1.4, label=f"{kind}: validation images")
        axis.set_xlabel("epoch")
        axis.set_title(f"trained on {fraction:.0%} of the training images", fontsize=9)
    axes[0].set_ylabel("accuracy within the special classes, %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, ncols=len(panels) + 1, loc="lower center")
    figure.suptitle("Section 6.1: overfitting of specialists, mean over specialists and seeds", fontsize=10)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    return figure
