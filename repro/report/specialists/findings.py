"""Findings on the claims of sections 5, 6.1 and 8, computed from the records."""

import numpy as np

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import NORMAL_QUANTILE, Estimate
from repro.report.format import in_epochs
from repro.report.query import direction, interval, percent, select, signed
from repro.report.records import Record
from repro.report.section import Finding
from repro.report.specialists import analysis, costs, covers, overfitting
from repro.report.specialists.analysis import Gain
from repro.report.specialists.covers import COVER
from repro.report.specialists.redistilled import STUDENTS, are_among, fraction_of_gain
from repro.specialists.runs import Arm


def findings(records: list[Record]) -> list[Finding]:
    """Return a finding for every claim that the records cover."""
    change = analysis.gain(records)
    if change is None:
        return []
    return [
        *_accuracies(records, change),
        *_covers(change),
        *_slope(change),
        *_soft_regularizer(records),
        *_redistilled(records),
    ]


def _accuracies(records: list[Record], change: Gain) -> list[Finding]:
    """Return accuracy, overall and conditional, and the relative gain (Table 3)."""
    difference, conditional = change.difference(), change.conditional_difference()
    relative = stats.mean_interval(change.relative())
    over_classes = percent(change.over_classes(np.divide, change.right[1] - change.right[0], change.right[0]))
    over_control, note = _over_control(records, change)
    by_control = None if over_control is None else direction(over_control, "specialists.with_acc")
    from_classes = 0.0 if over_classes.low is None or over_classes.high is None else (
        (over_classes.high - over_classes.low) / (2 * NORMAL_QUANTILE)
    ) ** 2  # fmt: skip
    return [
        Finding("specialists.baseline_acc", stats.mean_interval(change.accuracy(0))),
        Finding("specialists.baseline_conditional", stats.mean_interval(change.conditional(0))),
        Finding("specialists.with_acc", stats.mean_interval(change.accuracy(1)),
                paper.all_of(direction(difference, "specialists.with_acc"), by_control),
                f"paired difference {signed(difference)} pp{note}", effect=difference),
        Finding("specialists.with_conditional", stats.mean_interval(change.conditional(1)),
                paper.all_of(direction(conditional, "specialists.with_conditional"), by_control),
                f"paired difference {signed(conditional)} pp; the control is that of the overall accuracy{note}",
                effect=conditional),
        Finding("specialists.relative_gain", relative,
                paper.all_of(direction(relative, "specialists.relative_gain"), by_control),
                f"interval over seeds; over classes {interval(over_classes, '.2f')}{note}; the run's interval "
                "has the variance of both",
                stats.prediction_interval(change.relative(), from_classes)),
    ]  # fmt: skip


def _over_control(records: list[Record], change: Gain) -> tuple[Estimate | None, str]:
    """Return the gain in points over the generalist trained longer, and a remark; None where there is no such run."""
    rows = costs.systems(records)
    control = costs.longer(rows) if rows else None
    if control is None:
        return None, "; not judged without a generalist trained longer"
    more, ours = analysis.paired(change.accuracy(1), control.accuracy), costs.specialists(rows)
    cheaper = "" if control.train_cost >= ours.train_cost or control.is_near(ours, "train_cost") else (
        f" (training cost {control.train_cost:.2f} generalists, with specialists {ours.train_cost:.2f})"
    )  # fmt: skip
    pairs = list(zip(change.accuracy(1), control.accuracy, strict=False))
    relative = ""
    if all(theirs for _, theirs in pairs):
        gains = stats.mean_interval([100 * (combined / theirs - 1) for combined, theirs in pairs])
        relative = f", {signed(gains)}%"
    return more, f"; over the {control.name}{cheaper} {signed(more)} pp{relative}"


def _covers(change: Gain) -> list[Finding]:
    """Return the relative gain by number of covering specialists (Table 4)."""
    return [
        Finding(f"specialists.cover_{name}", cover.over_classes, note=
                f"{cover.images.mean():.0f} test images for each seed, {cover.classes} classes over all seeds; "
                "interval over classes")
        for name, cover in zip(COVER, covers.covers(change), strict=True)
        if cover.over_classes is not None and cover.is_large
    ]  # fmt: skip


def _slope(change: Gain) -> list[Finding]:
    """Return the slope of the relative gain on the number of covering specialists (Table 4)."""
    ours = covers.slope(change)
    if ours is None:
        return []
    notes = ["interval over classes and seeds"]
    within, ranks = covers.slope_within_classes(change), covers.rank_correlation(change)
    if within is not None:
        notes.append(f"with class fixed effects {signed(within)} pp per specialist")
    if ranks is not None:
        theirs_ranked = covers.rank_correlation_of_paper()
        notes.append(f"rank correlation of the rows of Table 4 {ranks:.2f} (paper: {theirs_ranked:.2f})")
    return [Finding("specialists.cover_trend", ours, direction(ours, "specialists.cover_trend"), "; ".join(notes))]


def _soft_regularizer(records: list[Record]) -> list[Finding]:
    """Compare full-softmax specialists with soft targets with dustbin specialists (section 6.1)."""
    dustbin, hard, soft = (overfitting.gain(records, kind) for kind in overfitting.KINDS)
    if soft is None or hard is None or dustbin is None:
        return []
    ours = analysis.paired(soft.accuracy(1), dustbin.accuracy(1))
    without = analysis.paired(hard.accuracy(1), dustbin.accuracy(1))
    by_targets = analysis.paired(soft.accuracy(1), hard.accuracy(1))
    note = (
        f"full softmax: soft minus hard targets {signed(by_targets)} pp; hard targets minus dustbin {signed(without)} "
        f"pp; {analysis.num_ablated(records)} specialists each"
    )
    return [Finding("specialists.soft_regulariser", ours, note=note)]


def _redistilled(records: list[Record]) -> list[Finding]:
    """Compare a network distilled from generalist and specialists with the generalist (section 8)."""
    distilled, generalist = (analysis.accuracy(records, arm) for arm in (Arm.REDISTILLED, Arm.GENERALIST))
    change = analysis.gain(records)
    if change is None or not distilled:
        return []
    ours = analysis.paired(distilled, generalist)
    others = {label: analysis.accuracy(records, arm) for arm, label in STUDENTS.items() if arm != Arm.REDISTILLED}
    others |= {
        f"generalist trained {in_epochs(count)} longer": analysis.accuracy_of(longer)
        for count, longer in analysis.by_epochs(records, Arm.LONGER).items()
        if not are_among(select(records, Arm.ON_LABELS), longer)
    }
    notes = [
        f"delta vs {label}: {signed(analysis.paired(distilled, other))} pp" for label, other in others.items() if other
    ]
    fraction = fraction_of_gain(distilled, generalist, change.accuracy(1))
    if fraction is not None:
        notes.insert(0, f"{fraction.value:.2f} {interval(fraction, '.2f')} of the specialists' gain")
    return [Finding("specialists.distilled_back", ours, note="; ".join(notes))]
