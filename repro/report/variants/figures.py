"""The figures of the variants, drawn from the records alone."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from repro import paper
from repro.evaluation import stats
from repro.report.plotting import OURS, PAPER, SECOND, THIRD, legend, points, ticks
from repro.report.query import select
from repro.report.records import Record
from repro.report.variants import analysis as claims
from repro.report.variants.tables import by_view, gap_rows

Found = list[Record]
# A legend to the right of the axes.
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "fontsize": 7}


def methods(records: Found) -> Figure:
    """Each method's difference from plain distillation, paired by seed."""
    others = [arm for arm in claims.rows(records) if arm != claims.plain(records)]
    found = {arm: ahead for arm in others if (ahead := claims.ahead(records, arm)) is not None}
    ordered = sorted(found, key=lambda arm: found[arm].value)
    figure, axis = plt.subplots(figsize=(7.2, 0.32 * len(ordered) + 1.3))
    verdicts = claims.verdicts(records)
    for where, arm in enumerate(ordered):
        across(axis, found[arm], where, "0.55" if verdicts[arm] == claims.NOT_APART else OURS)
    axis.axvline(0, color=PAPER, linewidth=0.8)
    axis.set_yticks(range(len(ordered)), ordered, fontsize=8)
    taught = claims.teacher(records)
    level = claims.mean_accuracy(select(records, claims.plain(records)))
    beside = "" if taught is None else f"; its teacher {claims.accuracy([taught])[0]:.2f}%"
    axis.set_xlabel(
        "points of test accuracy over plain distillation; bars: each row's own 95% over seeds, paired\n"
        "blue: told apart from it (Holm's correction for the number of rows; no distillation by itself)",
        fontsize=8,
    )
    axis.set_title(f"Plain distillation ({claims.plain(records)}, red line): {level:.2f}%{beside}", fontsize=9)
    figure.tight_layout()
    return figure


def looks_of(records: Found) -> dict[str, dict[str, Any]]:
    """A point for each row: names beside the points would lie on each other. Plain distillation's is a black star above
    all others."""
    # Eleven, which have no divisor in common with ten colours: of 110 rows no two look alike.
    colours, markers = plt.get_cmap("tab10"), "osD^vPX<>hp"
    num_evals: dict[str, dict[str, Any]] = {
        arm: {"color": colours(n % 10), "marker": markers[n % len(markers)], "linestyle": "", "markersize": 5,
               "label": arm}
        for n, arm in enumerate(claims.rows(records))
    }  # fmt: skip
    plain = claims.plain(records)
    return num_evals | {plain: num_evals[plain] | {"color": "black", "marker": "*", "markersize": 10, "zorder": 5}}


