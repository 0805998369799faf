"""The tables of section 3: the paper's figures beside ours, from the records alone."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from repro import paper
from repro.evaluation import metrics, stats
from repro.models.flops import count_multiply_adds, count_parameters
from repro.report.mnist import analysis as claims
from repro.report.query import interval, select
from repro.report.records import Record

TEST_CASES = 10_000
HEADLINE = {
    "teacher": ("teacher 2x{0}, dropout, constraint, jitter", "mnist.teacher_errors"),
    "baseline": ("baseline 2x{0}, hard targets", "mnist.baseline_errors"),
    "distilled": ("distilled 2x{0}, T={1:g}", "mnist.distilled_errors"),
    "distilled, soft targets only": ("distilled 2x{0}, T={1:g}, soft targets only", ""),
}


def headline(records: list[Record]) -> pd.DataFrame:
    """Teacher, baseline and distilled net beside the paper's 67, 146 and 74."""
    rows = []
    for arm, (name, claim) in HEADLINE.items():
        found = select(records, arm)
        if not found:
            continue
        settings = found[0]["settings"]
        estimate = stats.mean_interval(claims.errors(found))
        printed = paper.BY_ID[claim].paper if claim else None
        sizes = (784, *settings["hidden"], 10)
        agreement = [r["metrics"]["agreement"] for r in found if r["settings"]["teacher"]]
        rows.append(
            {
                "net": name.format(settings["hidden"][0], float(settings["temperature"])),
                "paper": f"{printed:g}" if printed else "–",
                "paper's 95% (Wilson)": _of_cases(int(printed)) if printed else "–",
                "ours": f"{estimate.value:.1f}",
                "95% interval": interval(estimate),
                "each seed": " ".join(f"{e:.0f}" for e in claims.errors(found)),
                "training errors": f"{stats.mean_interval(claims.errors(found, 'train_errors')).value:.0f}",
                "agrees with teacher": f"{sum(agreement) / len(agreement):.2%}" if agreement else "–",
                "ECE": f"{stats.mean_interval(claims.errors(found, 'test_ece')).value:.2%}",
                "NLL (nats)": f"{stats.mean_interval(claims.errors(found, 'test_nll')).value:.4f}",
                "weights": f"{count_parameters(sizes):,}",
                "multiply-adds": f"{count_multiply_adds(sizes):,}",
            }
        )
    return pd.DataFrame(rows)


def gap(records: list[Record]) -> pd.DataFrame:
    """Share of the gap closed, and the paired comparisons behind the headline."""
    rows = []
    for finding in claims.findings(records):
        if finding.claim == "mnist.gap_closed":
            rows.append(
                {
                    "comparison": "share of the gap from baseline to teacher closed",
                    "paper": paper.BY_ID[finding.claim].paper,
                    "ours": f"{finding.ours.value:.2f}",
                    "95% interval": interval(finding.ours, ".2f"),
                    "McNemar p, each seed": "–",
                }
            )
    pairs = (("baseline", "distilled"), ("distilled", "teacher"), ("distilled, soft targets only", "distilled"))
    for first, second in pairs:
        a, b = select(records, first), select(records, second)
        if not a or len(a) != len(b):
            continue
        difference = stats.paired_difference(claims.errors(a), claims.errors(b))
        wrong = [
            [metrics.unpack(r["metrics"]["test_wrong"], TEST_CASES) for r in pair] for pair in zip(a, b, strict=True)
        ]
        ids = [HEADLINE[arm][1] for arm in (first, second)]
        figures = [paper.BY_ID[claim].figure for claim in ids if claim]
        rows.append(
            {
                "comparison": f"errors of {first} minus {second}",
                "paper": f"{figures[0] - figures[1]:g}" if len(figures) == 2 else "–",
                "ours": f"{difference.value:.1f}",
                "95% interval": interval(difference),
                "McNemar p, each seed": " ".join(f"{stats.mcnemar_p(*pair):.2g}" for pair in wrong),
            }
        )
    return pd.DataFrame(rows)


def temperatures(records: list[Record]) -> pd.DataFrame:
    """Mean test errors for every width and temperature, with intervals; the plain nets of each width."""
    rows = []
    for units in claims.widths(records):
        grid, table, plain = claims.sweep(records, units)
        estimates = {"hard targets": stats.mean_interval(plain)}
        estimates |= {f"T={t:g}": stats.mean_interval(table[:, i]) for i, t in enumerate(grid)}
        regression = select(records, "width x temperature", hidden=[units, units], temperature="inf")
        if regression:
            estimates["logit regression"] = stats.mean_interval(claims.errors(regression))
        best = min(estimate.value for estimate in estimates.values())
        for name, estimate in estimates.items():
            row = {"units": units, "targets": name, "errors": f"{estimate.value:.1f}"}
            rows.append(row | {"95% interval": interval(estimate), "above the best": f"{estimate.value - best:.1f}"})
    return pd.DataFrame(rows)


