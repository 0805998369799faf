"""The figures of sections 4 and 6, drawn from the records alone, each with the paper's value in it where it has one."""

import base64
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from repro import paper
from repro.evaluation import stats
from repro.report.plotting import OURS, PAPER, SECOND, legend, level, points, ticks
from repro.report.query import percent, select
from repro.report.records import Record
from repro.report.speech import analysis as claims
from repro.report.speech.tables import distilled_from
from repro.speech.decoding import wer

Found = list[Record]


def ensemble_size(records: Found) -> Figure:
    """Gain over single nets, of an ensemble and of its student, against the number of nets."""
    figure, axis = plt.subplots(figsize=(5.6, 3.8))
    single = claims.right_of(claims.singles(records))
    sizes = sorted({record["metrics"]["nets"] for record in select(records, "ensemble")})
    gains = [claims.difference(claims.right_of(claims.ensemble(records, k)), single) for k in sizes]
    points(axis, sizes, gains, OURS, "ensemble (arithmetic mean)")
    learned = [k for k in sizes if distilled_from(records, k)]
    if learned:
        students = [claims.difference(claims.right_of(distilled_from(records, k)), single) for k in learned]
        # Beside the ensembles' points, or their bars would lie on each other.
        points(
            axis, [k + 0.15 for k in learned], students, SECOND, "one net distilled from as many (geometric mean)", "--"
        )
    printed = {name: paper.BY_ID[f"speech.{name}_frame_acc"].figure for name in ("baseline", "ensemble", "distilled")}
    for name, marker in (("ensemble", "*"), ("distilled", "d")):
        axis.plot(10, printed[name] - printed["baseline"], marker, color=PAPER, markersize=9, label=f"paper: {name}")
    axis.axhline(0, color="0.7", linewidth=0.8)
    axis.set_xlabel("nets in the ensemble")
    axis.set_ylabel("points of frame accuracy over single nets")
    axis.set_title("Test frames, over the mean of the single nets; 95% over nets and test speakers", fontsize=8)
    legend(axis)
    figure.tight_layout()
    return figure


def temperature(records: Found) -> Figure:
    """Frame accuracy and word error rate of the students against T."""
    tried = claims.temperatures(records)
    decoded = [t for t in tried if claims.words(records, "distilled", temperature=t)]
    figure, axes = plt.subplots(1, 2 if decoded else 1, figsize=(8.4 if decoded else 4.4, 3.6), squeeze=False)
    axes = axes[0]
    points(axes[0], tried, [stats.mean_interval(claims.accuracy(claims.distilled(records, t))) for t in tried], OURS,
           "distilled")  # fmt: skip
    level(axes[0], stats.mean_interval(claims.accuracy(claims.singles(records))), SECOND, "single nets")
    axes[0].axhline(claims.accuracy(claims.ensemble(records))[0], color="0.3", linestyle=":", label="ensemble")
    axes[0].set_ylabel("test frame accuracy, %")
    if decoded:
        whose = claims.speakers(records)
        each = [claims.words(records, "distilled", temperature=t) for t in decoded]
        nets = ", ".join(str(len(heard)) for heard in each)
        points(
            axes[1],
            decoded,
            [percent(wer.rate(heard, whose)) for heard in each],
            OURS,
            f"distilled (nets at each T: {nets})",
        )
        alone, together = (claims.words(records, arm) for arm in ("single net", "ensemble"))
        if alone:
            level(axes[1], percent(wer.rate(alone, whose)), SECOND, "single nets")
        if together:
            axes[1].axhline(100 * wer.rate(together).value, color="0.3", linestyle=":", label="ensemble")
        axes[1].set_ylabel("word error rate, %")
    for axis in axes:
        axis.axvline(paper.BY_ID["speech.best_temperature"].paper, color=PAPER, linewidth=0.8, label="paper: best T",
                     zorder=0)  # fmt: skip
        axis.set_xscale("log")
        ticks(axis.xaxis, tried)
        axis.set_xlabel("temperature T")
        legend(axis, framealpha=0.5)
    figure.suptitle("Students of the ensemble; 95% over seeds (left), over nets and test speakers (right)", fontsize=9)
    figure.tight_layout()
    return figure


