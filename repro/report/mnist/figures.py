"""Figures of section 3, each with the paper's value in it."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from repro import kd, paper
from repro.evaluation import stats
from repro.mnist.runs import Arm
from repro.report.mnist import analysis
from repro.report.plotting import FOURTH, OURS, PAPER, SECOND, THIRD, legend, level, points, subplots, ticks
from repro.report.query import select
from repro.report.records import Record


def soft_targets(digits: dict[str, Any]) -> Figure:
    """Draw test digits with the teacher's probabilities at T = 1, 5 and 20."""
    cases, temperatures = digits["cases"], (1.0, 5.0, 20.0)
    figure, axes = subplots(len(cases), 1 + len(temperatures), figsize=(9, 1.25 * len(cases)), squeeze=False,
                                sharey="col")  # fmt: skip
    for number, (row, case) in enumerate(zip(axes, cases, strict=True)):
        row[0].imshow(np.reshape(case["pixels"], (28, 28)), cmap="gray_r")
        row[0].set_axis_off()
        row[0].set_title(f"a {case['label']}, test image {case['case']}", fontsize=7)
        logits = torch.tensor([case["logits"]])
        for axis, temperature in zip(row[1:], temperatures, strict=True):
            soft = kd.soften(logits, temperature)[0].numpy()
            colors = [SECOND if digit == case["label"] else OURS for digit in range(10)]
            axis.bar(range(10), soft, color=colors)
            axis.set_xticks(range(10), range(10), fontsize=7)
            axis.tick_params(axis="y", labelsize=7)
            if number == 0:
                axis.set_title(f"T = {temperature:g}", fontsize=9)
    for axis in axes[-1, 1:]:
        axis.set_xlabel("class", fontsize=8)
    figure.supylabel("probability (each column has its own scale)", fontsize=8)
    figure.suptitle("Soft targets of the teacher (equation 1); the true class in orange", fontsize=10)
    figure.tight_layout()
    return figure


