"""Tables of section 3: the paper's figures beside ours."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from repro import paper
from repro.evaluation import metrics, stats
from repro.mnist.runs import Arm
from repro.models.flops import count_multiply_adds, count_parameters
from repro.report.mnist import analysis, transfer
from repro.report.mnist.gradients import gradient_ratios
from repro.report.query import interval, select
from repro.report.records import Record

TEST_CASES = 10_000
# Name of the row and its claim.
HEADLINE = {
    Arm.TEACHER: ("teacher {0}, dropout, weight constraint, translations", "mnist.teacher_errors"),
    Arm.BASELINE: ("baseline {0}, hard targets", "mnist.baseline_errors"),
    Arm.DISTILLED: ("distilled {0}, T={1:g}", "mnist.distilled_errors"),
    Arm.DISTILLED_SOFT_ONLY: ("distilled {0}, T={1:g}, soft targets only", ""),
}

DATA_FRACTION_EPOCHS = {"last epoch": "test_errors", "early-stopped": "stopped_errors"}


def headline(records: list[Record]) -> pd.DataFrame:
    """Return errors of teacher, baseline and distilled network beside the paper's 67, 146 and 74 errors."""
    rows = []
    for arm, (name, claim) in HEADLINE.items():
        runs = select(records, arm)
        if not runs:
            continue
        settings = runs[0]["settings"]
        estimate = stats.mean_interval(analysis.errors(runs))
        printed = paper.BY_ID[claim].paper if claim else None
        sizes = (784, *settings["hidden"], 10)
        agreement = [run["metrics"]["agreement"] for run in runs if run["settings"]["teacher"]]
        rows.append({
            "model": name.format(analysis.layers(settings["hidden"]), float(settings["temperature"])),
            "paper": f"{printed:g}" if printed else "–",
            "paper's 95% CI (Wilson)": _wilson(int(printed)) if printed else "–",
            "ours": f"{estimate.value:.1f}",
            "95% CI": interval(estimate),
            "each seed": " ".join(f"{count:.0f}" for count in analysis.errors(runs)),
            "training errors": f"{_mean_of(runs, 'train_errors'):.0f}",
            "teacher agreement": f"{sum(agreement) / len(agreement):.2%}" if agreement else "–",
            "ECE": f"{_mean_of(runs, 'test_ece'):.2%}",
            "NLL (nats)": f"{_mean_of(runs, 'test_nll'):.4f}",
            "parameters": f"{count_parameters(sizes):,}",
            "MACs": f"{count_multiply_adds(sizes):,}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def gap(records: list[Record]) -> pd.DataFrame:
    """Return the fraction of the gap closed, and the paired comparisons behind the headline."""
    rows = [
        {
            "comparison": "fraction of the gap from baseline to teacher closed",
            "paper": paper.BY_ID[finding.claim].paper,
            "ours": f"{finding.ours.value:.2f}",
            "95% CI": interval(finding.ours, ".2f"),
            "McNemar p, each seed": "–",
        }
        for finding in analysis.findings(records)
        if finding.claim == "mnist.gap_closed"
    ]
    pairs = (
        (Arm.BASELINE, Arm.DISTILLED), (Arm.DISTILLED, Arm.TEACHER), (Arm.DISTILLED_SOFT_ONLY, Arm.DISTILLED),
    )  # fmt: skip
    for first, second in pairs:
        a, b = select(records, first), select(records, second)
        if not a or len(a) != len(b):
            continue
        difference = stats.paired_difference(analysis.errors(a), analysis.errors(b))
        wrong = [
            [metrics.unpack(run["metrics"]["test_wrong"], TEST_CASES) for run in pair]
            for pair in zip(a, b, strict=True)
        ]
        printed = [paper.BY_ID[HEADLINE[arm][1]].figure for arm in (first, second) if HEADLINE[arm][1]]
        rows.append({
            "comparison": f"errors of {_words(first)} minus {_words(second)}",
            "paper": f"{printed[0] - printed[1]:g}" if len(printed) == 2 else "–",
            "ours": f"{difference.value:.1f}",
            "95% CI": interval(difference),
            "McNemar p, each seed": " ".join(f"{stats.mcnemar_p(*pair):.2g}" for pair in wrong),
        })  # fmt: skip
    return pd.DataFrame(rows)


def temperatures(records: list[Record]) -> pd.DataFrame:
    """Return mean test errors at every width and temperature, and on hard targets."""
    rows = []
    for units in analysis.widths(records):
        grid, table, hard = analysis.sweep(records, units)
        estimates = {"hard targets": stats.mean_interval(hard)}
        estimates |= {f"T={t:g}": stats.mean_interval(table[:, i]) for i, t in enumerate(grid)}
        regression = analysis.logit_regression(records, units)
        if regression:
            estimates["logit regression"] = stats.mean_interval(regression)
        best = min(estimate.value for estimate in estimates.values())
        rows += [
            {"hidden units": units, "targets": name, "errors": f"{estimate.value:.1f}", "95% CI": interval(estimate),
             "delta vs best": f"{estimate.value - best:.1f}"}
            for name, estimate in estimates.items()
        ]  # fmt: skip
    return pd.DataFrame(rows)


def missing_classes(records: list[Record]) -> pd.DataFrame:
    """Return errors on transfer sets without 3s and with 7s and 8s only, by protocol of the bias shift."""
    on_3 = [paper.BY_ID[f"mnist.no3_{part}errors_on_3"].paper for part in ("", "corrected_")]
    transfer_sets: list[tuple[str, analysis.Shifted | None, Sequence[tuple[float, int]], list[float | str]]] = [
        ("without 3s", analysis.without_3(records), paper.NO3_POINTS, on_3),
        ("only 7s and 8s", analysis.only_7_8(records), paper.ONLY78_POINTS, ["–", "–"]),
    ]
    rows = []
    for name, study, points, on_classes in transfer_sets:
        if study is None:
            continue
        protocols = (
            ("none", study.unshifted(), (*points[0], on_classes[0])),
            ("paper's protocol (test-tuned)", study.tuned, (*points[1], on_classes[1])),
            ("chosen on validation", study.honest, ("–", "–", "–")),
        )
        for protocol, shifts, (shift, errors, errors_on) in protocols:
            ours, ours_on = (stats.mean_interval(study.at(shifts, on)) for on in (False, True))
            rows.append({
                "transfer set": name, "bias shift": protocol, "paper: shift": shift,
                "ours: shift": f"{sum(study.shifts[i] for i in shifts) / len(shifts):.2f}",
                "paper: errors": errors, "ours: errors": f"{ours.value:.1f}", "95% CI": interval(ours),
                "paper: errors on these classes": errors_on, "ours: errors on these classes": f"{ours_on.value:.1f}",
                "95% CI (these classes)": interval(ours_on), "test cases in classes": study.cases_on,
            })  # fmt: skip
    return pd.DataFrame(rows)


def data_fractions(records: list[Record]) -> pd.DataFrame:
    """Return errors with soft and hard targets by data fraction, at the last and the best validation epoch."""
    rows = []
    for fraction in analysis.fractions(records):
        hard, soft = (
            select(records, Arm.DATA_FRACTION, fraction=fraction, targets=targets) for targets in ("hard", "soft")
        )
        if not hard or len(hard) != len(soft):
            continue
        row = {"fraction": f"{100 * fraction:g}%", "examples": f"{hard[0]['metrics']['train_cases']:,}"}
        for targets, runs in (("hard", hard), ("soft", soft)):
            for name, metric in DATA_FRACTION_EPOCHS.items():
                estimate = stats.mean_interval(analysis.errors(runs, metric))
                row[f"{targets}, {name}"] = f"{estimate.value:.1f} {interval(estimate)}"
        for name, metric in DATA_FRACTION_EPOCHS.items():
            gain = stats.paired_difference(analysis.errors(hard, metric), analysis.errors(soft, metric))
            row[f"hard minus soft, {name}"] = f"{gain.value:.1f} {interval(gain)}"
        rows.append(row)
    return pd.DataFrame(rows)


def theory(records: list[Record]) -> pd.DataFrame:
    """Return the gradient ratio of section 2.1 by T, beside students trained at T and by logit regression."""
    widest = max(analysis.widths(records), default=0)
    grid, table, _ = analysis.sweep(records, widest) if widest else ([], None, [])
    students = {t: stats.mean_interval(table[:, i]) for i, t in enumerate(grid)} if table is not None else {}
    regression = analysis.logit_regression(records, widest)
    if regression:
        students[math.inf] = stats.mean_interval(regression)
    ratios = gradient_ratios()
    rows = []
    for temperature in sorted(set(ratios) | (set(students) & {1.0, 4.0, 20.0, 100.0, math.inf})):
        estimate = students.get(temperature)
        rows.append({
            "T": "infinite (logit regression)" if math.isinf(temperature) else f"{temperature:g}",
            "exact / high-T gradient": f"{ratios[temperature]:.4f}" if temperature in ratios else "–",
            f"errors of a 2x{widest} student": f"{estimate.value:.1f} {interval(estimate)}" if estimate else "–",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _words(arm: Arm) -> str:
    return arm.replace("_", " ")


def _mean_of(runs: list[Record], metric: str) -> float:
    return stats.mean_interval(analysis.errors(runs, metric)).value


def _wilson(errors: int) -> str:
    """Return the Wilson interval of one network's test errors, as errors of 10,000."""
    return interval(stats.wilson(errors, TEST_CASES).each(lambda rate: TEST_CASES * rate), ".0f")


TABLES: dict[str, tuple[str, Callable[[list[Record]], pd.DataFrame]]] = {
    "headline": ("Section 3: test errors of 10,000", headline),
    "gap": ("Section 3: gap closed and paired comparisons", gap),
    "temperatures": ("Section 3: temperature and width, test errors of 10,000", temperatures),
    "missing_classes": ("Section 3: classes missing from the transfer set, test errors of 10,000", missing_classes),
    "data_fractions": ("Soft and hard targets on less data, test errors of 10,000", data_fractions),
    "transfer": ("Ablations of the distilled network, test errors of 10,000", transfer.table),
    "transfer_contrasts": (
        "Ablations of the distilled network, differences of test errors of 10,000, paired by seed",
        transfer.contrasts,
    ),
    "theory": ("Section 2.1: logit matching as the limit of high temperature", theory),
}  # fmt: skip
