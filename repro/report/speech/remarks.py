"""Remarks of the findings of sections 4 and 6: results in words. Nothing is computed or judged here."""

from repro import paper
from repro.evaluation.stats import Estimate
from repro.report.format import in_epochs, signed
from repro.report.records import Record

OVER_MODELS = "95% CI over models only"
OVER_BOTH = "95% CI over models and test speakers"
DECIDING = (
    2.0  # half the width, in percent of the single models' rate, of an interval that decides on the paper's change
)
FEWEST_MODELS = 5  # of which a variance over models says how many more are needed


def ensemble_gain(gain: Estimate) -> str:
    """Return the remark on the ensemble's accuracy."""
    return f"minus single models: {signed(gain)} points; 95% CI over {gain.count} test speakers"


def distilled(temperature: float, gain: Estimate) -> str:
    """Return the remark on the distilled model's accuracy."""
    return f"T = {temperature:g}, chosen on validation; {OVER_BOTH}; minus single models: {signed(gain)} points"


def gain_kept(temperature: float) -> str:
    """Return the remark on the fraction of the gain that is kept."""
    return f"T = {temperature:g}; {OVER_BOTH}"


def best_temperature(best: float, margins: dict[str, dict[float, Estimate]], similar: list[float]) -> str:
    """Return the remark on the best temperature: its margins over the others by part of the data."""
    parts = [
        f"on {part} minus " + ", ".join(f"T = {t:g}: {signed(margin)}" for t, margin in by_temperature.items())
        for part, by_temperature in margins.items()
    ]
    if similar:
        others = ", ".join(f"T = {t:g}" for t in similar)
        parts.append(f"no significant difference on validation between T = {best:g} and {others}")
    return "; ".join(parts)


def contrasts(differences: dict[str, Estimate]) -> str:
    """Return the remark on the accuracy at the paper's best temperature."""
    compared = ", ".join(f"{name} temperatures: {signed(estimate)}" for name, estimate in differences.items())
    return f"points of test accuracy at the paper's T = 2 minus the mean over {compared}"


def word_error_change(change: Estimate, single: Estimate, utterances: int, models: int) -> str:
    """Return the remark on a word error rate, whose change is relative to that of single models.

    Where the interval is wider than ``DECIDING``, the remark says how much data an interval as wide would take: its
    variance falls with the number of speakers and of models. Fewer ``models`` than ``FEWEST_MODELS`` cannot tell.
    """
    relative = change.each(lambda points: 100 * points / (single.value or 100.0))
    ensemble, baseline = (paper.BY_ID[f"speech.{system}_wer"].figure for system in ("ensemble", "baseline"))
    return (
        f"minus single models: {signed(change)} points, {signed(relative)}% of theirs "
        f"(the paper's: {100 * (ensemble / baseline - 1):+.2f}%), "
        f"{OVER_BOTH}, same utterances{_data_needed(relative, utterances, models)}"
    )


def _data_needed(relative: Estimate, utterances: int, models: int) -> str:
    if relative.low is None or relative.high is None:
        return ""
    factor = ((relative.high - relative.low) / 2 / DECIDING) ** 2
    if factor <= 1:
        return ""
    if models < FEWEST_MODELS:
        return f"; {models} decoded single models are too few to tell how many more it would take"
    return (
        f"; an interval of ±{DECIDING:g}% would take {factor:.1f} times as many utterances "
        f"({round(factor * utterances):,}), speakers and models"
    )


def stopped_first(count: int, seeds: int) -> str:
    """Return the remark on models that early stopping leaves at their first evaluation; empty if there are none."""
    if not count:
        return ""
    return f"hard targets stopped at the first evaluation {count} of {seeds} times; a finer grid might favor them"


def recovered(soft: Record, hard: Record, stopped: list[float], lengths: list[float], early: str) -> str:
    """Return the remark on the fraction that soft targets recover; ``lengths`` are those of the schedules tried."""
    settings = soft["settings"]
    epochs = ", ".join(f"{epoch:.2g}" for epoch in stopped)
    chosen = (
        f" (of schedules of {', '.join(f'{epochs:g}' for epochs in lengths)}, the best on validation)"
        if len(lengths) > 1
        else ""
    )
    return "; ".join(filter(None, [
        f"soft targets of {settings['num_teachers']} models at T = {float(settings['temperature']):g}",
        OVER_BOTH,
        f"hard targets stopped after {epochs} of {in_epochs(hard['settings']['recipe']['epochs'])}{chosen}",
        early,
    ]))  # fmt: skip


def overfitting(hard: float, soft: float) -> str:
    """Return the remark on the points lost from the best to the final evaluation."""
    return f"{OVER_MODELS}; hard targets trained as long lose {hard:.2f} points, soft targets {soft:.2f}"
