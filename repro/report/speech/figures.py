"""Figures of sections 4 and 6, from the records alone, with the paper's values where it has any."""

import base64
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from repro import paper
from repro.evaluation import stats
from repro.names import text_of
from repro.report.format import count_range, in_epochs, percent
from repro.report.plotting import OURS, PAPER, SECOND, THIRD, legend, level, literal, points, ticks
from repro.report.records import Record
from repro.report.speech import analysis, queries
from repro.report.speech.queries import accuracy, correct_frames
from repro.speech.decoding import wer

Records = list[Record]


def ensemble_size(records: Records) -> Figure:
    """Draw the gain over single models of ensembles and of their students against the size of the ensemble."""
    figure = Figure(figsize=(5.6, 3.8))
    axis = figure.subplots()
    single = correct_frames(queries.single_models(records))
    sizes = [size for size in queries.ensemble_sizes(records) if size > 1]  # of a single model the gain is chance
    gains = [analysis.difference(correct_frames(queries.ensemble(records, size)), single) for size in sizes]
    points(axis, [*map(float, sizes)], gains, OURS, "ensemble (arithmetic mean)")
    students = {size: queries.distilled_from(records, size) for size in sizes}
    students = {size: models for size, models in students.items() if models}
    if students:
        gains = [analysis.difference(correct_frames(models), single) for models in students.values()]
        # Shifted, so that error bars do not overlap.
        points(axis, [size + 0.15 for size in students], gains, SECOND, "KD from as many models (geometric mean)", "--")
    printed = {name: paper.BY_ID[f"speech.{name}_frame_acc"].figure for name in ("baseline", "ensemble", "distilled")}
    for name, marker in (("ensemble", "*"), ("distilled", "d")):
        axis.plot(10, printed[name] - printed["baseline"], marker, color=PAPER, markersize=9, label=f"paper: {name}")
    axis.axhline(0, color="0.7", linewidth=0.8)
    axis.set_xlabel("models in the ensemble")
    axis.set_ylabel("frame accuracy, delta vs single (pp)")
    axis.set_title(
        "Test frames, minus the mean of single models; 95% CI over single models, students and\n"
        "test speakers; one ensemble of each size",
        fontsize=8,
    )
    legend(axis, loc="lower right")
    figure.tight_layout()
    return figure


def temperature(records: Records) -> Figure:
    """Draw frame accuracy of the students, and their word error rate minus single models', against T."""
    tried = queries.temperatures(records)
    singles = queries.word_errors(records, "single")
    decoded = [t for t in tried if singles and queries.word_errors(records, "distilled", temperature=t)]
    figure = Figure(figsize=(8.4 if decoded else 4.4, 3.6))
    axes = figure.subplots(1, 2 if decoded else 1, squeeze=False)[0]
    accuracies = [stats.mean_interval(accuracy(queries.distilled(records, t))) for t in tried]
    points(axes[0], tried, accuracies, OURS, "KD")
    level(axes[0], stats.mean_interval(accuracy(queries.single_models(records))), SECOND, "single models")
    axes[0].axhline(accuracy(queries.ensemble(records))[0], color="0.3", linestyle=":", label="ensemble")
    axes[0].set_ylabel("test frame accuracy, %")
    if decoded:
        _word_error_rates(axes[1], records, decoded)
    for axis, place in zip(axes, ("upper right", "lower right"), strict=False):
        axis.axvline(paper.BY_ID["speech.best_temperature"].paper, color=PAPER, linewidth=0.8, label="paper: best T",
                     zorder=0)  # fmt: skip
        axis.set_xscale("log")
        ticks(axis.xaxis, tried)
        axis.set_xlabel("temperature T")
        legend(axis, loc=place, framealpha=0.5)
    seeds = f"{count_range({len(queries.distilled(records, t)) for t in tried})} seeds"
    both = f"Students of the ensemble; 95% CI over {seeds} (left), over models and test speakers (right)"
    figure.suptitle(both if decoded else f"Students, 95% CI over {seeds}", fontsize=9)
    figure.tight_layout()
    return figure


def _word_error_rates(axis: Axes, records: Records, decoded: list[float]) -> None:
    """Draw differences from single models on the same utterances: clearer than rates, which vary with the speakers."""
    names, single = queries.speakers(records), queries.word_errors(records, "single")
    students = [queries.word_errors(records, "distilled", temperature=t) for t in decoded]
    counts = ", ".join(str(len(errors)) for errors in students)
    deltas = [percent(wer.difference(errors, single, names)) for errors in students]
    points(axis, decoded, deltas, OURS, f"KD (models at each T: {counts})")
    axis.axhline(0, color=SECOND, label="single models")
    ensemble = queries.word_errors(records, "ensemble")
    if ensemble:
        level(axis, percent(wer.difference(ensemble, single, names)), "0.3", "ensemble")
    axis.set_ylabel("word error rate, delta vs single (pp)")