def few_data_curves(records: Found) -> Figure:
    """Train and test accuracy on the way, of hard and of soft targets, on the share nearest to the paper's 3%."""
    share = min(claims.shares(records), key=lambda one: abs(one - claims.FEW))
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), sharex=True)
    for kind, colour in (("hard", SECOND), ("soft", OURS)):
        for number, record in enumerate(claims.few(records, kind, share)):
            curve = np.array(record["curve"])
            for axis, column in zip(axes, (1, 3), strict=True):
                axis.plot(curve[:, 0], curve[:, column], color=colour, linewidth=1,
                          label=f"{kind} targets" if number == 0 else None)  # fmt: skip
                if kind == "hard":
                    best = curve[curve[:, 0] == record["metrics"]["stopped_epoch"]]
                    axis.plot(best[:, 0], best[:, column], "o", color=colour, markersize=4,
                              label="early-stopped" if number == 0 else None)  # fmt: skip
    level(axes[1], stats.mean_interval(claims.accuracy(claims.singles(records))), "0.3", "all data, hard targets")
    for axis, name in zip(axes, ("its own training frames", "test frames"), strict=True):
        axis.set_xlabel("passes over the share")
        axis.set_ylabel(f"accuracy on {name}, %")
        axis.legend(fontsize=7)
    hard, soft, whole = (paper.BY_ID[f"speech.{name}_test_acc"].paper for name in ("hard3", "soft3", "full"))
    figure.suptitle(f"{share:.0%} of the data, every seed (paper, 3%, test: hard {hard} and falling, soft {soft}, "
                    f"all data {whole})", fontsize=9)  # fmt: skip
    figure.tight_layout()
    return figure


def share_of_data(records: Found) -> Figure:
    """Test accuracy against the share of the data, by hard targets (early-stopped) and by soft ones (to the end)."""
    figure, axis = plt.subplots(figsize=(5.6, 3.8))
    tried = claims.shares(records)
    full = stats.mean_interval(claims.accuracy(claims.singles(records)))
    for kind, part, colour in (("hard", "stopped_test", SECOND), ("soft", "test", OURS)):
        there = [share for share in tried if claims.few(records, kind, share)]
        found = [stats.mean_interval(claims.accuracy(claims.few(records, kind, share), part)) for share in there]
        name = "hard targets, early-stopped" if kind == "hard" else "soft targets of the ensemble, to the end"
        points(axis, [100 * share for share in there], found, colour, name)
    points(axis, [100], [full], "0.3", "all data, hard targets", marker="s")
    printed = {name: paper.BY_ID[f"speech.{name}_test_acc"].figure for name in ("full", "hard3", "soft3")}
    for name, colour in (("hard", SECOND), ("soft", OURS)):
        below = printed["full"] - printed[f"{name}3"]
        axis.plot(3, full.value - below, "*", color=colour, markeredgecolor=PAPER, markersize=11,
                  label=f"paper: {name} targets (its distance below all data)")  # fmt: skip
    axis.set_xscale("log")
    ticks(axis.xaxis, [100 * share for share in tried] + [100])
    axis.set_xlabel("share of the training utterances, %")
    axis.set_ylabel("test frame accuracy, %")
    axis.set_title("Means over nets, 95% intervals", fontsize=9)
    legend(axis)
    figure.tight_layout()
    return figure


def utterance(shown: dict[str, Any]) -> Figure:
    """An utterance: filterbanks, words, phones, and the numbers of the states that are the targets."""
    one = shown["utterance"]
    banks = np.frombuffer(base64.b64decode(one["banks"]), np.uint8).reshape(one["frames"], -1)
    figure, axes = plt.subplots(2, 1, figsize=(9, 4.2), sharex=True, height_ratios=(2, 1.3))
    axes[0].imshow(banks.T, origin="lower", aspect="auto", cmap="magma", extent=(0, one["frames"] / 100, 0, 40))
    axes[0].set_ylabel("Mel filterbank (log energy)")
    axes[0].set_title(f"{one['id']}: {one['text']}", fontsize=9)
    for row, name in enumerate(("phones", "words")):
        # To pocketsphinx a word said in its second way is "word(2)".
        for label, start, frames in one[name]:
            axes[1].add_patch(plt.Rectangle((start / 100, row), frames / 100, 1, fill=False, linewidth=0.5))
            axes[1].text(
                (start + frames / 2) / 100, row + 0.5, label.split("(")[0], ha="center", va="center", fontsize=6
            )
    states = np.array(one["states"])
    axes[1].plot(np.arange(len(states)) / 100, 2 + states / max(1, states.max()), ",-", color=OURS, linewidth=0.6)
    axes[1].set_xlim(0, one["frames"] / 100)
    axes[1].set_ylim(0, 3)
    axes[1].set_yticks([0.5, 1.5, 2.5], ["phones", "words", "number of the state\n(in no order)"])
    axes[1].set_xlabel("seconds")
    figure.tight_layout()
    return figure
