"""The figures of sections 5, 6.1 and 8 on specialists, drawn from the records and from what was kept to be shown."""

import base64
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from repro import paper
from repro.evaluation import stats
from repro.report.plotting import FOURTH, OURS, PAPER, SECOND, THIRD, legend, level, points
from repro.report.query import select
from repro.report.records import Record
from repro.report.specialists import analysis as claims
from repro.report.specialists import tables
from repro.report.specialists.analysis import COVER, MAIN

NUMBER = "number of specialists"


def covariance(shown: dict[str, Any]) -> Figure:
    """The generalist's predictions: which classes are named together, ordered by specialist."""
    figure, axis = plt.subplots(figsize=(6.4, 5.6))
    matrix, classes, covered = np.array(shown["covariance"]), shown["classes"], shown["covered"]
    image = axis.imshow(matrix, cmap="RdBu_r", vmin=-0.3, vmax=0.3, extent=(0, classes, classes, 0), aspect="equal")
    side, rest = -(-classes // len(matrix)), ""
    cells = f"; a cell is the largest in magnitude of up to {side} x {side}" if side > 1 else ""
    if covered < classes:
        rest = "; beyond the dotted line: in none"
        for line in (axis.axvline, axis.axhline):
            line(covered, color="black", linewidth=0.6, linestyle=":")
    axis.set_title("Correlations of the generalist's predictions, classes in the order of the\nspecialists, each "
                   f"with the first that has it{rest}\nthe diagonal is left out{cells}", fontsize=8.5)  # fmt: skip
    axis.set_xlabel("class")
    axis.set_ylabel("class")
    figure.colorbar(image, shrink=0.8, label="correlation, cut at ±0.3")
    figure.tight_layout()
    return figure


def contact_sheet(shown: dict[str, Any]) -> Figure:
    """Table 2 in pictures: some classes of some specialists, a training image each."""
    clusters, examples = shown["clusters"], shown["examples"]
    columns = max(len(row) for row in examples)
    figure, axes = plt.subplots(len(clusters), columns, figsize=(1.5 * columns, 1.35 * len(clusters)), squeeze=False)
    for number, (row, names, images) in enumerate(zip(axes, clusters, examples, strict=True), 1):
        for axis in row:
            axis.set_axis_off()
        for axis, name, image in zip(row, names, images, strict=False):
            if image is not None:
                _image(axis, image)
            axis.set_title(_fold(name), fontsize=6.5, pad=2)
        row[0].text(-0.3, 0.5, str(number), transform=row[0].transAxes, fontsize=9, va="center", color=OURS)
    figure.suptitle(
        "Confusable classes found without labels: a row for each of the first specialists,\n"
        "a training image for each of its most confusable classes",
        fontsize=9,
    )
    figure.tight_layout()
    return figure


def cover(records: list[Record]) -> Figure:
    """Relative gain by number of specialists that cover the right class, beside the paper's Table 4."""
    figure, axis = plt.subplots(figsize=(6.8, 4))
    found = claims.gain_of(select(records, MAIN))
    rows = {k: gain for k in range(len(COVER)) if (gain := claims.cover_over_images(found, k)) is not None}
    points(axis, list(rows), list(rows.values()), OURS, "ours, 95% over test images (over seeds: Table 4)")
    axis.plot(range(len(COVER)), paper.COVER_GAINS, "*--", color=PAPER, markersize=9, linewidth=0.8, label="paper")
    # A number of specialists that few images have has an interval as wide as the page: the means limit the scale.
    values = [estimate.value for estimate in rows.values()] + list(paper.COVER_GAINS)
    ends = values + [end for estimate in rows.values() for end in (estimate.low, estimate.high) if end is not None]
    low, high = max(min(ends), min(values) - 12) - 1, min(max(ends), max(values) + 12) + 1
    axis.set_ylim(min(low, -3.0), high)
    cut = " (wide intervals are cut)" if min(ends) < low or max(ends) > high else ""
    axis.axhline(0, color="black", linewidth=0.6)
    images = [f"{cover.images.mean():.0f}" for cover in claims.covers(found)]
    axis.set_xticks(
        range(len(COVER)), [f"{n.replace('plus', '+')}\n{count}" for n, count in zip(COVER, images, strict=True)]
    )
    axis.set_xlabel("specialists that cover the right class; below: test images of such classes, mean over seeds")
    axis.set_ylabel("relative gain of accuracy, %")
    axis.set_title(f"Table 4: relative gain by number of covering specialists{cut}", fontsize=10)
    legend(axis, fontsize=8)
    figure.tight_layout()
    return figure


def by_specialist(records: list[Record]) -> Figure:
    """Each specialist's gain within its own classes."""
    figure, axis = plt.subplots(figsize=(6.8, 4))
    for record in select(records, MAIN):
        rows = np.array(record["metrics"]["test_by_specialist"], dtype=float)
        rows = rows[rows[:, 0] > 0]
        gains = np.sort(100 * (rows[:, 2] - rows[:, 1]) / rows[:, 0])
        axis.plot(np.linspace(0, 100, len(gains)), gains, marker=".", linewidth=1, color=OURS, alpha=0.4,
                  label="each seed" if not axis.lines else None)  # fmt: skip
    found = claims.gain_of(select(records, MAIN))
    mean = stats.paired_difference(found.conditional(1), found.conditional(0))
    level(axis, mean, OURS, f"mean {mean.value:+.2f}, 95% over seeds")
    printed = [paper.BY_ID[f"specialists.{s}_conditional"].figure for s in ("baseline", "with")]
    gain = printed[1] - printed[0]
    axis.axhline(gain, color=PAPER, linestyle="--", linewidth=1, label=f"paper (development set), {gain:+.1f}")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_xlabel("rank of the specialist by its gain, % of specialists")
    axis.set_ylabel("gain within the specialist's own classes, points")
    axis.set_title("Gain of each specialist, test images", fontsize=10)
    legend(axis, fontsize=8)
    figure.tight_layout()
    return figure


def changed(shown: dict[str, Any]) -> Figure:
    """Test images on which equation 5 changed the answer, with the three best before and after."""
    cases = shown["changed"]
    columns = 2
    lines = max(1, -(-len(cases) // columns))
    figure, axes = plt.subplots(
        lines, 2 * columns, figsize=(10, 1.25 * lines), squeeze=False, width_ratios=[1, 3.2] * columns
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for number, case in enumerate(cases):
        row, column = number % lines, 2 * (number // lines)
        _image(axes[row][column], case["image"])
        said = "\n".join(
            f"{when}: " + ", ".join(f"{_plain(name)} {value:.2f}" for name, value in case[key])
            for when, key in (("generalist", "before"), ("with specialists", "after"))
        )
        axes[row][column + 1].text(
            0, 0.5, f"{_plain(case['label'])} ({case['kind']})\n{said}", fontsize=6, va="center",
            color=OURS if case["kind"] == "corrected" else PAPER,
        )  # fmt: skip
    totals = ", ".join(f"{count} {kind}" for kind, count in shown["changes"].items())
    images = shown["test_images"]
    figure.suptitle(f"Where equation 5 made an answer right or wrong: {totals}, of {images} test images\n"
                    "(first seed); the first of each, in the order of the test set", fontsize=9)  # fmt: skip
    figure.tight_layout()
    return figure


def gain_by_setting(records: list[Record]) -> Figure:
    """Relative gain against number of specialists, size, width of the nets, and the choice of subsets: a panel for
    each that was varied."""
    panels = varied(records)
    figure, axes = plt.subplots(1, len(panels), figsize=(1 + 2.9 * len(panels), 3.6), sharey=True, squeeze=False)
    for axis, (label, found, colour, style) in zip(axes[0], panels, strict=True):
        named = isinstance(next(iter(found)), str)
        where = list(range(len(found))) if named else sorted(found)
        values = list(found.values()) if named else [found[value] for value in where]
        points(axis, where, [stats.mean_interval(value.relative()) for value in values], colour, "ours", style=style)
        if named:
            axis.set_xticks(where, list(found))
            axis.set_xlim(-0.5, len(found) - 0.5)
        axis.set_xlabel(label)
        axis.axhline(0, color="black", linewidth=0.6)
    if panels[0][0] == NUMBER:
        axes[0, 0].plot(61, paper.BY_ID["specialists.relative_gain"].figure, "*", color=PAPER, markersize=9,
                        label="paper (development set)")  # fmt: skip
        legend(axes[0, 0])
    axes[0, 0].set_ylabel("relative gain of accuracy, %")
    figure.suptitle("What the gain depends on: mean over seeds, 95% intervals, test images", fontsize=10)
    figure.tight_layout()
    return figure


def varied(records: list[Record]) -> list[tuple[str, dict[Any, Any], str, str]]:
    """The studies that tried more than one value."""
    return [study for study in _studies(records) if len(study[1]) > 1]


def _studies(records: list[Record]) -> list[tuple[str, dict[Any, Any], str, str]]:
    """Of each study: a label, the gain at each of its values, a colour and a line."""
    count, main = claims.studied(records), claims.baseline(records)
    of = "" if count is None else f" ({count} specialists)"
    nets = {name: select(records, name) for name in ("generalist", "specialist")}
    own = {
        "size": len(nets["specialist"][0]["settings"]["subset"]) if nets["specialist"] else 0,
        "width": nets["generalist"][0]["settings"]["width"] if nets["generalist"] else 0,
        "method": nets["specialist"][0]["settings"]["method"] if nets["specialist"] else "",
    }

    def varied(name: str) -> dict[Any, Any]:
        prefix = f"{MAIN}, {name}: "
        there = {r["arm"].removeprefix(prefix): r["arm"] for r in records if r["arm"].startswith(prefix)}
        found = {own[name]: main} | {
            value if name == "method" else int(value): claims.gain(records, arm) for value, arm in there.items()
        }
        return {value: gain for value, gain in found.items() if gain is not None}

    counts = {r["metrics"]["count"] for r in select(records, f"{MAIN}, count")}
    number = {count: claims.gain(claims.of_count(records, count), f"{MAIN}, count") for count in counts}
    number |= {r["metrics"]["count"]: claims.gain(records) for r in select(records, MAIN)[:1]}
    return [
        (NUMBER, {n: gain for n, gain in number.items() if gain is not None}, OURS, "-"),
        (f"classes of a specialist{of}", varied("size"), OURS, "-"),
        (f"width of the nets, channels{of}", varied("width"), OURS, "-"),
        (f"how subsets are chosen{of}", varied("method"), SECOND, "none"),
    ]


def equal_cost(records: list[Record]) -> Figure:
    """Accuracy against cost of training and of use: specialists, ensembles of generalists, longer training, distilled
    nets."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    rows = tables.costs(records)
    for axis, cost, label in ((axes[0], 0, "training"), (axes[1], 1, "use on a test image")):
        ensembles = [rows[0], *(row for row in rows if row[0].startswith(tables.ENSEMBLE))]
        points(axis, [row[1][cost] for row in ensembles], [stats.mean_interval(row[2]) for row in ensembles], SECOND,
               "ensembles of generalists")  # fmt: skip
        for name, at, values in rows[1:]:
            if not name.startswith(tables.ENSEMBLE):
                colour, marker = (OURS, "D") if name == rows[1][0] else (FOURTH, "s")
                # In use three nets cost the same, and would lie on each other.
                aside = 0.05 if cost == 1 and at[cost] == 1 else 0
                points(axis, [at[cost] + aside], [stats.mean_interval(values)], colour, name, "none", marker)
        back = claims.accuracy(records, "distilled from generalist and specialists")
        if back and cost == 1:
            points(axis, [0.95], [stats.mean_interval(back)], THIRD, "generalist with specialists, distilled back",
                   "none", "^")  # fmt: skip
        axis.set_xlabel(f"cost of {label} (1: one generalist)")
        legend(axis, fontsize=8)
    axes[0].set_ylabel("test accuracy, %")
    figure.suptitle(
        "Accuracy and cost: mean over seeds, 95% intervals (the distilled net's training is not drawn)", fontsize=10
    )
    figure.tight_layout()
    return figure


def _image(axis, image: dict[str, Any]) -> None:
    array = np.frombuffer(base64.b64decode(image["bytes"]), np.uint8).reshape(image["shape"])
    grey = array.shape[0] == 1
    axis.imshow(array[0] if grey else array.transpose(1, 2, 0), cmap="gray" if grey else None, vmin=0, vmax=255)


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _fold(name: str) -> str:
    words, lines = _plain(name).split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 14 and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:2])
