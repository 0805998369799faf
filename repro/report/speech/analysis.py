"""Statistics and judgments of sections 4 and 6, from the records alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from repro import paper
from repro.evaluation import bootstrap, stats
from repro.evaluation.stats import Estimate
from repro.paper import Direction
from repro.report.query import direction, percent, positive, select
from repro.report.records import Record
from repro.report.section import Finding
from repro.report.speech import queries, remarks
from repro.report.speech.queries import CorrectFrames, accuracy, correct_frames
from repro.speech.decoding import wer
from repro.speech.runs import Arm

SMALLEST_EFFECT = 0.5  # points of test accuracy; a smaller effect does not matter where the paper prints no number


def over_models_and_speakers(statistic: Callable[..., np.ndarray], *systems: CorrectFrames) -> Estimate:
    """Return a statistic of the systems' frame accuracies in percent, with an interval over models and speakers."""

    def of_sums(cases: np.ndarray, *sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):  # a ratio to a difference of zero is undefined
            return statistic(*(100 * right / cases for right in sums))

    return bootstrap.over_nets_and_units(of_sums, systems[0].cases, [system.counts for system in systems])


def one_more_run(statistic: Callable[..., np.ndarray], *systems: CorrectFrames) -> tuple[float, float] | None:
    """Return the prediction interval of a ratio of frame accuracies for one more model of each system and new speakers.

    The number of frames cancels.
    """
    counts = [system.counts for system in systems]
    return bootstrap.run_over_nets_and_units(lambda cases, *sums: statistic(*sums), systems[0].cases, counts)


def frame_accuracy(system: CorrectFrames) -> Estimate:
    """Return a system's frame accuracy in percent."""
    return over_models_and_speakers(lambda a: a, system)


def difference(first: CorrectFrames, second: CorrectFrames) -> Estimate:
    """Return the frame accuracy of ``first`` minus that of ``second`` in points."""
    return over_models_and_speakers(lambda a, b: a - b, first, second)


def gain_kept(single: CorrectFrames, mean: CorrectFrames, student: CorrectFrames) -> Estimate:
    """Return the fraction of the ensemble's gain over single models that a student keeps."""
    return over_models_and_speakers(_fraction_kept, single, mean, student)


def _fraction_kept(single: np.ndarray, mean: np.ndarray, student: np.ndarray) -> np.ndarray:
    return (student - single) / (mean - single)


def recovered(full: list[Record], hard: list[Record], soft: list[Record]) -> Estimate:
    """Return the fraction of the gain of all data over a part, with early-stopped hard targets, that soft targets
    recover."""
    systems = _of_fraction(full, hard, soft)
    return over_models_and_speakers(_fraction_recovered, *systems)


def _fraction_recovered(full: np.ndarray, hard: np.ndarray, soft: np.ndarray) -> np.ndarray:
    return (soft - hard) / (full - hard)


def _of_fraction(full: list[Record], hard: list[Record], soft: list[Record]) -> tuple[CorrectFrames, ...]:
    return correct_frames(full), correct_frames(hard, "stopped_test"), correct_frames(soft)


def margins(records: list[Record], best: float) -> dict[str, dict[float, Estimate]]:
    """Return by how much the students at ``best`` exceed those at every other temperature, by part of the data."""
    students = queries.alike_distilled(records)
    return {
        part: {t: difference(correct_frames(students[best], part), correct_frames(others, part))
               for t, others in students.items() if t != best}
        for part in ("validation", "test")
    }  # fmt: skip


@dataclass(frozen=True)
class EarlyStopping:
    """Epochs at which hard targets on a data fraction are stopped, and the number stopped at the first evaluation."""

    epochs: list[float]
    at_first_evaluation: int

    @classmethod
    def of(cls, hard: list[Record]) -> "EarlyStopping":
        """Return the early stopping of some models on hard targets."""
        epochs = [record["metrics"]["stopped_epoch"] for record in hard]
        first = sum(epoch <= record["curve"][0][0] for epoch, record in zip(epochs, hard, strict=True))
        return cls(epochs, first)


