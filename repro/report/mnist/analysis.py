"""Claims of sections 3 and 2.1, computed from the records."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.mnist.runs import Arm
from repro.paper import Direction
from repro.report.mnist.gradients import gradient_ratios
from repro.report.query import direction, interval, positive, select
from repro.report.records import Record
from repro.report.section import Finding


def errors(records: list[Record], metric: str = "test_errors") -> list[float]:
    """Return a metric of each record, by default the test errors."""
    return [record["metrics"][metric] for record in records]


def layers(hidden: Sequence[int]) -> str:
    """Return hidden layers in short form: ``2x800`` where all are as wide, else ``800-400``."""
    return f"{len(hidden)}x{hidden[0]}" if len(set(hidden)) == 1 else "-".join(map(str, hidden))


def findings(records: list[Record]) -> list[Finding]:
    """Return the findings on all claims for which there are records."""
    parts: list[Callable[[list[Record]], list[Finding]]] = [
        _headline, _wide_flat, _narrow_best, _without_3, _only_7_8, _theory,
    ]  # fmt: skip
    return [finding for part in parts for finding in part(records)]


def _headline(records: list[Record]) -> list[Finding]:
    teacher, baseline, distilled = (errors(select(records, arm)) for arm in (Arm.TEACHER, Arm.BASELINE, Arm.DISTILLED))
    if not (teacher and baseline and distilled):
        return []
    gain, gap = ([b - other for b, other in zip(baseline, others, strict=True)] for others in (distilled, teacher))
    closed = stats.ratio_interval(gain, gap)
    note = "ratio of means over seeds, Fieller's interval; the run's interval is of ratios by seed"
    closed_by_seed = stats.prediction_interval([g / whole for g, whole in zip(gain, gap, strict=True)])
    apart = stats.mean_interval(gap)
    return [
        _level("mnist.teacher_errors", teacher, apart),
        _level("mnist.baseline_errors", baseline, apart),
        _level("mnist.distilled_errors", distilled, stats.mean_interval(gain)),
        Finding("mnist.gap_closed", closed, direction(closed, "mnist.gap_closed"),
                note + _from_sweep(records), closed_by_seed),
    ]  # fmt: skip


def _from_sweep(records: list[Record]) -> str:
    """Return a remark on the fraction closed from the baseline of the temperature sweep, which has another recipe."""
    hidden = select(records, Arm.BASELINE)[0]["settings"]["hidden"]
    hard = {record["seed"]: record for record in select(records, Arm.WIDTH_HARD_TARGETS, hidden=hidden)}
    others = ([run for run in select(records, arm) if run["seed"] in hard] for arm in (Arm.TEACHER, Arm.DISTILLED))
    baseline, teacher, distilled = map(errors, ([*hard.values()], *others))
    if not len(baseline) == len(teacher) == len(distilled) > 1 or sum(baseline) == sum(teacher):
        return ""
    gain, gap = ([b - e for b, e in zip(baseline, each, strict=True)] for each in (distilled, teacher))
    closed = stats.ratio_interval(gain, gap)
    return (
        f"; from the hard targets of the temperature sweep, whose recipe makes {np.mean(baseline):.1f} errors: "
        f"{closed.value:.2f}{_range(closed, '.2f')}"
    )


def _level(claim: str, values: Sequence[float], effect: Estimate, note: str = "") -> Finding:
    """Return the finding on a figure, from a value of each seed and the effect that must be there."""
    return Finding(
        claim, stats.mean_interval(values), direction(effect, claim), note, stats.prediction_interval(values)
    )


def sweep(records: list[Record], units: int) -> tuple[list[float], np.ndarray, list[float]]:
    """Return temperatures, errors (seed, temperature), and errors on hard targets (seed) at one width."""
    at_width = select(records, Arm.TEMPERATURE_SWEEP, hidden=[units, units])
    temperatures = sorted({float(r["settings"]["temperature"]) for r in at_width} - {math.inf})
    table = [
        errors([record for record in at_width if float(record["settings"]["temperature"]) == temperature])
        for temperature in temperatures
    ]
    hard = errors(select(records, Arm.WIDTH_HARD_TARGETS, hidden=[units, units]))
    return temperatures, np.array(table, dtype=float).T, hard


def logit_regression(records: list[Record], units: int) -> list[float]:
    """Return the errors of students trained by logit regression at one width."""
    return errors(select(records, Arm.TEMPERATURE_SWEEP, hidden=[units, units], temperature="inf"))


def widths(records: list[Record]) -> list[int]:
    """Return the widths of the temperature sweep."""
    return sorted({record["settings"]["hidden"][0] for record in select(records, Arm.TEMPERATURE_SWEEP)})


def fractions(records: list[Record]) -> list[float]:
    """Return the fractions of the training split that networks were trained on."""
    return sorted({record["settings"]["fraction"] for record in select(records, Arm.DATA_FRACTION)})


def _wide_flat(records: list[Record]) -> list[Finding]:
    """Return the largest difference of one T > 8 from the mean of the others, at widths of 300 and more."""
    compared = []  # units, temperature, difference by seed
    for units in [units for units in widths(records) if units >= 300]:
        temperatures, table, _ = sweep(records, units)
        above = [t > paper.WIDE_SIMILAR_ABOVE for t in temperatures]
        flat = table[:, above]
        if flat.shape[0] > 1 and flat.shape[1] > 1:
            others = (flat.sum(1, keepdims=True) - flat) / (flat.shape[1] - 1)
            tried = [t for t, is_above in zip(temperatures, above, strict=True) if is_above]
            compared += [(units, t, column) for t, column in zip(tried, (flat - others).T, strict=True)]
    if not compared:
        return []
    similar = [stats.is_equivalent(column, paper.EQUIVALENT_ERRORS) for *_, column in compared]
    answer = Direction.HOLDS if all(similar) else Direction.ABSENT if False in similar else Direction.UNDECIDED
    units, temperature, column = max(compared, key=lambda item: abs(item[2].mean()))
    ours = stats.mean_interval(column)
    tested = interval(stats.mean_interval(column, level=0.9))
    note = f"{len(compared)} differences; the largest is at {units} units, T={temperature:g}, 90% interval {tested}"
    if unclear := [f"{u} units, T={t:g}" for (u, t, _), same in zip(compared, similar, strict=True) if not same]:
        note += f"; not within the margin: {', '.join(unclear)}"
    return [Finding("mnist.wide_flat", ours, answer, note)]


def _narrow_best(records: list[Record]) -> list[Finding]:
    """Return the best temperature of students with 30 units per layer."""
    if 30 not in widths(records):
        return []
    temperatures, table, _ = sweep(records, 30)
    best, low, high = stats.argmin_interval(table, temperatures)
    least, most = paper.NARROW_RANGE
    parts = {
        "inside": [t for t in temperatures if least <= t <= most],
        "lower": [t for t in temperatures if t < least],
        "higher": [t for t in temperatures if t > most],
    }
    if not all(parts.values()):  # there is nothing that it could be better than
        return []
    errors_of = {name: table[:, [temperatures.index(t) for t in chosen]].mean(1) for name, chosen in parts.items()}
    contrasts = {name: stats.paired_difference(errors_of[name], errors_of["inside"]) for name in ("lower", "higher")}
    answer = paper.all_of(*(direction(contrast, paper.EQUIVALENT_ERRORS) for contrast in contrasts.values()))
    compared = "; ".join(
        f"{name} T ({', '.join(f'{t:g}' for t in parts[name])}): {contrast.value:+.0f}{_range(contrast, '.0f')}"
        for name, contrast in contrasts.items()
    )
    note = f"errors relative to the mean over T of {least:g} to {most:g}, by seed: {compared}"
    outside = {t: table[:, temperatures.index(t)] for t in (*parts["lower"], *parts["higher"])}
    alike = [t for t, of_t in outside.items() if not positive(stats.paired_difference(of_t, errors_of["inside"]))]
    if alike:
        note += f"; not significantly worse by itself: T = {', '.join(f'{t:g}' for t in alike)}"
    note += "; the best T is chosen on the test images"
    return [Finding("mnist.narrow_best_T", Estimate(best, low, high, len(table)), answer, note)]


@dataclass(frozen=True)
class Shifted:
    """Errors of the students of one missing-class study under a bias shift.

    ``tuned`` and ``honest`` are, for each seed, the index of the shift chosen on the test set, as in the paper, and on
    the validation split; ``zero`` is the index of no shift. ``curve`` (seed, shift) counts all errors and ``curve_on``
    those on the shifted classes, of which there are ``cases_on``.
    """

    shifts: list[float]
    curve: np.ndarray
    curve_on: np.ndarray
    cases_on: int
    tuned: list[int]
    honest: list[int]
    zero: int

    def at(self, shifts: list[int], on_classes: bool = False) -> list[float]:
        """Return the errors of each seed at its shift, given by index."""
        curve = self.curve_on if on_classes else self.curve
        return [float(curve[seed, index]) for seed, index in enumerate(shifts)]

    def unshifted(self) -> list[int]:
        """Return the index of the zero shift for every seed."""
        return [self.zero] * len(self.curve)


def shifted(records: list[Record], on_test: Arm, on_validation: Arm) -> Shifted | None:
    """Return the bias shifts of students without some classes; None where there are no such runs.

    Test-tuned: each student at the shift with the fewest test errors, as in the paper. Honest: the shift with the
    fewest errors on the validation split, of the student of the same seed that was trained without it. Ties go to the
    shift nearest to zero.
    """
    students, chosen = select(records, on_test), select(records, on_validation)
    if not students or len(students) != len(chosen):
        return None
    shifts = students[0]["metrics"]["shifts"]

    def best(record: Record) -> int:
        curve = record["metrics"]["shift_errors"]
        return min(range(len(shifts)), key=lambda i: (curve[i], abs(shifts[i])))

    return Shifted(
        shifts,
        np.array(errors(students, "shift_errors"), dtype=float),
        np.array(errors(students, "shift_errors_on_classes"), dtype=float),
        students[0]["metrics"]["cases_of_classes"],
        [best(record) for record in students],
        [best(record) for record in chosen],
        min(range(len(shifts)), key=lambda i: abs(shifts[i])),
    )


def without_3(records: list[Record]) -> Shifted | None:
    """Return the bias shifts of students that never saw a 3."""
    return shifted(records, Arm.WITHOUT_3, Arm.WITHOUT_3_VALIDATION)


def only_7_8(records: list[Record]) -> Shifted | None:
    """Return the bias shifts of students that saw only 7s and 8s."""
    return shifted(records, Arm.ONLY_7_8, Arm.ONLY_7_8_VALIDATION)


def _without_3(records: list[Record]) -> list[Finding]:
    study = without_3(records)
    if study is None:
        return []
    distilled = errors(select(records, Arm.DISTILLED))[: len(study.curve)]  # which may have more seeds
    if len(distilled) != len(study.curve):
        return []
    unshifted = study.unshifted()
    before, before_on = (study.at(unshifted, on) for on in (False, True))
    after, after_on = (study.at(study.tuned, on) for on in (False, True))
    shift = [study.shifts[i] for i in study.tuned]
    gain, gain_on = (  # judged at the honest shift: the one that fits the test set cannot lose on it
        stats.paired_difference(study.at(unshifted, on), study.at(study.honest, on)) for on in (False, True)
    )
    accuracy = [100 - 100 * e / study.cases_on for e in study.at(study.tuned, True)]
    return [
        _level("mnist.no3_errors", before, stats.paired_difference(before, distilled)),
        _level("mnist.no3_errors_on_3", before_on, _over("mnist.no3_errors_on_3", before_on)),
        _level("mnist.no3_shift", shift, stats.mean_interval(shift), _honest(study)),
        _level("mnist.no3_corrected_errors", after, gain, _honest(study, study.curve)),
        _level("mnist.no3_corrected_errors_on_3", after_on, gain_on, _honest(study, study.curve_on)),
        _level("mnist.no3_corrected_acc_on_3", accuracy, gain_on.each(lambda errors: 100 * errors / study.cases_on),
               _honest(study, 100 - 100 * study.curve_on / study.cases_on)),
    ]  # fmt: skip


def _over(claim: str, values: Sequence[float]) -> Estimate:
    """Return by how much the values differ from no effect, in the direction of the paper's figure."""
    paper_claim = paper.BY_ID[claim]
    sign = 1 if paper_claim.figure > paper_claim.no_effect else -1
    return stats.mean_interval([sign * (value - paper_claim.no_effect) for value in values])


