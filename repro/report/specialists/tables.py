"""Tables of sections 5, 6.1 and 8: the paper's values beside ours, from the records alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.format import Literal
from repro.report.query import interval, percent, select, signed
from repro.report.records import Record
from repro.report.specialists import analysis, costs, covers, overfitting, redistilled
from repro.report.specialists.analysis import Gain
from repro.report.specialists.covers import COVER
from repro.specialists.runs import Arm

DEVELOPMENT = "paper (development set)"
SEEDS, CLASSES, BOTH = "95% CI over seeds", "95% CI over classes", "95% CI over classes and seeds"
# Rows of the table of ablations, filled in with the parameters of the arm.
ABLATIONS = {
    Arm.COMBINED: "none (Table 3)",
    Arm.TOP_N: "n = {top_n}",
    Arm.COUNT: "number of specialists: {count}",
    Arm.KIND: "kind: {kind}",
    Arm.CLUSTERING: "clustering: {clustering}",
    Arm.SUBSET_SIZE: "classes per specialist: {subset_size}",
    Arm.WIDTH: "generalist width: {width}",
}
COMPARED_WITH_REFERENCE = (Arm.KIND, Arm.CLUSTERING, Arm.SUBSET_SIZE, Arm.WIDTH)


def table3(records: list[Record]) -> pd.DataFrame:
    """Return conditional and overall accuracy without and with specialists, on test and validation images."""
    rows = []
    for split in ("test", "validation"):
        change = analysis.gain(records, split=split)
        if change is None:
            continue
        right, within = change.right, change.within
        rows += _accuracies(split, "conditional", change, change.conditional, within, change.covering)
        rows += _accuracies(split, "overall", change, change.accuracy, right, np.ones_like(change.covering))
        if split == "test":
            rows += _controls(records, change)
    return pd.DataFrame(rows)


def _controls(records: list[Record], change: Gain) -> list[dict[str, Any]]:
    """Return rows of Table 3 that compare specialists with controls: of equal cost, and with random classes."""
    others = {system.name: system.accuracy for system in costs.controls(costs.systems(records))}
    at_random = analysis.gain(records, Arm.CLUSTERING, clustering="random")
    if at_random is not None and analysis.num_ablated(records) == analysis.num_specialists(records):
        others["specialists of random classes"] = at_random.accuracy(1)
    rows = []
    for name, accuracy in others.items():
        ours = analysis.paired(change.accuracy(1), accuracy)
        rows.append({
            "split": "test", "accuracy": "overall", "system": f"with specialists minus {name} (pp)",
            DEVELOPMENT: "–", "ours": f"{ours.value:+.2f}", SEEDS: interval(ours, ".2f"), CLASSES: "–",
            "seeds": ours.count,
        })  # fmt: skip
    return rows


def _accuracies(
    split: str,
    name: str,
    images: Gain,
    accuracy: Callable[[int], list[float]],
    right: tuple[np.ndarray, np.ndarray],
    total: np.ndarray,
) -> list[dict[str, Any]]:
    """Return four rows of Table 3: before, after, their difference, the relative gain; ``images`` has the classes."""
    claim = {"conditional": "conditional", "overall": "acc"}[name]
    theirs = [paper.BY_ID[f"specialists.{system}_{claim}"].figure for system in ("baseline", "with")]
    before, after = accuracy(0), accuracy(1)
    change = right[1] - right[0]
    lines = (
        ("generalist", f"{theirs[0]:g}", stats.mean_interval(before), (right[0], total)),
        ("with specialists", f"{theirs[1]:g}", stats.mean_interval(after), (right[1], total)),
        ("difference (pp)", f"{theirs[1] - theirs[0]:+.1f}", stats.paired_difference(after, before), (change, total)),
        ("relative gain (%)", f"{100 * (theirs[1] / theirs[0] - 1):+.1f}",
         stats.mean_interval(analysis.percent_gain(*right)), (change, right[0])),
    )  # fmt: skip
    return [
        {
            "split": split, "accuracy": name, "system": system, DEVELOPMENT: figure, "ours": f"{ours.value:.2f}",
            SEEDS: interval(ours, ".2f"), CLASSES: _over_classes(images, *ratio), "seeds": ours.count,
        }
        for system, figure, ours, ratio in lines
    ]  # fmt: skip


def _over_classes(images: Gain, numerator: np.ndarray, denominator: np.ndarray) -> str:
    """Return the interval over classes, in percent, of a ratio of sums over seeds and images."""
    return interval(percent(images.over_classes(np.divide, numerator, denominator)), ".2f")


def table4(records: list[Record]) -> pd.DataFrame:
    """Return the change by number of specialists that cover the correct class."""
    change = analysis.gain(records)
    if change is None:
        return pd.DataFrame()
    rows = []
    for number, (name, cover) in enumerate(zip(COVER, covers.covers(change), strict=True)):
        relative, correct = cover.over_seeds, stats.mean_interval(cover.after - cover.before)
        rows.append(
            {
                "specialists covering": name.replace("plus", " or more"),
                "paper: examples": f"{paper.COVER_EXAMPLES[number]:,}",
                "paper: change in correct": f"{paper.COVER_CHANGES[number]:+,}",
                "paper: relative gain (%)": f"{paper.COVER_GAINS[number]:+.1f}",
                "ours: examples": f"{cover.images.mean():,.1f}",
                "ours: classes over seeds": cover.classes,
                "ours: change in correct": f"{correct.value:+,.1f} {interval(correct)}",
                "ours: relative gain (%)": "–" if relative is None else f"{relative.value:+.2f}",
                SEEDS: "–" if relative is None else interval(relative, ".2f"),
                CLASSES: interval(cover.over_classes, ".2f") if cover.over_classes and cover.is_large else "–",
            }
        )
    return pd.DataFrame(rows)


def cover_slopes(records: list[Record]) -> pd.DataFrame:
    """Return the growth of the gain with the number of covering specialists, in three statistics."""
    change = analysis.gain(records)
    if change is None:
        return pd.DataFrame()
    slope, within, ranks = covers.slope(change), covers.slope_within_classes(change), covers.rank_correlation(change)
    lines = (
        ("slope of the relative gain, % per specialist", f"{paper.COVER_SLOPE:+.2f}", slope),
        ("slope of the gain with class fixed effects, pp per specialist", "–", within),
        ("rank correlation of the rows of Table 4", f"{covers.rank_correlation_of_paper():+.2f}",
         None if ranks is None else Estimate(ranks, None, None, len(change.covering))),
    )  # fmt: skip
    return pd.DataFrame([
        {"statistic": name, "paper": theirs, "ours": f"{ours.value:+.2f}", BOTH: interval(ours, ".2f"),
         "seeds": ours.count}
        for name, theirs, ours in lines if ours is not None
    ])  # fmt: skip


def ablations(records: list[Record]) -> pd.DataFrame:
    """Return the gain in accuracy, overall and conditional, with one setting varied at a time."""
    count, reference = analysis.num_ablated(records), analysis.baseline(records)
    rows = []
    for arm, label in ABLATIONS.items():
        for group in _groups(select(records, arm)):
            params = group[0]["params"]
            name = label.format(**params)
            if params.get("fraction", 1) < 1:
                name += f", {params['fraction']:.0%} of the training images"
            if arm == Arm.COUNT and params["count"] == count:
                name += " (reference of kind, clustering, classes and width)"
            against = reference if arm in COMPARED_WITH_REFERENCE else None
            rows.append(_ablation(group, name, against))
    return pd.DataFrame(rows)


def _groups(records: list[Record]) -> list[list[Record]]:
    """Group the records of an arm by its parameters, in the order of their values."""
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record["params"].values()), []).append(record)
    return [groups[values] for values in sorted(groups)]


def _ablation(records: list[Record], name: str, reference: Gain | None) -> dict[str, Any]:
    """Return a row; its gain is compared with that of ``reference`` on the seeds that both have."""
    change, on_validation = (analysis.gain_of(records, split) for split in ("test", "validation"))
    overall, relative = change.difference(), stats.mean_interval(change.relative())
    return {
        "varied": name,
        "specialists": records[0]["metrics"]["count"],
        "n": records[0]["settings"]["top_n"],
        "images covered": f"{(change.covering > 0).mean():.1%}",
        "mean active": f"{np.mean([r['metrics']['test_mean_active'] for r in records]):.2f}",
        "generalist": f"{np.mean(change.accuracy(0)):.2f}",
        "with specialists": f"{np.mean(change.accuracy(1)):.2f}",
        "gain (pp)": signed(overall),
        "minus reference (pp)": "–"
        if reference is None
        else signed(analysis.paired(_gains(change), _gains(reference))),
        "relative gain (%)": signed(relative),
        "conditional gain (pp)": signed(change.conditional_difference()),
        "validation gain (pp)": signed(on_validation.difference()),
        "seeds": overall.count,
    }


def _gains(change: Gain) -> list[float]:
    """Return the gain in accuracy in points, of each seed."""
    return [after - before for before, after in zip(change.accuracy(0), change.accuracy(1), strict=True)]


def equal_compute(records: list[Record]) -> pd.DataFrame:
    """Compare specialists with ensembles of generalists and a generalist trained longer, with their costs."""
    rows = costs.systems(records)
    if not rows:
        return pd.DataFrame()
    ours = next(row.accuracy for row in rows if row.kind == "specialists")
    in_training, at_test = (costs.nearest_ensemble(rows, cost) for cost in ("train_cost", "test_cost"))
    table = []
    for row in rows:
        accuracy, difference = stats.mean_interval(row.accuracy), analysis.paired(ours, row.accuracy)
        near = [label for label, other in (("in training", in_training), ("at test", at_test)) if other is row]
        table.append(
            {
                "system": row.name,
                "training cost (generalists)": f"{row.train_cost:.2f}",
                "test cost (generalists)": f"{row.test_cost:.2f}",
                "nearest ensemble": ", ".join(near) or "–",
                "accuracy": f"{accuracy.value:.2f} {interval(accuracy, '.2f')}",
                "specialists - this (pp)": "–" if row.kind == "specialists" else signed(difference),
                "seeds": accuracy.count,
            }
        )
    return pd.DataFrame(table)


def clusters(examples: dict[str, Any]) -> pd.DataFrame:
    """Return the most confused classes of the first specialists (Table 2)."""
    groups = [("paper", names) for names in paper.CLUSTERS] + [("ours", names) for names in examples["clusters"]]
    rows = [{"specialists": source, "classes": Literal("; ".join(names))} for source, names in groups]
    return pd.DataFrame(rows, dtype=object)


TABLE_2 = "Table 2: classes of some specialists, the most confusable first; of ours the first dozen"
TABLES: dict[str, tuple[str, Callable[[list[Record]], pd.DataFrame]]] = {
    "table3": ("Table 3: accuracy within the special classes and overall, in percent", table3),
    "table4": ("Table 4: change by number of specialists that cover the correct class, test images", table4),
    "cover_slopes": ("Growth of the gain with the number of covering specialists, test images", cover_slopes),
    "ablations": ("Ablations: one setting varied at a time, test images", ablations),
    "kinds": ("Section 6.1: soft targets as regularizers of specialists", overfitting.kinds),
    "redistilled": (
        "Section 8: generalist and specialists distilled into one network, test images",
        redistilled.redistilled,
    ),
    "search": ("Search on the validation images", redistilled.search),
    "equal_compute": (
        "Equal-compute baselines: ensembles of generalists and longer training, test images",
        equal_compute,
    ),
}
