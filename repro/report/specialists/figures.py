"""Figures of sections 5, 6.1 and 8, drawn from the records or from the stored examples of the first seed."""

import base64
import textwrap
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.format import count_range
from repro.report.plotting import FOURTH, OURS, PAPER, SECOND, THIRD, legend, level, literal, points
from repro.report.query import select
from repro.report.records import Record
from repro.report.specialists import analysis, costs, covers
from repro.report.specialists.costs import System
from repro.report.specialists.covers import COVER
from repro.specialists.runs import Arm


def covariance(examples: dict[str, Any]) -> Figure:
    """Draw correlations of the generalist's predictions, with the classes ordered by specialist."""
    figure = Figure(figsize=(6.4, 5.6))
    axis = figure.subplots()
    matrix, classes, covered = np.array(examples["covariance"]), examples["classes"], examples["covered"]
    image = axis.imshow(matrix, cmap="RdBu_r", vmin=-0.3, vmax=0.3, extent=(0, classes, classes, 0), aspect="equal")
    side, rest = -(-classes // len(matrix)), ""
    cells = f"; a cell is the largest in magnitude of up to {side} x {side}" if side > 1 else ""
    if covered < classes:
        rest = "; beyond the dotted line: not covered"
        for line in (axis.axvline, axis.axhline):
            line(covered, color="black", linewidth=0.6, linestyle=":")
    axis.set_title("Correlations of the generalist's predictions, classes in the order of the\nspecialists, each "
                   f"with the first that covers it{rest}\nthe diagonal is omitted{cells}", fontsize=8.5)  # fmt: skip
    axis.set_xlabel("class")
    axis.set_ylabel("class")
    figure.colorbar(image, shrink=0.8, label="correlation, clipped at ±0.3")
    figure.tight_layout()
    return figure


def contact_sheet(examples: dict[str, Any]) -> Figure:
    """Draw Table 2 as images: some classes of some specialists, with a training image of each class."""
    clusters, rows = examples["clusters"], examples["examples"]
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(max(1.5 * columns, 6), 1.35 * len(clusters)))  # wide enough for the title
    axes = figure.subplots(len(clusters), columns, squeeze=False)
    for number, (row, names, images) in enumerate(zip(axes, clusters, rows, strict=True), 1):
        for axis in row:
            axis.set_axis_off()
        for axis, name, image in zip(row, names, images, strict=False):
            if image is not None:
                _image(axis, image)
            axis.set_title(_fold(name), fontsize=6.5, pad=2)
        row[0].text(-0.3, 0.5, str(number), transform=row[0].transAxes, fontsize=9, va="center", color=OURS)
    figure.suptitle(
        "Confusable classes by clustering without labels: a row for each of the first specialists,\n"
        "a training image for each of its most confusable classes",
        fontsize=9,
    )
    figure.tight_layout()
    return figure


def cover(records: list[Record]) -> Figure:
    """Draw relative gain by number of specialists that cover the correct class, beside the paper's Table 4."""
    figure = Figure(figsize=(6.8, 4))
    axis = figure.subplots()
    change = analysis.gain(records)
    assert change is not None, "the figure is drawn where there are specialists"
    entries = covers.covers(change)
    rows = {k: entry.over_classes for k, entry in enumerate(entries) if entry.over_classes and entry.is_large}
    points(axis, list(rows), list(rows.values()), OURS, "ours, 95% CI over classes (over seeds: Table 4)")
    axis.plot(range(len(COVER)), paper.COVER_GAINS, "*--", color=PAPER, markersize=9, linewidth=0.8, label="paper")
    # Where images are few the interval is far wider than the differences of the means, which limit the axis.
    values = [estimate.value for estimate in rows.values()] + list(paper.COVER_GAINS)
    ends = values + [end for estimate in rows.values() for end in (estimate.low, estimate.high) if end is not None]
    low, high = max(min(ends), min(values) - 12) - 1, min(max(ends), max(values) + 12) + 1
    axis.set_ylim(min(low, -3.0), high)
    cut = " (wide intervals are clipped)" if min(ends) < low or max(ends) > high else ""
    axis.axhline(0, color="black", linewidth=0.6)
    images = [f"{cover.images.mean():.0f}" for cover in entries]
    axis.set_xticks(
        range(len(COVER)), [f"{n.replace('plus', '+')}\n{count}" for n, count in zip(COVER, images, strict=True)]
    )
    axis.set_xlabel("specialists that cover the correct class\nbelow: test images of such classes, mean over seeds")
    axis.set_ylabel("relative gain in accuracy, %")
    axis.set_title(f"Table 4: relative gain by number of covering specialists{cut}", fontsize=10)
    legend(axis, fontsize=8)
    figure.tight_layout()
    return figure


def by_specialist(records: list[Record]) -> Figure:
    """Draw the gain of each specialist within its special classes."""
    figure = Figure(figsize=(6.8, 4))
    axis = figure.subplots()
    for record in select(records, Arm.COMBINED):
        rows = np.array(record["metrics"]["test_by_specialist"], dtype=float)
        rows = rows[rows[:, 0] > 0]
        gains = np.sort(100 * (rows[:, 2] - rows[:, 1]) / rows[:, 0])
        axis.plot(np.linspace(0, 100, len(gains)), gains, marker=".", linewidth=1, color=OURS, alpha=0.4,
                  label="each seed" if not axis.lines else None)  # fmt: skip
    mean = analysis.gain_of(select(records, Arm.COMBINED)).conditional_difference()
    level(axis, mean, OURS, f"mean {mean.value:+.2f}, 95% CI over seeds")
    theirs = [paper.BY_ID[f"specialists.{s}_conditional"].figure for s in ("baseline", "with")]
    gain = theirs[1] - theirs[0]
    axis.axhline(gain, color=PAPER, linestyle="--", linewidth=1, label=f"paper (development set), {gain:+.1f}")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_xlabel("rank of the specialist by its gain, % of specialists")
    axis.set_ylabel("gain within the special classes, pp")
    axis.set_title("Gain of each specialist, test images", fontsize=10)
    legend(axis, fontsize=8)
    figure.tight_layout()
    return figure