def findings(records: list[Record]) -> list[Finding]:
    """Return the findings of all claims that the records cover; ratios to a difference of zero are left out."""
    parts = (_frame_accuracies, _best_temperature, _word_error_rates, _data_fraction)
    return [finding for part in parts for finding in part(records) if np.isfinite(finding.ours.value)]


def _frame_accuracies(records: list[Record]) -> list[Finding]:
    baselines, means, students = queries.single_models(records), queries.ensemble(records), queries.distilled(records)
    if not baselines or not means:
        return []
    single, mean = correct_frames(baselines), correct_frames(means)
    gain = difference(mean, single)
    results = [
        Finding("speech.baseline_frame_acc", _counted(frame_accuracy(single), baselines), note=remarks.OVER_BOTH),
        Finding("speech.ensemble_frame_acc", _counted(frame_accuracy(mean), means),
                direction(gain, "speech.ensemble_frame_acc"), remarks.ensemble_gain(gain), effect=gain),
    ]  # fmt: skip
    best = queries.best_temperature(records)
    if not students or best is None:
        return results
    student = correct_frames(students)
    gain_over_single, fraction_kept = difference(student, single), gain_kept(single, mean, student)
    return [
        *results,
        Finding("speech.distilled_frame_acc", _counted(frame_accuracy(student), students),
                direction(gain_over_single, "speech.distilled_frame_acc"),
                remarks.distilled(best, gain_over_single), effect=gain_over_single),
        Finding("speech.gain_transferred", _counted(fraction_kept, students),
                direction(fraction_kept, "speech.gain_transferred"), remarks.gain_kept(best),
                one_more_run(_fraction_kept, single, mean, student)),
    ]  # fmt: skip


def _best_temperature(records: list[Record]) -> list[Finding]:
    best, tried = queries.best_temperature(records), queries.temperatures(records)
    if best is None or len(tried) < 3 or not queries.single_models(records) or not queries.ensemble(records):
        return []  # of fewer temperatures none is between others
    margin = margins(records, best)
    similar = [t for t, estimate in margin["validation"].items() if not positive(estimate)]
    estimate = Estimate(best, None, None, len(queries.alike_distilled(records)[best]))
    note = remarks.best_temperature(best, margin, similar)
    contrasts = _contrasts(records, paper.BY_ID["speech.best_temperature"].figure)
    if len(contrasts) < 2:
        return [Finding("speech.best_temperature", estimate, note=note)]
    answer = paper.all_of(*(direction(contrast, SMALLEST_EFFECT) for contrast in contrasts.values()))
    return [Finding("speech.best_temperature", estimate, answer, f"{remarks.contrasts(contrasts)}; {note}")]


def _contrasts(records: list[Record], temperature: float) -> dict[str, Estimate]:
    """Return the test frame accuracy at a temperature minus the mean over lower ones, and over higher ones."""
    students = queries.alike_distilled(records)
    if temperature not in students:
        return {}
    others = {
        "lower": [t for t in students if t < temperature],
        "higher": [t for t in students if t > temperature],
    }
    return {
        name: over_models_and_speakers(
            lambda first, *rest: first - sum(rest) / len(rest),
            *(correct_frames(students[t]) for t in (temperature, *compared)),
        )
        for name, compared in others.items()
        if compared
    }


