"""Figures of the variants, drawn from the records alone."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repro import paper
from repro.evaluation import stats
from repro.report.format import in_epochs
from repro.report.plotting import OURS, PAPER, SECOND, THIRD, legend, literal, points, subplots, ticks
from repro.report.query import select
from repro.report.records import Record
from repro.report.variants import analysis
from repro.variants.runs import Arm

# A legend to the right of the axes.
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "fontsize": 7}


def methods(records: list[Record]) -> Figure:
    """Draw each row's gain over KD."""
    baseline, gains = analysis.kd_baseline(records), analysis.gains(records)
    ordered = sorted(gains, key=lambda row: gains[row].value)
    figure, axis = subplots(figsize=(7.2, 0.32 * len(ordered) + 1.3))
    verdicts = analysis.verdicts(records)
    for place, row in enumerate(ordered):
        hpoint(axis, gains[row], place, "0.55" if verdicts[row] == analysis.NOT_SIGNIFICANT else OURS)
    axis.axvline(0, color=PAPER, linewidth=0.8)
    axis.set_yticks(range(len(ordered)), [literal(row) for row in ordered], fontsize=8)
    teacher = analysis.teacher(records)
    accuracy = analysis.mean_accuracy(analysis.of_row(records, baseline))
    beside = "" if teacher is None else f"; its teacher {analysis.accuracy([teacher])[0]:.2f}%"
    axis.set_xlabel(
        "delta vs KD, percentage points of test accuracy; bars: 95% CI over seeds\n"
        "blue: significantly different from KD (Holm's correction over rows; no KD is tested by itself)",
        fontsize=8,
    )
    axis.set_title(f"{literal(baseline)} (red line): {accuracy:.2f}%{beside}", fontsize=9)
    figure.tight_layout()
    return figure


def marker_styles(records: list[Record]) -> dict[str, dict[str, Any]]:
    """Return a marker for each row, to be named in a legend; KD's is a black star above all others."""
    # Eleven markers have no divisor in common with ten colors: no two of 110 rows look alike.
    colors, markers = matplotlib.colormaps["tab10"], "osD^vPX<>hp"
    styles: dict[str, dict[str, Any]] = {
        row: {"color": colors(n % 10), "marker": markers[n % len(markers)], "linestyle": "", "markersize": 5,
              "label": literal(row)}
        for n, row in enumerate(analysis.rows(records))
    }  # fmt: skip
    baseline = analysis.kd_baseline(records)
    return styles | {baseline: styles[baseline] | {"color": "black", "marker": "*", "markersize": 10, "zorder": 5}}


def cost(records: list[Record]) -> Figure:
    """Draw each row's gain over KD against time and memory of training relative to KD."""
    figure, axes = subplots(1, 2, figsize=(10, 4.2), sharey=True)
    gains = {analysis.kd_baseline(records): analysis.ITSELF} | analysis.gains(records)
    for row, style in marker_styles(records).items():
        timing, gain = analysis.timing(records, row), gains.get(row)
        if timing is None or gain is None:
            continue
        metrics = timing["metrics"]
        for axis, name in zip(axes, ("time_over_kd", "memory_over_kd"), strict=True):
            if gain.low is not None and gain.high is not None:
                axis.vlines(metrics[name], gain.low, gain.high, color="0.6", linewidth=1, zorder=0)
            axis.plot(metrics[name], gain.value, **style)
        axes[0].hlines(gain.value, metrics["time_low"], metrics["time_high"], color="0.6", linewidth=1, zorder=0)
    for axis, name in zip(axes, ("step time", "memory"), strict=True):
        axis.axhline(0, color="0.7", linewidth=0.8)
        axis.axvline(1, color="0.7", linewidth=0.8)
        axis.set_xlabel(f"{name} of training / KD")
    axes[0].set_ylabel("delta vs KD, percentage points")
    axes[0].set_title("times of models that are trained in sequence are summed", fontsize=8)
    axes[1].set_title("gray: 95% CI over seeds; range of five timings", fontsize=8)
    axes[1].legend(**BESIDE)
    figure.tight_layout()
    return figure


