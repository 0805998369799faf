"""Findings on the claims of sections 5, 6.1 and 8, computed from the records."""

from repro import paper
from repro.evaluation import stats
from repro.report.query import interval, percent, positive, signed
from repro.report.records import Record
from repro.report.section import Finding
from repro.report.specialists import analysis
from repro.report.specialists.analysis import COVER, MIN_IMAGES, Gain
from repro.specialists.runs import Arm


def findings(records: list[Record]) -> list[Finding]:
    """Return a finding for every claim that the records cover."""
    change = analysis.gain(records)
    if change is None:
        return []
    return [
        *_accuracies(records, change),
        *_covers(change),
        *_trend(change),
        *_soft_regularizer(records),
        *_redistilled(records),
    ]


def _accuracies(records: list[Record], change: Gain) -> list[Finding]:
    """Return accuracy, overall and conditional, and the relative gain (Table 3)."""
    difference, conditional = change.difference(), change.conditional_difference()
    relative = stats.mean_interval(change.relative())
    over_images = percent(stats.ratio_over_cases(change.right[1] - change.right[0], change.right[0]))
    control = analysis.accuracy(records, Arm.LONGER)
    versus_longer = ""
    if len(control) == len(change.right[1]):
        more = stats.paired_difference(change.accuracy(1), control)
        versus_longer = f"; delta vs generalist trained longer {signed(more)} pp"
    return [
        Finding("specialists.baseline_acc", stats.mean_interval(change.accuracy(0)), True),
        Finding("specialists.baseline_conditional", stats.mean_interval(change.conditional(0)), True),
        Finding("specialists.with_acc", stats.mean_interval(change.accuracy(1)), positive(difference),
                f"paired difference {signed(difference)} pp{versus_longer}", effect=difference),
        Finding("specialists.with_conditional", stats.mean_interval(change.conditional(1)), positive(conditional),
                f"paired difference {signed(conditional)} pp", effect=conditional),
        Finding("specialists.relative_gain", relative, positive(relative),
                f"interval over seeds; over test images {interval(over_images, '.2f')}{versus_longer}"),
    ]  # fmt: skip


def _covers(change: Gain) -> list[Finding]:
    """Return the relative gain by number of covering specialists (Table 4)."""
    results = []
    for number, (name, cover) in enumerate(zip(COVER, analysis.covers(change), strict=True)):
        ours = analysis.cover_over_images(change, number)
        if ours is not None and cover.images.min() > 0:
            images = f"{cover.images.mean():.0f} test images for each seed"
            note = f"{images}; interval over images, which treats those of a class as independent"
            results.append(Finding(f"specialists.cover_{name}", ours, True, note))
    return results


def _trend(change: Gain) -> list[Finding]:
    """Return the rank correlation of relative gain and number of covering specialists (Table 4)."""
    correlation = analysis.trend(change)
    if correlation is None:
        return []
    holds = correlation.value > 0.5 and positive(correlation)
    note = f"numbers of specialists with fewer than {MIN_IMAGES} test images are left out"
    theirs = paper.BY_ID["specialists.cover_trend"].figure
    low, high = correlation.low, correlation.high
    undecided = low is not None and high is not None and low <= 0 and high >= theirs
    if undecided:
        note += "; the interval, cut at -1 and 1, contains both no correlation and the paper's"
    return [Finding("specialists.cover_trend", correlation, holds, note, undecided)]


def _soft_regularizer(records: list[Record]) -> list[Finding]:
    """Compare full-softmax specialists with soft targets with dustbin specialists (section 6.1)."""
    soft = analysis.gain(records, Arm.KIND, kind="full softmax, soft targets")
    hard = analysis.gain(records, Arm.KIND, kind="full softmax, hard targets")
    dustbin = analysis.baseline(records)
    if soft is None or hard is None or dustbin is None:
        return []
    ours = stats.paired_difference(soft.accuracy(1), dustbin.accuracy(1))
    without = stats.paired_difference(hard.accuracy(1), dustbin.accuracy(1))
    note = f"full softmax, hard targets: {signed(without)} pp; {analysis.num_ablated(records)} specialists each"
    return [Finding("specialists.soft_regulariser", ours, positive(ours), note)]


def _redistilled(records: list[Record]) -> list[Finding]:
    """Compare a network distilled from generalist and specialists with the generalist (section 8)."""
    redistilled, generalist = (analysis.accuracy(records, arm) for arm in (Arm.REDISTILLED, Arm.GENERALIST))
    if not redistilled or len(redistilled) != len(generalist):
        return []
    ours = stats.paired_difference(redistilled, generalist)
    controls = (
        (Arm.SELF_DISTILLED, "distilled from the generalist"),
        (Arm.LONGER, "generalist trained longer"),
    )
    notes = [
        f"delta vs {label}: {signed(stats.paired_difference(redistilled, other))} pp"
        for arm, label in controls
        if len(other := analysis.accuracy(records, arm)) == len(redistilled)
    ]
    return [Finding("specialists.distilled_back", ours, positive(ours), "; ".join(notes))]