def cost(records: Found) -> Figure:
    """Difference from plain distillation against time and memory of training."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    num_evals = looks_of(records)
    for arm in num_evals:
        one, ahead = claims.cost(records, arm), claims.ahead(records, arm)
        if one is None or ahead is None:
            continue
        for axis, what in zip(axes, ("time_over_plain", "memory_over_plain"), strict=True):
            if ahead.low is not None and ahead.high is not None:
                axis.vlines(one["metrics"][what], ahead.low, ahead.high, color="0.6", linewidth=1, zorder=0)
            axis.plot(one["metrics"][what], ahead.value, **num_evals[arm])
        if arm != claims.plain(records):
            axes[0].hlines(ahead.value, one["metrics"]["time_low"], one["metrics"]["time_high"], color="0.6",
                           linewidth=1, zorder=0)  # fmt: skip
    for axis, what in zip(axes, ("time", "memory"), strict=True):
        axis.axhline(0, color="0.7", linewidth=0.8)
        axis.axvline(1, color="0.7", linewidth=0.8)
        axis.set_xlabel(f"{what} of training over plain distillation's")
    axes[0].set_ylabel("points of test accuracy over plain distillation")
    axes[0].set_title("of nets trained one after the other, times are added up", fontsize=8)
    axes[1].set_title("grey: 95% over seeds, paired; least and most of five timings", fontsize=8)
    axes[1].legend(**BESIDE)
    figure.tight_layout()
    return figure


def gap(records: Found) -> Figure:
    """Heat map: what every teacher brings every student, over the same student without a teacher."""
    (_, _, alone), *taught = gap_rows(records)
    shapes = list(alone)
    brought = {
        (row, column): stats.paired_difference(claims.accuracy(cells[shape]), claims.accuracy(alone[shape]))
        for row, (_, _, cells) in enumerate(taught) for column, shape in enumerate(shapes) if shape in cells
    }  # fmt: skip
    table = np.full((len(taught), len(shapes)), np.nan)
    for where, one in brought.items():
        table[where] = one.value
    figure, axis = plt.subplots(figsize=(1.3 * len(shapes) + 3.6, 0.5 * len(taught) + 1.9))
    most = float(np.nanmax(np.abs(table))) or 1.0
    axis.set_facecolor("0.8")
    image = axis.imshow(table, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for (row, column), one in brought.items():
        clear = one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
        axis.text(column, row, f"{one.value:+.2f}" if clear else f"({one.value:+.2f})", ha="center", va="center",
                  fontsize=8, color="white" if abs(one.value) > 0.6 * most else "black")  # fmt: skip
    names = [f"{shape}\n({claims.mean_accuracy(alone[shape]):.1f}% alone)" for shape in shapes]
    axis.set_xticks(range(len(shapes)), names, fontsize=8)
    axis.set_yticks(range(len(taught)), [f"{name} ({level:.1f}%)" for name, level, _ in taught], fontsize=8)
    axis.set_xlabel("student")
    axis.set_ylabel("teacher")
    axis.set_title("at the temperature chosen for the bench's own student; in brackets: the 95%\n"
                   "interval over seeds holds zero; grey: not run", fontsize=8)  # fmt: skip
    figure.colorbar(image, label="points over no teacher")
    figure.tight_layout()
    return figure


def fidelity(records: Found) -> Figure:
    """Test accuracy against how often student and teacher name the same class."""
    figure, axis = plt.subplots(figsize=(7.6, 4.6))
    num_evals = looks_of(records)
    for arm in num_evals:
        found = select(records, arm)
        agree = claims.agreement(found)
        if agree is None:
            continue
        mean = stats.mean_interval(claims.accuracy(found))
        if mean.low is not None and mean.high is not None:
            axis.vlines(agree.value, mean.low, mean.high, color="0.6", linewidth=1, zorder=0)
        axis.plot(agree.value, mean.value, **num_evals[arm])
    axis.set_xlabel("test images of which a net names the same class as the teacher, %")
    axis.set_ylabel("test accuracy, %")
    axis.set_title("grey: 95% over seeds", fontsize=8)
    axis.legend(**BESIDE)
    figure.tight_layout()
    return figure


def _less(best: float, means: list[stats.Estimate]) -> list[stats.Estimate]:
    return [mean.each(lambda value: value - best) for mean in means]


def temperature(records: Found) -> Figure:
    """Test accuracy against T, by the student's size and by the weight of the labels."""
    studies = {"temperature and size": "shape", "temperature and weight": "hard_label_weight"}
    studies = {arm: what for arm, what in studies.items() if select(records, arm)}
    figure, axes = plt.subplots(1, len(studies), figsize=(4.6 * len(studies), 3.7), squeeze=False)
    for axis, (arm, what) in zip(axes[0], studies.items(), strict=True):
        found = select(records, arm)
        value_of = lambda r, what=what: r["settings"].get(what, r["settings"]["options"].get(what))  # noqa: E731
        groups = sorted({(r["metrics"]["weights"] if what == "shape" else 0, value_of(r)) for r in found})
        tried = sorted({r["settings"]["options"]["temperature"] for r in found})
        colours = plt.cm.viridis(np.linspace(0, 0.85, len(groups)))
        for number, (colour, (_, group)) in enumerate(zip(colours, groups, strict=True)):
            mine = [[r for r in found if value_of(r) == group and r["settings"]["options"]["temperature"] == t]
                    for t in tried]  # fmt: skip
            means = [stats.mean_interval(claims.accuracy(nets)) for nets in mine]
            best = max(means, key=lambda mean: mean.value).value
            relative = _less(best, means)
            name = f"student {group}" if what == "shape" else f"hard weight {group:g}"
            aside = 1.06 ** (number - (len(groups) - 1) / 2)  # or the bars lie on each other
            points(axis, [aside * t for t in tried], relative, colour, f"{name} (best {best:.1f}%)")
        if "30-30" in [group for _, group in groups]:
            axis.axvspan(*paper.NARROW_RANGE, color=PAPER, alpha=0.15, label="paper, 30-30: clearly best", linewidth=0)
        axis.set_xscale("log")
        ticks(axis.xaxis, tried)
        axis.set_xlabel("temperature T")
        axis.set_ylabel("test accuracy minus the line's best, points")
        legend(axis)
    figure.suptitle("Means over seeds; bars: 95% of the accuracy itself", fontsize=9)
    figure.tight_layout()
    return figure


def view(records: Found) -> Figure:
    """Test accuracy by what the teacher is shown, for each length of training."""
    found = by_view(records)
    rows, lengths = list(dict.fromkeys(shown for _, shown in found)), sorted({epochs for epochs, _ in found})
    figure, axis = plt.subplots(figsize=(6.6, 0.45 * len(rows) + 1.2))
    colours = [(OURS, SECOND, THIRD)[number % 3] for number in range(len(lengths))]
    for (epochs, shown), nets in found.items():
        number = lengths.index(epochs)
        where = rows.index(shown) + 0.2 * (number - (len(lengths) - 1) / 2)
        across(axis, stats.mean_interval(claims.accuracy(nets)), where, colours[number])
    if len(lengths) == 1:
        axis.set_title(f"Students of {lengths[0]:g} passes, by what the teacher is shown", fontsize=9)
    else:
        for epochs, colour in zip(lengths, colours, strict=True):
            axis.plot([], [], "o", color=colour, label=f"{epochs:g} passes")
        axis.legend(fontsize=7)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("test accuracy, % (95% over seeds, not paired)")
    figure.tight_layout()
    return figure


def across(axis, one: stats.Estimate, where: float, colour: str) -> None:
    """A mean and its interval, lying, at a height."""
    spread = [[0], [0]] if one.low is None or one.high is None else [[one.value - one.low], [one.high - one.value]]
    axis.errorbar([one.value], [where], xerr=spread, fmt="o", color=colour, capsize=2)