def changed_predictions(examples: dict[str, Any]) -> Figure:
    """Draw test images whose prediction equation 5 changed, with the three most probable classes."""
    cases = examples["changed"]
    columns = 2
    lines = max(1, -(-len(cases) // columns))
    figure = Figure(figsize=(10, 1.1 * lines + 0.5))
    axes = figure.subplots(lines, 2 * columns, squeeze=False, width_ratios=[1, 5] * columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, case in enumerate(cases):
        row, column = number % lines, 2 * (number // lines)
        _image(axes[row][column], case["image"])
        text = partial(
            axes[row][column + 1].text, fontsize=6, va="top", color=OURS if case["kind"] == "corrected" else PAPER
        )
        text(0, 1, f"{_plain(case['label'])} ({case['kind']})")
        for place, when, key in ((0, "generalist", "before"), (0.5, "with specialists", "after")):
            predictions = [f"  {value:.2f} {_plain(name)}" for name, value in case[key]]
            text(place, 0.75, "\n".join([f"{when}:", *predictions]))
    totals = ", ".join(f"{count} {kind}" for kind, count in examples["changes"].items())
    images = examples["test_images"]
    figure.suptitle(f"Predictions that equation 5 corrected or broke: {totals}, of {images} test images\n"
                    "(first seed); the first of each, in the order of the test set", fontsize=9)  # fmt: skip
    figure.tight_layout()
    return figure


def ablations(records: list[Record]) -> Figure:
    """Draw relative gain by number of specialists, subset size, width and clustering: a panel for each ablation."""
    panels = analysis.ablations(records)
    figure = Figure(figsize=(max(5.5, 1 + 2.9 * len(panels)), 3.6))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        names = list(panel.gains) if panel.categorical else sorted(panel.gains)
        estimates = [stats.mean_interval(panel.gains[name].relative()) for name in names]
        if panel.categorical:
            points(axis, list(range(len(names))), estimates, SECOND, "ours", "none")
            axis.set_xticks(range(len(names)), names)
            axis.set_xlim(-0.5, len(names) - 0.5)
        else:
            points(axis, names, estimates, OURS, "ours")
        axis.set_xlabel(panel.label)
        axis.axhline(0, color="black", linewidth=0.6)
    if panels[0].label == analysis.NUMBER:
        axes[0, 0].plot(61, paper.BY_ID["specialists.relative_gain"].figure, "*", color=PAPER, markersize=9,
                        label="paper (development set)")  # fmt: skip
        legend(axes[0, 0])
    axes[0, 0].set_ylabel("relative gain in accuracy, %")
    counts = {len(gain.covering) for panel in panels for gain in panel.gains.values()}
    figure.suptitle(f"Ablations: mean over {count_range(counts)} seeds, 95% CI, test images", fontsize=10)
    figure.tight_layout()
    return figure


def equal_compute(records: list[Record]) -> Figure:
    """Draw accuracy against training and test cost of specialists and equal-compute baselines."""
    figure = Figure(figsize=(10, 4))
    axes = figure.subplots(1, 2, sharey=True)
    rows = costs.systems(records)
    ensembles = [row for row in rows if row.kind in ("generalist", "ensemble")]
    styles = {"specialists": (OURS, "D"), "longer": (FOURTH, "s")}
    for axis, cost, label in ((axes[0], "train_cost", "training"), (axes[1], "test_cost", "a test image")):
        points(axis, [getattr(row, cost) for row in ensembles], [_mean(row) for row in ensembles], SECOND,
               "ensembles of generalists")  # fmt: skip
        for row in rows:
            if row.kind in styles:
                color, marker = styles[row.kind]
                # At test time three systems have the same cost; they are drawn side by side.
                offset = 0.05 if cost == "test_cost" and row.test_cost == 1 else 0
                points(axis, [getattr(row, cost) + offset], [_mean(row)], color, row.name, "none", marker)
        redistilled = analysis.accuracy(records, Arm.REDISTILLED)
        if redistilled and cost == "test_cost":
            points(axis, [0.95], [stats.mean_interval(redistilled)], THIRD, "generalist with specialists, distilled",
                   "none", "^")  # fmt: skip
        axis.set_xlabel(f"cost of {label} (1: one generalist)")
        legend(axis, fontsize=8)
    axes[0].set_ylabel("test accuracy, %")
    distilled = " (training of the distilled network is not drawn)" if select(records, Arm.REDISTILLED) else ""
    seeds = count_range({len(row.accuracy) for row in rows})
    figure.suptitle(f"Accuracy by cost: mean over {seeds} seeds, 95% CI{distilled}", fontsize=10)
    figure.tight_layout()
    return figure


def _mean(system: System) -> Estimate:
    return stats.mean_interval(system.accuracy)


def _image(axis, image: dict[str, Any]) -> None:
    array = np.frombuffer(base64.b64decode(image["bytes"]), np.uint8).reshape(image["shape"])
    gray = array.shape[0] == 1
    axis.imshow(array[0] if gray else array.transpose(1, 2, 0), cmap="gray" if gray else None, vmin=0, vmax=255)


def _plain(name: str) -> str:
    return literal(_cut(name.replace("_", " "), 30))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _fold(name: str) -> str:
    return "\n".join(map(literal, textwrap.wrap(name.replace("_", " "), 18, max_lines=3, placeholder="…")))