def _only_7_8(records: list[Record]) -> list[Finding]:
    study = only_7_8(records)
    if study is None:
        return []
    percent = study.curve / 100
    seeds = range(len(percent))
    before = [percent[s, study.zero] for s in seeds]
    after = [percent[s, study.tuned[s]] for s in seeds]
    gain = stats.mean_interval([percent[s, study.zero] - percent[s, study.honest[s]] for s in seeds])
    lowered = [-study.shifts[i] for i in study.tuned]
    return [
        _level("mnist.only78_error", before, _over("mnist.only78_error", before)),
        _level("mnist.only78_shift", lowered, stats.mean_interval(lowered), _honest(study, sign=-1)),
        _level("mnist.only78_corrected_error", after, gain, _honest(study, percent)),
    ]


def _honest(study: Shifted, curve: np.ndarray | None = None, sign: int = 1) -> str:
    """Return a remark with the shift chosen on validation, or the value of a ``curve`` (seed, shift) there."""
    values = [sign * study.shifts[i] if curve is None else curve[s, i] for s, i in enumerate(study.honest)]
    estimate = stats.mean_interval(values)
    chosen = f"chosen on validation: {estimate.value:.4g}{_range(estimate)}"
    return f"shift chosen on the test set, as in the paper; {chosen}"


