"""The claims of section 3 and of section 2.1, computed from the records."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from repro import kd, paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.query import positive, select
from repro.report.records import Record
from repro.report.section import Finding
from repro.training.random_streams import Stream, generator

GRADIENT_TEMPERATURES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


def errors(records: list[Record], metric: str = "test_errors") -> list[float]:
    """A metric of each record."""
    return [record["metrics"][metric] for record in records]


def findings(records: list[Record]) -> list[Finding]:
    """All claims for which there are records; the others are absent."""
    parts: list[Callable[[list[Record]], list[Finding]]] = [_headline, _temperatures, _no3, _only78]
    return [finding for part in parts for finding in part(records)] + _theory(records)


def _headline(records: list[Record]) -> list[Finding]:
    teacher, baseline, distilled = (errors(select(records, arm)) for arm in ("teacher", "baseline", "distilled"))
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
    """Temperatures, errors (seed, temperature), and errors of the plain nets (seed) at one width."""
    at_width = [r for r in records if r["arm"] == "width x temperature" and r["settings"]["hidden"] == [units, units]]
    temperatures = sorted({float(r["settings"]["temperature"]) for r in at_width} - {math.inf})
    table = [
        [r["metrics"]["test_errors"] for r in sorted(at_width, key=lambda r: r["seed"])
         if float(r["settings"]["temperature"]) == temperature]
        for temperature in temperatures
    ]  # fmt: skip
    plain = errors(select(records, "width, hard targets", hidden=[units, units]))
    return temperatures, np.array(table, dtype=float).T, plain


def widths(records: list[Record]) -> list[int]:
    """The widths of the temperature sweep."""
    return sorted({r["settings"]["hidden"][0] for r in records if r["arm"] == "width x temperature"})


def _temperatures(records: list[Record]) -> list[Finding]:
    found = []
    spreads = []
    for units in [units for units in widths(records) if units >= 300]:
        temperatures, table, _ = sweep(records, units)
        flat = table[:, [t > paper.WIDE_SIMILAR_ABOVE for t in temperatures]]
        if flat.shape[0] > 1 and flat.shape[1] > 1:
            means = flat.mean(0)
            spreads.append((float(means.max() - means.min()), stats.noise_spread(flat), units))
    if spreads:
        spread = max(spread for spread, _, _ in spreads)
        note = "; ".join(
            f"{u} units: spread {s:.1f} errors; seed noise alone gives up to {n:.1f} in 19 of 20" for s, n, u in spreads
        )
        seeds = len(sweep(records, spreads[0][2])[1])
        holds = all(spread <= noise for spread, noise, _ in spreads)
        found.append(Finding("mnist.wide_flat", Estimate(spread, None, None, seeds), holds, note))
    if 30 in widths(records):
        temperatures, table, _ = sweep(records, 30)
        best, low, high = stats.argmin_interval(table, temperatures)
        least, most = paper.BY_ID["mnist.narrow_best_T"].paper_range or (best, best)
        at_best = table[:, temperatures.index(best)]
        margins = {
            t: stats.paired_difference(table[:, temperatures.index(t)], at_best)
            for t in temperatures if not least <= t <= most
        }  # fmt: skip
        note = "errors above the best (which the same test cases chose): " + ", ".join(
            f"T={t:g}: {m.value:+.0f}{_range(m, '.0f')}" for t, m in margins.items()
        )
        low_ones = [margin for t, margin in margins.items() if t == 1]
        high_ones = [margin for t, margin in margins.items() if t >= 10]
        level = [f"T={t:g}" for t, margin in margins.items() if not positive(margin)]
        if level:
            note += f"; not told apart from it: {', '.join(level)}"
        if low_ones and high_ones:  # else there is nothing that it could be better than
            holds = all(positive(margin) for margin in low_ones + high_ones)
            found.append(Finding("mnist.narrow_best_T", Estimate(best, low, high, len(table)), holds, note))
    return found


@dataclass(frozen=True)
class Shifted:
    """Errors of the nets of one missing-class study: unshifted, test-tuned as in the paper, and honest."""

    shifts: list[float]
    curve: np.ndarray
    curve_on: np.ndarray
    cases_on: int
    tuned: list[int]
    honest: list[int]
    zero: int

    def at(self, where: list[int], on_classes: bool = False) -> list[float]:
        """Errors of each seed at its own shift."""
        curve = self.curve_on if on_classes else self.curve
        return [float(curve[seed, index]) for seed, index in enumerate(where)]


def shifted(records: list[Record], part: str) -> Shifted | None:
    """The bias shifts of ``no3`` or ``only78``.

    Test-tuned: each net at the shift with the fewest test errors, as in the paper. Honest: the shift with
    the fewest errors on the validation split, of the net of the same seed that was trained without it.
    Among equals, the shift nearest to zero.
    """
    on_test, on_validation = select(records, part), select(records, f"{part}, to choose the shift")
    if not on_test or len(on_test) != len(on_validation):
        return None
    shifts = on_test[0]["metrics"]["shifts"]

    def best(record: Record) -> int:
        curve = record["metrics"]["shift_errors"]
        return min(range(len(shifts)), key=lambda i: (curve[i], abs(shifts[i])))

    return Shifted(
        shifts,
        np.array(errors(on_test, "shift_errors"), dtype=float),
        np.array(errors(on_test, "shift_errors_on_classes"), dtype=float),
        on_test[0]["metrics"]["cases_of_classes"],
        [best(record) for record in on_test],
        [best(record) for record in on_validation],
        min(range(len(shifts)), key=lambda i: abs(shifts[i])),
    )


def _no3(records: list[Record]) -> list[Finding]:
    found = shifted(records, "no3")
    distilled = errors(select(records, "distilled"))
    if found is None or not distilled:
        return []
    unshifted = [found.zero] * len(found.curve)
    before, before_on = (stats.mean_interval(found.at(unshifted, on)) for on in (False, True))
    after, after_on = (stats.mean_interval(found.at(found.tuned, on)) for on in (False, True))
    shift = stats.mean_interval([found.shifts[i] for i in found.tuned])
    gain, gain_on = (  # the shift that fits the test set cannot lose on it
        stats.paired_difference(found.at(unshifted, on), found.at(found.honest, on)) for on in (False, True)
    )
    accuracy = stats.mean_interval([100 - 100 * e / found.cases_on for e in found.at(found.tuned, True)])
    tuned = "shift chosen on the test set, as in the paper"
    return [
        Finding("mnist.no3_errors", before, _below(stats.mean_interval(distilled), before)),
        Finding("mnist.no3_errors_on_3", before_on, _within(before_on, -1, found.cases_on / 2)),
        Finding("mnist.no3_shift", shift, positive(shift), _honest(found, tuned)),
        Finding("mnist.no3_corrected_errors", after, positive(gain), _honest(found, tuned, found.curve)),
        Finding("mnist.no3_corrected_errors_on_3", after_on, positive(gain_on), _honest(found, tuned, found.curve_on)),
        Finding("mnist.no3_corrected_acc_on_3", accuracy, _within(accuracy, 97, 101),
                _honest(found, tuned, 100 - 100 * found.curve_on / found.cases_on)),
    ]  # fmt: skip


def _only78(records: list[Record]) -> list[Finding]:
    found = shifted(records, "only78")
    if found is None:
        return []
    percent = found.curve / 100
    seeds = range(len(percent))
    before = stats.mean_interval([percent[s, found.zero] for s in seeds])
    after = stats.mean_interval([percent[s, found.tuned[s]] for s in seeds])
    gain = stats.mean_interval([percent[s, found.zero] - percent[s, found.honest[s]] for s in seeds])
    lowered = stats.mean_interval([-found.shifts[i] for i in found.tuned])
    tuned = "shift chosen on the test set, as in the paper"
    return [
        Finding("mnist.only78_error", before, _within(before, -1, 79.98)),
        Finding("mnist.only78_shift", lowered, positive(lowered), _honest(found, tuned, sign=-1)),
        Finding("mnist.only78_corrected_error", after, positive(gain), _honest(found, tuned, percent)),
    ]


def _honest(found: Shifted, remark: str, curve: np.ndarray | None = None, sign: int = 1) -> str:
    """The remark, with what the shift chosen on validation gives beside it."""
    honest = [sign * found.shifts[i] if curve is None else curve[s, i] for s, i in enumerate(found.honest)]
    estimate = stats.mean_interval(honest)
    return f"{remark}; chosen on validation: {estimate.value:.4g}{_range(estimate)}"


def gradient_ratios() -> dict[float, float]:
    """Section 2.1: at each temperature, the least-squares ratio of the exact gradient (equation 2) to the
    one of equation 4, for zero-mean Gaussian logits of standard deviation 5, 10 classes, in float64."""
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
    drawn = "one draw of logits, normal, of standard deviation 5: the third digit is the draw's"
    note = f"{drawn}; {note}{_regression(records)}"
    return [Finding("theory.logit_matching", Estimate(last, None, None, 1), nearer, note)]


def _regression(records: list[Record]) -> str:
    """What students of the highest temperature have over those of logit regression, at the largest width."""
    if not widths(records):
        return ""
    units = max(widths(records))
    temperatures, table, _ = sweep(records, units)
    limit = errors(select(records, "width x temperature", hidden=[units, units], temperature="inf"))
    if len(limit) != len(table):
        return ""
    more = stats.paired_difference(table[:, -1], limit)
    return (
        f"; test errors of students of {units} units at T={temperatures[-1]:g} minus those by logit regression: "
        f"{more.value:+.1f}{_range(more, '.1f')}"
    )


def _below(first: Estimate, second: Estimate) -> bool:
    """First lower than second, their intervals apart; false where one has none."""
    return first.high is not None and second.low is not None and first.high < second.low


def _within(estimate: Estimate, low: float, high: float) -> bool:
    """The whole interval between two bounds; false where there is none."""
    if estimate.low is None or estimate.high is None:
        return False
    return low <= estimate.low and estimate.high < high


def _range(estimate: Estimate, form: str = ".4g") -> str:
    return "" if estimate.low is None else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