def gap(records: list[Record]) -> Figure:
    """Draw a heat map of the gain of every student with every teacher over the same student without a teacher."""
    (_, _, alone), *teachers = analysis.gap_rows(records)
    shapes = list(alone)
    gains = {
        (row, column): stats.paired_difference(analysis.accuracy(cells[shape]), analysis.accuracy(alone[shape]))
        for row, (_, _, cells) in enumerate(teachers) for column, shape in enumerate(shapes) if shape in cells
    }  # fmt: skip
    table = np.full((len(teachers), len(shapes)), np.nan)
    for place, gain in gains.items():
        table[place] = gain.value
    figure, axis = subplots(figsize=(1.3 * len(shapes) + 3.6, 0.5 * len(teachers) + 1.9))
    most = float(np.nanmax(np.abs(table))) or 1.0
    axis.set_facecolor("0.8")
    image = axis.imshow(table, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for (row, column), gain in gains.items():
        nonzero = gain.low is not None and gain.high is not None and (gain.low > 0 or gain.high < 0)
        axis.text(column, row, f"{gain.value:+.2f}" if nonzero else f"({gain.value:+.2f})", ha="center", va="center",
                  fontsize=8, color="white" if abs(gain.value) > 0.6 * most else "black")  # fmt: skip
    names = [f"{shape}\n({analysis.mean_accuracy(alone[shape]):.1f}% alone)" for shape in shapes]
    axis.set_xticks(range(len(shapes)), names, fontsize=8)
    axis.set_yticks(range(len(teachers)), [f"{name} ({accuracy:.1f}%)" for name, accuracy, _ in teachers], fontsize=8)
    axis.set_xlabel("student")
    axis.set_ylabel("teacher")
    axis.set_title("at the temperature chosen for the testbed's student; in brackets: the 95% CI\n"
                   "over seeds, not corrected for their number, includes zero; gray: not run", fontsize=8)  # fmt: skip
    figure.colorbar(image, label="delta vs no teacher, points")
    figure.tight_layout()
    return figure


def fidelity(records: list[Record]) -> Figure:
    """Draw test accuracy against teacher agreement."""
    figure, axis = subplots(figsize=(7.6, 4.6))
    for row, style in marker_styles(records).items():
        nets = analysis.of_row(records, row)
        agreement = analysis.teacher_agreement(nets)
        if agreement is None:
            continue
        mean = stats.mean_interval(analysis.accuracy(nets))
        if mean.low is not None and mean.high is not None:
            axis.vlines(agreement.value, mean.low, mean.high, color="0.6", linewidth=1, zorder=0)
        axis.plot(agreement.value, mean.value, **style)
    axis.set_xlabel("teacher agreement (same class on test images), %")
    axis.set_ylabel("test accuracy, %")
    axis.set_title("gray: 95% CI over seeds", fontsize=8)
    axis.legend(**BESIDE)
    figure.tight_layout()
    return figure


def temperature(records: list[Record]) -> Figure:
    """Draw test accuracy against the temperature, by student size and by the weight of the hard labels."""
    sweeps = {varied: select(records, Arm.TEMPERATURE_SWEEP, varied=varied)
              for varied in ("student size", "hard-label weight")}  # fmt: skip
    sweeps = {varied: nets for varied, nets in sweeps.items() if nets}
    figure, axes = subplots(1, len(sweeps), figsize=(4.6 * len(sweeps), 3.7), squeeze=False)
    for axis, (varied, nets) in zip(axes[0], sweeps.items(), strict=True):
        if varied == "student size":
            _by_size(axis, nets)
        else:
            _by_weight(axis, nets)
        axis.set_xscale("log")
        ticks(axis.xaxis, sorted({net["settings"]["options"]["temperature"] for net in nets}))
        axis.set_xlabel("temperature T")
        axis.set_ylabel("test accuracy minus the line's best, points")
        legend(axis)
    figure.suptitle("Means over seeds; bars: 95% CI of the accuracy", fontsize=9)
    figure.tight_layout()
    return figure


def _by_size(axis: Axes, nets: list[Record]) -> None:
    by_shape: dict[str, list[Record]] = {}
    for net in sorted(nets, key=lambda net: (net["metrics"]["parameters"], net["settings"]["shape"])):
        by_shape.setdefault(f"student {net['settings']['shape']}", []).append(net)
    _lines(axis, by_shape)
    if "student mlp:30-30" in by_shape:
        axis.axvspan(*paper.NARROW_RANGE, color=PAPER, alpha=0.15, label="paper, 30-30: clearly best", linewidth=0)


def _by_weight(axis: Axes, nets: list[Record]) -> None:
    by_weight: dict[str, list[Record]] = {}
    for net in sorted(nets, key=lambda net: net["settings"]["options"]["hard_label_weight"]):
        name = f"hard-label weight {net['settings']['options']['hard_label_weight']:g}"
        by_weight.setdefault(name, []).append(net)
    _lines(axis, by_weight)


def _lines(axis: Axes, groups: dict[str, list[Record]]) -> None:
    """Draw one line per group: test accuracy by temperature, relative to the best mean of the line."""
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(groups)))
    for number, (name, nets) in enumerate(groups.items()):
        by_temperature: dict[float, list[Record]] = {}
        for net in sorted(nets, key=lambda net: (net["settings"]["options"]["temperature"], net["seed"])):
            by_temperature.setdefault(net["settings"]["options"]["temperature"], []).append(net)
        means = [stats.mean_interval(analysis.accuracy(group)) for group in by_temperature.values()]
        best = max(mean.value for mean in means)
        aside = 1.06 ** (number - (len(groups) - 1) / 2)  # or the bars cover each other
        places = [aside * temperature for temperature in by_temperature]
        points(axis, places, [_relative(mean, best) for mean in means], colors[number], f"{name} (best {best:.1f}%)")