def data_fraction_curves(records: Records) -> Figure:
    """Draw train and test accuracy during training on the fraction nearest to the paper's 3%."""
    fraction = min(queries.data_fractions(records), key=lambda tried: abs(tried - queries.PAPER_FRACTION))
    figure = Figure(figsize=(8.4, 4.0))
    axes = figure.subplots(1, 2, sharex=True)
    by_length = queries.schedules(records, "hard", fraction)
    chosen = queries.on_fraction(records, "hard", fraction)
    groups = [(f"hard targets, schedule of {in_epochs(length)}", SECOND, nets)
              for length, nets in list(by_length.items())[-1:]]  # fmt: skip
    if len(by_length) > 1 and chosen != groups[0][2]:
        length = in_epochs(chosen[0]["settings"]["recipe"]["epochs"])
        groups.append((f"hard targets, schedule of {length} (best on validation)", THIRD, chosen))
    groups.append(("soft targets", OURS, queries.on_fraction(records, "soft", fraction)))
    for label, color, nets in groups:
        for number, record in enumerate(nets):
            curve = np.array(record["curve"])
            for axis, column in zip(axes, (1, 3), strict=True):
                axis.plot(curve[:, 0], curve[:, column], color=color, linewidth=1,
                          label=label if number == 0 else None)  # fmt: skip
                if color != OURS:
                    best = curve[curve[:, 0] == record["metrics"]["stopped_epoch"]]
                    axis.plot(best[:, 0], best[:, column], "o", color=color, markersize=4)
    level(axes[1], stats.mean_interval(accuracy(queries.single_models(records))), "0.3", "all data, hard targets")
    first, last = (edge(record["curve"][place][0] for *_, nets in groups for record in nets)
                   for edge, place in ((min, 0), (max, -1)))  # fmt: skip
    axes[1].plot([], [], "o", color="0.3", markersize=4, label="early-stopped")
    for axis, name in zip(axes, ("training frames of the fraction", "test frames"), strict=True):
        axis.set_xscale("log")
        ticks(axis.xaxis, [tick for tick in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0) if 0.9 * first <= tick <= 1.1 * last])
        axis.set_xlabel("epochs on the fraction")
        axis.set_ylabel("accuracy, %")
        axis.set_title(name, fontsize=9)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=7)
    hard, soft, whole = (paper.BY_ID[f"speech.{name}_test_acc"].paper for name in ("hard3", "soft3", "full"))
    figure.suptitle(f"{fraction:.0%} of the data, every seed (paper, 3%, test: hard {hard} and falling, soft {soft}, "
                    f"all data {whole})", fontsize=9)  # fmt: skip
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


def data_fraction(records: Records) -> Figure:
    """Draw test accuracy against the fraction of the data, with hard (early-stopped) and soft targets (final)."""
    figure = Figure(figsize=(5.6, 3.8))
    axis = figure.subplots()
    tried = queries.data_fractions(records)
    full = stats.mean_interval(accuracy(queries.single_models(records)))
    labels = {"hard": "hard targets, early-stopped", "soft": "soft targets of the ensemble, final"}
    for targets, part, color in (("hard", "stopped_test", SECOND), ("soft", "test", OURS)):
        models = {fraction: queries.on_fraction(records, targets, fraction) for fraction in tried}
        models = {fraction: group for fraction, group in models.items() if group}
        estimates = [stats.mean_interval(accuracy(group, part)) for group in models.values()]
        points(axis, [100 * fraction for fraction in models], estimates, color, labels[targets])
    points(axis, [100], [full], "0.3", "all data, hard targets", marker="s")
    printed = {name: paper.BY_ID[f"speech.{name}_test_acc"].figure for name in ("full", "hard3", "soft3")}
    for targets, color in (("hard", SECOND), ("soft", OURS)):
        below = printed["full"] - printed[f"{targets}3"]
        axis.plot(3, full.value - below, "*", color=color, markeredgecolor=PAPER, markersize=11,
                  label=f"paper: {targets} targets (its distance below all data)")  # fmt: skip
    axis.set_xscale("log")
    ticks(axis.xaxis, [100 * fraction for fraction in tried] + [100])
    axis.set_xlabel("fraction of the training utterances, %")
    axis.set_ylabel("test frame accuracy, %")
    axis.set_title("Averages over models, 95% CI", fontsize=9)
    legend(axis)
    figure.tight_layout()
    return figure


def utterance(shown: dict[str, Any]) -> Figure:
    """Draw an utterance: filterbanks, words, phones and the indices of the target states."""
    example = shown["utterance"]
    banks = np.frombuffer(base64.b64decode(example["banks"]), np.uint8).reshape(example["frames"], -1)
    figure = Figure(figsize=(9, 4.2))
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1.3))
    axes[0].imshow(banks.T, origin="lower", aspect="auto", cmap="magma", extent=(0, example["frames"] / 100, 0, 40))
    axes[0].set_ylabel("Mel filterbank (log energy)")
    axes[0].set_title(literal(text_of(f"{example['id']}: {example['text']}")), fontsize=9)
    for row, name in enumerate(("phones", "words")):
        # pocketsphinx writes the second pronunciation of a word as "word(2)".
        for label, start, frames in example[name]:
            axes[1].add_patch(Rectangle((start / 100, row), frames / 100, 1, fill=False, linewidth=0.5))
            axes[1].text(
                (start + frames / 2) / 100, row + 0.5, label.split("(")[0], ha="center", va="center", fontsize=6
            )
    states = np.array(example["states"])
    axes[1].plot(np.arange(len(states)) / 100, 2 + states / max(1, states.max()), ",-", color=OURS, linewidth=0.6)
    axes[1].set_xlim(0, example["frames"] / 100)
    axes[1].set_ylim(0, 3)
    axes[1].set_yticks([0.5, 1.5, 2.5], ["phones", "words", "index of the state\n(unordered)"])
    axes[1].set_xlabel("seconds")
    figure.tight_layout()
    return figure