def missing(records: list[Record]) -> pd.DataFrame:
    """The transfer sets without 3s and with 7s and 8s only: unshifted, test-tuned and honest shifts."""
    figures: dict[str, tuple[str, Sequence[tuple[float, int]], list[float | str]]] = {
        "no3": (
            "no 3s",
            paper.NO3_POINTS,
            [paper.BY_ID[f"mnist.no3_{c}errors_on_3"].paper for c in ("", "corrected_")],
        ),
        "only78": ("7s and 8s only", paper.ONLY78_POINTS, ["–", "–"]),
    }
    rows = []
    for part, (name, points, on_classes) in figures.items():
        found = claims.shifted(records, part)
        if found is None:
            continue
        none = [found.zero] * len(found.curve)
        protocols = (
            ("none", none, (*points[0], on_classes[0])),
            ("paper's protocol (test-tuned)", found.tuned, (*points[1], on_classes[1])),
            ("chosen on validation", found.honest, ("–", "–", "–")),
        )
        for protocol, where, (shift, errors, errors_on) in protocols:
            ours, ours_on = (stats.mean_interval(found.at(where, on)) for on in (False, True))
            rows.append(
                {
                    "transfer set": name,
                    "shift of the missing or only classes": protocol,
                    "paper: shift": shift, "ours: shift": _mean([found.shifts[i] for i in where]),
                    "paper: errors": errors, "ours: errors": f"{ours.value:.1f}", "95% interval": interval(ours),
                    "paper: errors on these classes": errors_on, "ours: on these": f"{ours_on.value:.1f}",
                    "their 95% interval": interval(ours_on), "test cases of them": found.cases_on,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def sizes(records: list[Record]) -> pd.DataFrame:
    """Soft against hard targets on shares of the training split, at the last epoch and early-stopped."""
    rows = []
    shares = sorted({r["settings"]["share"] for r in records if r["arm"].startswith("share of the data")})
    for share in shares:
        hard, soft = (select(records, f"share of the data, {kind} targets", share=share) for kind in ("hard", "soft"))
        if not hard or len(hard) != len(soft):
            continue
        row = {"share": f"{100 * share:g}%", "cases": f"{hard[0]['metrics']['train_cases']:,}"}
        for kind, found in (("hard", hard), ("soft", soft)):
            for name, metric in (("last epoch", "test_errors"), ("early-stopped", "stopped_errors")):
                estimate = stats.mean_interval(claims.errors(found, metric))
                row[f"{kind}, {name}"] = f"{estimate.value:.1f} {interval(estimate)}"
        gain = stats.paired_difference(claims.errors(hard, "stopped_errors"), claims.errors(soft))
        row["hard early-stopped minus soft last"] = f"{gain.value:.1f} {interval(gain)}"
        rows.append(row)
    return pd.DataFrame(rows)


def theory(records: list[Record]) -> pd.DataFrame:
    """Section 2.1: the gradient ratio against T, beside students trained at T and by logit regression."""
    widest = max(claims.widths(records), default=0)
    students = {
        float(r["settings"]["temperature"]): stats.mean_interval(
            claims.errors(select(records, r["arm"], hidden=[widest, widest], temperature=r["settings"]["temperature"]))
        )
        for r in records
        if r["arm"] == "width x temperature" and r["settings"]["hidden"] == [widest, widest]
    }
    ratios = claims.gradient_ratios()
    rows = []
    for temperature in sorted(set(ratios) | (set(students) & {1.0, 4.0, 20.0, 100.0, math.inf})):
        estimate = students.get(temperature)
        rows.append(
            {
                "T": "infinite (logit regression)" if math.isinf(temperature) else f"{temperature:g}",
                "exact over high-T gradient": f"{ratios[temperature]:.4f}" if temperature in ratios else "–",
                f"errors of a 2x{widest} student": f"{estimate.value:.1f} {interval(estimate)}" if estimate else "–",
            }
        )
    return pd.DataFrame(rows)


def _of_cases(errors: int) -> str:
    """What one net's count of test errors says of its error rate, as errors of 10,000."""
    return interval(stats.wilson(errors, TEST_CASES).each(lambda share: TEST_CASES * share), ".0f")


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2f}"


TABLES: dict[str, tuple[str, Callable[[list[Record]], pd.DataFrame]]] = {
    "headline": ("Section 3: test errors of 10,000", headline),
    "gap": ("Section 3: the gap, and paired comparisons", gap),
    "temperatures": ("Section 3: temperature and width, test errors of 10,000", temperatures),
    "missing_classes": ("Section 3: classes missing from the transfer set, test errors of 10,000", missing),
    "sizes": ("Less data: soft against hard targets, test errors of 10,000", sizes),
    "theory": ("Section 2.1: logit matching as the limit of high temperature", theory),
}