def _relative(mean: stats.Estimate, best: float) -> stats.Estimate:
    return mean.each(lambda value: value - best)


def view(records: list[Record]) -> Figure:
    """Draw test accuracy by the teacher's view, for each number of epochs."""
    groups = analysis.by_view(records)
    rows, lengths = list(dict.fromkeys(view for _, view in groups)), sorted({epochs for epochs, _ in groups})
    figure, axis = subplots(figsize=(6.6, 0.45 * len(rows) + 1.2))
    colors = [(OURS, SECOND, THIRD)[number % 3] for number in range(len(lengths))]
    for (epochs, view), nets in groups.items():
        number = lengths.index(epochs)
        place = rows.index(view) + 0.2 * (number - (len(lengths) - 1) / 2)
        hpoint(axis, stats.mean_interval(analysis.accuracy(nets)), place, colors[number])
    if len(lengths) == 1:
        axis.set_title(f"Students of {in_epochs(lengths[0])}, by the view that the teacher sees", fontsize=9)
    else:
        for epochs, color in zip(lengths, colors, strict=True):
            axis.plot([], [], "o", color=color, label=in_epochs(epochs))
        axis.legend(fontsize=7)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("test accuracy, % (95% CI over seeds, not paired)")
    figure.tight_layout()
    return figure


def hpoint(axis: Axes, estimate: stats.Estimate, height: float, color: str) -> None:
    """Draw an estimate and its interval horizontally at a height."""
    spread = [[0.0], [0.0]]
    if estimate.low is not None and estimate.high is not None:
        spread = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
    axis.errorbar([estimate.value], [height], xerr=spread, fmt="o", color=color, capsize=2)