def _word_error_rates(records: list[Record]) -> list[Finding]:
    best, single = queries.best_temperature(records), queries.word_errors(records, "single")
    if not single:
        return []
    names = queries.speakers(records)
    rate = percent(wer.rate(single, names))
    baseline = _counted(rate, select(records, Arm.DECODE, system="single"))
    results = [Finding("speech.baseline_wer", baseline, note=remarks.OVER_BOTH)]
    student = queries.word_errors(records, "distilled", temperature=best) if best is not None else []
    systems = {
        "ensemble": (queries.word_errors(records, "ensemble"), queries.ensemble(records)),
        "distilled": (student, queries.distilled(records)),
    }
    for name, (errors, models) in systems.items():
        if errors:
            change = percent(wer.difference(errors, single, names))
            claim = paper.BY_ID[f"speech.{name}_wer"]
            # The paper's change is relative to its error rate, a sixth or less of ours.
            scale = paper.BY_ID["speech.baseline_wer"].figure / (rate.value or 100.0)
            relative, lowered = _scaled(change, scale), _scaled(change, -scale)
            results.append(
                Finding(claim.id, _counted(percent(wer.rate(errors, names)), models), direction(lowered, claim.id),
                        remarks.word_error_change(change, rate, len(single[0].words), len(single)), effect=relative)
            )  # fmt: skip
    return results


def _data_fraction(records: list[Record]) -> list[Finding]:
    full = queries.single_models(records)
    hard, soft = (queries.on_fraction(records, kind, queries.PAPER_FRACTION) for kind in ("hard", "soft"))
    if not (full and hard and soft):
        return []
    as_long = queries.longest_schedule(records, "hard", queries.PAPER_FRACTION)
    fraction = recovered(full, hard, soft)
    lacking = difference(correct_frames(full), correct_frames(hard, "stopped_test"))
    lost_hard, lost_soft = (np.array([queries.lost_at_end(record) for record in nets]) for nets in (as_long, soft))
    overfit, stopping = stats.paired_difference(lost_hard, lost_soft), EarlyStopping.of(hard)
    lengths = list(queries.schedules(records, "hard", queries.PAPER_FRACTION))
    shown = [("full_train_acc", full, "train"), ("full_test_acc", full, "test"),
             ("hard3_train_acc", hard, "stopped_train"), ("hard3_test_acc", hard, "stopped_test"),
             ("soft3_train_acc", soft, "train"), ("soft3_test_acc", soft, "test")]  # fmt: skip
    accuracies = [_shown_accuracy(f"speech.{claim}", nets, part) for claim, nets, part in shown]
    early = remarks.stopped_first(stopping.at_first_evaluation, len(hard))
    return [
        *accuracies,
        Finding("speech.soft3_recovered", _counted(fraction, soft),
                _direction_recovered(fraction, lacking),
                remarks.recovered(soft[0], hard[0], stopping.epochs, lengths, early),
                one_more_run(_fraction_recovered, *_of_fraction(full, hard, soft))),
        Finding("speech.soft3_no_overfit", overfit,
                direction(overfit, SMALLEST_EFFECT)
                if float(lost_soft.mean()) < SMALLEST_EFFECT else Direction.ABSENT,
                remarks.overfitting(float(lost_hard.mean()), float(lost_soft.mean()))),
    ]  # fmt: skip


def _direction_recovered(fraction: Estimate, lacking: Estimate) -> Direction | None:
    """Return whether soft targets recover something; undecided where hard targets may lack nothing."""
    if lacking.low is None:
        return None
    return direction(fraction, "speech.soft3_recovered") if positive(lacking) else Direction.UNDECIDED


def _shown_accuracy(claim: str, models: list[Record], part: str) -> Finding:
    """Return a frame accuracy; that on training data, of which each draw has its own, has no counts by speaker."""
    if part.endswith("train"):
        return Finding(claim, stats.mean_interval(accuracy(models, part)), note=remarks.OVER_MODELS)
    return Finding(claim, _counted(frame_accuracy(correct_frames(models, part)), models), note=remarks.OVER_BOTH)


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    scaled = estimate.each(lambda value: factor * value)
    return scaled if factor > 0 else replace(scaled, low=scaled.high, high=scaled.low)


def _counted(estimate: Estimate, records: list[Record]) -> Estimate:
    """Return the estimate with the number of models behind it in place of the units that were resampled."""
    return replace(estimate, count=queries.count_models(records))