def temperature_by_width(records: list[Record]) -> Figure:
    """Draw errors against T for each width, with intervals; the paper's best range for 30 units is shaded."""
    widths = analysis.widths(records)
    columns = min(2, len(widths))
    lines = -(-len(widths) // columns)
    figure, axes = subplots(lines, columns, figsize=(4 * columns, 0.6 + 2.9 * lines), squeeze=False)
    for axis in axes.flat[len(widths) :]:
        axis.set_axis_off()
    for axis, units in zip(axes.flat, widths, strict=False):
        temperatures, table, hard = analysis.sweep(records, units)
        estimates = [stats.mean_interval(table[:, i]) for i in range(len(temperatures))]
        points(axis, temperatures, estimates, OURS, "soft targets at T")
        level(axis, stats.mean_interval(hard), SECOND, "hard targets")
        regression = analysis.logit_regression(records, units)
        if regression:
            level(axis, stats.mean_interval(regression), THIRD, "logit regression")
        if units == 30:
            axis.axvspan(*paper.NARROW_RANGE, color=PAPER, alpha=0.15, label="paper: clearly best")
        elif units >= 300:
            axis.axvspan(paper.WIDE_SIMILAR_ABOVE, max(temperatures) * 1.1, color=PAPER, alpha=0.1,
                         label="paper: all similar")  # fmt: skip
        axis.set_xscale("log")
        ticks(axis.xaxis, [t for t in (1, 2, 4, 8, 20, 40, 100) if t <= max(temperatures)])
        axis.set_title(f"{units} units per layer", fontsize=10)
        axis.set_xlabel("temperature T")
        legend(axis)
    for axis in axes[:, 0]:
        axis.set_ylabel("test errors of 10,000")
    figure.suptitle(f"Temperature and width: mean over {len(table)} seeds, 95% CI; scales differ", fontsize=10)
    figure.tight_layout()
    return figure


def bias_shift(records: list[Record]) -> Figure:
    """Draw errors against the bias shift of the missing (or only) classes, with the paper's points."""
    panels = (
        (analysis.without_3(records), "no 3 in the transfer set", "shift of the bias of class 3 (logits)",
         paper.NO3_POINTS),
        (analysis.only_7_8(records), "only 7s and 8s in the transfer set",
         "shift of the biases of classes 7 and 8 (logits)", paper.ONLY78_POINTS),
    )  # fmt: skip
    figure, axes = subplots(1, 2, figsize=(10, 4))
    for axis, (study, title, label, printed) in zip(axes, panels, strict=True):
        if study is not None:
            for seed, curve in enumerate(study.curve):
                axis.plot(study.shifts, curve, color=OURS, alpha=0.35, linewidth=1,
                          label="each seed" if seed == 0 else None)  # fmt: skip
            axis.plot(study.shifts, study.curve.mean(0), color=OURS, linewidth=2, label="mean")
            honest = [study.shifts[i] for i in study.honest]
            axis.plot(honest, study.at(study.honest), "v", color=THIRD, fillstyle="none", label="chosen on validation")
            tuned = [study.shifts[i] for i in study.tuned]
            axis.plot(
                tuned,
                study.at(study.tuned),
                "^",
                color=SECOND,
                fillstyle="none",
                label="chosen on test, as in the paper",
            )
        axis.plot(*zip(*printed, strict=True), "*", color=PAPER, markersize=12, label="paper", linestyle="none")
        axis.set_yscale("log")
        ticks(axis.yaxis, [100, 200, 500, 1000, 2000, 5000], "{:,}", minor=True)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(label)
        axis.legend(fontsize=8)
    axes[0].set_ylabel("test errors of 10,000")
    figure.tight_layout()
    return figure


def data_fraction(records: list[Record]) -> Figure:
    """Draw test errors with soft and hard targets by fraction of the training split."""
    figure, axis = subplots(figsize=(6.5, 4.2))
    fractions = analysis.fractions(records)
    lines = (
        ("hard", "stopped_errors", SECOND, "hard targets, early-stopped", "-"),
        ("hard", "test_errors", SECOND, "hard targets, last epoch (hidden where equal)", ":"),
        ("soft", "test_errors", OURS, "soft targets, last epoch", "-"),
    )
    for targets, metric, color, label, style in lines:
        runs = [select(records, Arm.DATA_FRACTION, targets=targets, fraction=fraction) for fraction in fractions]
        estimates = [stats.mean_interval(analysis.errors(at, metric)) for at in runs]
        points(axis, [100 * fraction for fraction in fractions], estimates, color, label, style)
    teacher = select(records, Arm.TEACHER)
    if teacher:
        level(axis, stats.mean_interval(analysis.errors(teacher)), THIRD, "teacher")
    hard, soft = (paper.BY_ID[f"mnist.{model}_errors"].figure for model in ("baseline", "distilled"))
    printed = f"paper, 60,000 images: hard {hard:g}, soft {soft:g}"
    axis.plot([120, 120], [hard, soft], "*", color=PAPER, markersize=11, label=printed)
    axis.set_xscale("log")
    axis.set_yscale("log")
    ticks(axis.xaxis, [100 * fraction for fraction in fractions], "{:g}%")
    ticks(axis.yaxis, [50, 100, 200, 500, 1000, 2000], minor=True)
    axis.set_xlabel("fraction of the training split (50,000 images)")
    axis.set_ylabel("test errors of 10,000")
    axis.set_title("2x800 on less data, fewer epochs than the headline networks: mean over seeds, 95% CI", fontsize=9)
    legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=2)
    figure.tight_layout()
    return figure


def training_curves(records: list[Record]) -> Figure:
    """Draw test errors and training loss of the headline networks by epoch; no decision depends on them."""
    figure, axes = subplots(1, 2, figsize=(10, 4))
    arms = (
        (Arm.TEACHER, OURS, "mnist.teacher_errors"),
        (Arm.BASELINE, SECOND, "mnist.baseline_errors"),
        (Arm.DISTILLED, THIRD, "mnist.distilled_errors"),
        (Arm.DISTILLED_SOFT_ONLY, FOURTH, ""),
    )  # fmt: skip
    for arm, color, claim in arms:
        runs = select(records, arm)
        for record in runs:
            epochs, errors, loss = zip(*record["curve"], strict=True)
            label = arm.replace("_", " ") if record is runs[0] else None
            axes[0].plot(epochs, errors, color=color, alpha=0.6, linewidth=1, label=label)
            axes[1].plot(epochs, loss, color=color, alpha=0.6, linewidth=1, label=label)
        if claim:
            printed = paper.BY_ID[claim].paper
            axes[0].axhline(printed, color=color, linestyle="--", linewidth=1)
            axes[0].annotate(f"paper {printed}", (0.62, printed), xycoords=("axes fraction", "data"),
                             ha="left", va="bottom", fontsize=7, color=color)  # fmt: skip
    for axis, label in zip(axes, ("test errors of 10,000", "training loss (own objective, nats)"), strict=True):
        axis.set_yscale("log")
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.legend(fontsize=8)
    figure.suptitle("The headline networks, one line per seed", fontsize=10)
    ticks(axes[0].yaxis, [50, 70, 100, 150, 200, 300, 500, 1000], minor=True)
    figure.tight_layout()
    return figure
