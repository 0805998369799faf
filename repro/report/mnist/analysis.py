"""Claims of sections 3 and 2.1, computed from the records."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from repro import kd, paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.mnist.runs import Arm
from repro.report.query import positive, select
from repro.report.records import Record
from repro.report.section import Finding
from repro.training.random_streams import Stream, generator

GRADIENT_TEMPERATURES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


def errors(records: list[Record], metric: str = "test_errors") -> list[float]:
    """Return a metric of each record, by default the test errors."""
    return [record["metrics"][metric] for record in records]


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
    means = [stats.mean_interval(values) for values in (teacher, baseline, distilled)]
    apart = _below(means[0], means[1])
    gain = [b - d for b, d in zip(baseline, distilled, strict=True)]
    closed = stats.ratio_interval(gain, [b - t for b, t in zip(baseline, teacher, strict=True)])
    improved = positive(stats.mean_interval(gain))
    return [
        Finding("mnist.teacher_errors", means[0], apart),
        Finding("mnist.baseline_errors", means[1], apart),
        Finding("mnist.distilled_errors", means[2], improved),
        Finding("mnist.gap_closed", closed, positive(closed), "ratio of means over seeds, Fieller's interval"),
    ]


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
    """Return the spread of the means over T > 8 at widths of 300 and more, against what seed noise alone gives."""
    spreads = []
    for units in [units for units in widths(records) if units >= 300]:
        temperatures, table, _ = sweep(records, units)
        flat = table[:, [t > paper.WIDE_SIMILAR_ABOVE for t in temperatures]]
        if flat.shape[0] > 1 and flat.shape[1] > 1:
            means = flat.mean(0)
            spreads.append((float(means.max() - means.min()), stats.noise_spread(flat), units, len(flat)))
    if not spreads:
        return []
    note = "; ".join(
        f"{units} units: spread {spread:.1f} errors; seed noise alone gives up to {noise:.1f} in 19 of 20 cases"
        for spread, noise, units, _ in spreads
    )
    largest = Estimate(max(spread for spread, *_ in spreads), None, None, spreads[0][3])
    return [Finding("mnist.wide_flat", largest, all(spread <= noise for spread, noise, *_ in spreads), note)]


def _narrow_best(records: list[Record]) -> list[Finding]:
    """Return the best temperature of students with 30 units per layer."""
    if 30 not in widths(records):
        return []
    temperatures, table, _ = sweep(records, 30)
    best, low, high = stats.argmin_interval(table, temperatures)
    least, most = paper.NARROW_RANGE
    at_best = table[:, temperatures.index(best)]
    margins = {
        t: stats.paired_difference(table[:, temperatures.index(t)], at_best)
        for t in temperatures if not least <= t <= most
    }  # fmt: skip
    lower = [margin for t, margin in margins.items() if t == 1]
    higher = [margin for t, margin in margins.items() if t >= 10]
    if not lower or not higher:  # there is nothing that it could be better than
        return []
    compared = ", ".join(map(_margin, margins.items()))
    note = f"errors relative to the best T, which was chosen on the same test images: {compared}"
    level = [f"T={t:g}" for t, margin in margins.items() if not positive(margin)]
    if level:
        note += f"; no significant difference: {', '.join(level)}"
    holds = all(positive(margin) for margin in lower + higher)
    return [Finding("mnist.narrow_best_T", Estimate(best, low, high, len(table)), holds, note)]


def _margin(item: tuple[float, Estimate]) -> str:
    return f"T={item[0]:g}: {item[1].value:+.0f}{_range(item[1], '.0f')}"


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
    distilled = errors(select(records, Arm.DISTILLED))
    if study is None or not distilled:
        return []
    unshifted = study.unshifted()
    before, before_on = (stats.mean_interval(study.at(unshifted, on)) for on in (False, True))
    after, after_on = (stats.mean_interval(study.at(study.tuned, on)) for on in (False, True))
    shift = stats.mean_interval([study.shifts[i] for i in study.tuned])
    gain, gain_on = (  # judged at the honest shift: the one that fits the test set cannot lose on it
        stats.paired_difference(study.at(unshifted, on), study.at(study.honest, on)) for on in (False, True)
    )
    accuracy = stats.mean_interval([100 - 100 * e / study.cases_on for e in study.at(study.tuned, True)])
    return [
        Finding("mnist.no3_errors", before, _below(stats.mean_interval(distilled), before)),
        Finding("mnist.no3_errors_on_3", before_on, _within(before_on, -1, study.cases_on / 2)),
        Finding("mnist.no3_shift", shift, positive(shift), _honest(study)),
        Finding("mnist.no3_corrected_errors", after, positive(gain), _honest(study, study.curve)),
        Finding("mnist.no3_corrected_errors_on_3", after_on, positive(gain_on), _honest(study, study.curve_on)),
        Finding("mnist.no3_corrected_acc_on_3", accuracy, _within(accuracy, 97, 101),
                _honest(study, 100 - 100 * study.curve_on / study.cases_on)),
    ]  # fmt: skip


def _only_7_8(records: list[Record]) -> list[Finding]:
    study = only_7_8(records)
    if study is None:
        return []
    percent = study.curve / 100
    seeds = range(len(percent))
    before = stats.mean_interval([percent[s, study.zero] for s in seeds])
    after = stats.mean_interval([percent[s, study.tuned[s]] for s in seeds])
    gain = stats.mean_interval([percent[s, study.zero] - percent[s, study.honest[s]] for s in seeds])
    lowered = stats.mean_interval([-study.shifts[i] for i in study.tuned])
    return [
        Finding("mnist.only78_error", before, _within(before, -1, 79.98)),
        Finding("mnist.only78_shift", lowered, positive(lowered), _honest(study, sign=-1)),
        Finding("mnist.only78_corrected_error", after, positive(gain), _honest(study, percent)),
    ]


def _honest(study: Shifted, curve: np.ndarray | None = None, sign: int = 1) -> str:
    """Return a remark with the shift chosen on validation, or the value of a ``curve`` (seed, shift) there."""
    values = [sign * study.shifts[i] if curve is None else curve[s, i] for s, i in enumerate(study.honest)]
    estimate = stats.mean_interval(values)
    chosen = f"chosen on validation: {estimate.value:.4g}{_range(estimate)}"
    return f"shift chosen on the test set, as in the paper; {chosen}"


def gradient_ratios() -> dict[float, float]:
    """Return the least-squares ratio of the exact gradient (equation 2) to that of equation 4 by temperature.

    Section 2.1: the logits are zero-mean Gaussian with standard deviation 5, of 10 classes, in float64.
    """
    draw = generator(Stream.GRADIENT_RATIO)
    student, teacher = 5 * torch.randn(2, 1000, 10, generator=draw, dtype=torch.float64)
    student, teacher = (logits - logits.mean(-1, keepdim=True) for logits in (student, teacher))
    ratios = {}
    for temperature in GRADIENT_TEMPERATURES:
        exact = kd.exact_gradient(student, teacher, temperature)
        limit = kd.high_temperature_gradient(student, teacher, temperature)
        ratios[temperature] = float((exact * limit).sum() / limit.square().sum())
    return ratios


def _theory(records: list[Record]) -> list[Finding]:
    ratios = gradient_ratios()
    distance = [abs(1 - ratio) for ratio in ratios.values()]
    nearer = all(b < a for a, b in zip(distance[:-1], distance[1:], strict=True))
    note = ", ".join(f"T={t:g}: {r:.3f}" for t, r in ratios.items() if t in (1, 5, 20, 100, 1000))
    last = ratios[GRADIENT_TEMPERATURES[-1]]
    note = f"one draw of normal logits of standard deviation 5; {note}{_regression(records)}"
    return [Finding("theory.logit_matching", Estimate(last, None, None, 1), nearer, note)]


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


def _below(first: Estimate, second: Estimate) -> bool:
    """Return whether the first is lower and the intervals do not overlap; false without an interval."""
    return first.high is not None and second.low is not None and first.high < second.low


def _within(estimate: Estimate, low: float, high: float) -> bool:
    """Return whether the whole interval lies between two bounds; false where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return False
    return low <= estimate.low and estimate.high < high


def _range(estimate: Estimate, form: str = ".4g") -> str:
    return "" if estimate.low is None else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