def _theory(records: list[Record]) -> list[Finding]:
    ratios = gradient_ratios()
    distance = [abs(1 - ratio) for ratio in ratios.values()]
    nearer = all(b < a for a, b in zip(distance[:-1], distance[1:], strict=True))
    note = ", ".join(f"T={t:g}: {r:.3f}" for t, r in ratios.items() if t in (1, 5, 20, 100, 1000))
    note = f"one draw of normal logits of standard deviation 5; {note}{_regression(records)}"
    answer = Direction.HOLDS if nearer else Direction.ABSENT
    return [Finding("theory.logit_matching", Estimate(ratios[max(ratios)], None, None, 1), answer, note)]


def _regression(records: list[Record]) -> str:
    """Return a remark on errors at the highest temperature less those of logit regression, at the largest width."""
    if not widths(records):
        return ""
    units = max(widths(records))
    temperatures, table, _ = sweep(records, units)
    limit = logit_regression(records, units)
    if len(limit) != len(table):
        return ""
    excess = stats.paired_difference(table[:, -1], limit)
    return (
        f"; test errors of students of {units} units at T={temperatures[-1]:g} minus those by logit regression: "
        f"{excess.value:+.1f}{_range(excess, '.1f')}"
    )


def _range(estimate: Estimate, form: str = ".4g") -> str:
    return "" if estimate.low is None else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
