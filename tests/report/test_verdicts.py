"""Verdicts follow their rules, and the paper's numbers are consistent."""

import numpy as np
import pytest

from repro import paper
from repro.evaluation import stats
from repro.mnist.runs import Arm
from repro.report import records
from repro.report.mnist import analysis

YES, NO, UNCLEAR = paper.Direction.HOLDS, paper.Direction.ABSENT, paper.Direction.UNDECIDED


@pytest.mark.parametrize(
    ("claim", "value", "run", "direction", "verdict"),
    [
        # A figure is met by the prediction interval for one more run, which must not be wider than the paper's effect.
        ("mnist.baseline_errors", 146, (130, 162), YES, "reproduced"),
        ("mnist.baseline_errors", 120, (110, 130), YES, "direction holds"),
        ("mnist.baseline_errors", 146, (100, 192), YES, "undecided"),
        ("mnist.baseline_errors", 146, (130, 162), NO, "not reproduced"),
        ("mnist.baseline_errors", 146, (130, 162), UNCLEAR, "undecided"),
        ("mnist.teacher_errors", 60, (55, 65), YES, "exceeds"),
        ("mnist.teacher_errors", 80, (75, 85), YES, "direction holds"),
        ("mnist.gap_closed", 0.97, (0.95, 0.99), YES, "exceeds"),
        ("mnist.gap_closed", 0.5, (0.4, 0.6), YES, "direction holds"),
        ("mnist.gap_closed", 0.5, (0.0, 1.0), YES, "undecided"),
        ("mnist.gap_closed", 0.91, None, YES, "shown"),
        ("mnist.gap_closed", 0.91, None, None, "shown"),
        # A range.
        ("mnist.narrow_best_T", 3, None, YES, "reproduced"),
        ("mnist.narrow_best_T", 5, None, YES, "direction holds"),
        ("mnist.narrow_best_T", 3, None, NO, "not reproduced"),
        ("mnist.narrow_best_T", 3, None, UNCLEAR, "undecided"),
        # A direction alone.
        ("mnist.wide_flat", 4, None, YES, "reproduced"),
        ("mnist.wide_flat", 4, None, NO, "not reproduced"),
        ("mnist.wide_flat", 4, None, UNCLEAR, "undecided"),
        # A direction whose figure depends on the data, which no result on other data meets.
        ("speech.ensemble_frame_acc", 61.1, None, YES, "direction holds"),
        ("speech.ensemble_frame_acc", 40, None, NO, "not reproduced"),
        ("speech.ensemble_frame_acc", 40, None, None, "shown"),
        ("speech.soft3_no_overfit", 2, None, YES, "reproduced"),
        ("specialists.baseline_acc", 25, None, YES, "shown"),
    ],
)
def test_verdicts_follow_their_rules(claim, value, run, direction, verdict):
    assert paper.judge(paper.BY_ID[claim], value, run, direction) == verdict


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [(0.1, 5, YES), (-1, 3, UNCLEAR), (-1, 1.9, NO), (-3, -1, NO), (-3, 2.1, UNCLEAR), (None, None, None)],
)
def test_an_effect_is_there_missing_or_undecided_by_its_interval(low, high, answer):
    assert paper.direction_of(low, high, 2.0) is answer


def test_several_effects_must_all_be_there():
    assert paper.all_of(YES, YES) is YES and paper.all_of(YES, UNCLEAR) is UNCLEAR
    assert paper.all_of(UNCLEAR, NO) is NO and paper.all_of(YES, None) is None


@pytest.mark.parametrize("claim", ["mnist.baseline_errors", "mnist.narrow_best_T", "mnist.wide_flat"])
def test_results_of_a_single_seed_have_no_verdict(claim):
    value = {"mnist.baseline_errors": 146, "mnist.narrow_best_T": 3}.get(claim, 4)
    judged = [paper.judge(paper.BY_ID[claim], value, (value - 1, value + 1), YES, seeds) for seeds in (1, 2)]
    assert judged == ["shown", "reproduced"]
    assert paper.judge(paper.BY_ID["theory.logit_matching"], 1, None, YES, 1) == "reproduced"


def test_more_seeds_do_not_make_a_figure_fail():
    """Networks like the paper's must reproduce its figure however many there are (the mean's interval would not)."""
    draw, claim = np.random.default_rng(0), paper.BY_ID["mnist.baseline_errors"]
    for seeds in (5, 20, 80):
        met = 0
        for _ in range(300):
            run = stats.prediction_interval(draw.normal(claim.figure - 3, 6, seeds))
            met += paper.judge(claim, claim.figure, run, YES, seeds) == "reproduced"
        assert met > 240


SWEEP = (1.0, 2.0, 2.5, 3.0, 4.0, 10.0, 20.0, 40.0)


def sweep_records(units: int, errors_at, seeds: int = 5) -> list[dict]:
    """Return records of a temperature sweep at one width; ``errors_at`` maps (temperature, seed) to test errors."""
    return [
        {"arm": Arm.TEMPERATURE_SWEEP, "params": {}, "seed": seed, "metrics": {"test_errors": errors_at(t, seed)},
         "settings": {"hidden": [units, units], "temperature": t}}
        for t in SWEEP for seed in range(seeds)
    ]  # fmt: skip


def direction_found(claim: str, runs: list[dict]) -> paper.Direction | None:
    return {finding.claim: finding.direction for finding in analysis.findings(runs)}[claim]


@pytest.mark.parametrize(
    ("errors_at", "answer"),
    [
        (lambda t, seed: 250 + seed % 3 + 40 * (t < 2.5) + 60 * (t > 4), YES),
        (lambda t, seed: 250 + seed % 3 + 60 * (t > 4), NO),
        (lambda t, seed: 250 + 60 * (t > 4) + (25 * (seed % 3 - 1) + 6) * (t < 2.5), UNCLEAR),
    ],
)
def test_the_best_temperature_is_judged_by_contrasts_fixed_beforehand(errors_at, answer):
    assert direction_found("mnist.narrow_best_T", sweep_records(30, errors_at)) is answer


@pytest.mark.parametrize(
    ("errors_at", "answer"),
    [
        (lambda t, seed: 100 + 3 * seed + (t == 40) + (seed * t) % 3, YES),
        (lambda t, seed: 100 + 3 * seed + 40 * (t == 40) + (seed * t) % 3, NO),
        (lambda t, seed: 100 + (t == 40) * (9 + 6 * (seed % 3)), UNCLEAR),
    ],
)
def test_errors_at_high_temperatures_are_judged_by_an_equivalence_test(errors_at, answer):
    assert direction_found("mnist.wide_flat", sweep_records(300, errors_at)) is answer


def test_every_judged_claim_has_a_criterion_and_if_it_is_counted_a_label():
    for claim in paper.CLAIMS:
        assert bool(claim.criterion) == (claim.rule != "shown"), claim.id
        assert bool(claim.label) == (claim.rule != "shown" and not claim.restates), claim.id
    labels = [(claim.section, claim.label) for claim in paper.CLAIMS if claim.label]
    assert len(labels) == len(set(labels))


def test_the_fraction_closed_is_also_computed_from_the_better_baseline_of_the_sweep():
    def trained(arm, errors, **settings):
        return [{"arm": arm, "params": {}, "seed": seed, "metrics": {"test_errors": errors + seed},
                 "settings": {"hidden": [800, 800], "temperature": 20.0} | settings} for seed in range(3)]  # fmt: skip

    runs = trained(Arm.TEACHER, 60) + trained(Arm.BASELINE, 150) + trained(Arm.DISTILLED, 80)
    (closed,) = [finding for finding in analysis.findings(runs) if finding.claim == "mnist.gap_closed"]
    assert closed.ours.value == pytest.approx(70 / 90) and "temperature sweep" not in closed.note
    runs += trained(Arm.TEMPERATURE_SWEEP, 81) + trained(Arm.WIDTH_HARD_TARGETS, 120)
    (closed,) = [finding for finding in analysis.findings(runs) if finding.claim == "mnist.gap_closed"]
    assert closed.ours.value == pytest.approx(70 / 90)
    assert "whose recipe makes 121.0 errors: 0.67 [" in closed.note, "40 of 60 errors"
    worse = runs[:-3] + trained(Arm.WIDTH_HARD_TARGETS, 60)
    (closed,) = [finding for finding in analysis.findings(worse) if finding.claim == "mnist.gap_closed"]
    assert "temperature sweep" not in closed.note, "there is no gap"


def test_the_best_temperature_needs_lower_and_higher_temperatures(made):
    def judged(runs):
        return "mnist.narrow_best_T" in {finding.claim for finding in analysis.findings(runs)}

    runs = records.load(made, "mnist", "mnist")
    assert not judged(runs), "no width of 30"
    sweep = [run for run in runs if run["arm"] in (Arm.TEMPERATURE_SWEEP, Arm.WIDTH_HARD_TARGETS)]
    narrow = [run | {"settings": run["settings"] | {"hidden": [30, 30]}} for run in sweep]
    temperatures = {t for run in narrow if isinstance(t := run["settings"]["temperature"], float)}
    assert 1.0 in temperatures and max(temperatures) >= 10
    assert judged(narrow)
    low = [r for r in narrow if not (isinstance(t := r["settings"]["temperature"], float) and t >= 10)]
    assert not judged(low)


def test_figures_of_the_paper_are_consistent_with_each_other():
    value = {claim.id: claim.paper for claim in paper.CLAIMS}
    teacher, baseline, distilled = (value[f"mnist.{n}_errors"] for n in ("teacher", "baseline", "distilled"))
    assert round((baseline - distilled) / (baseline - teacher), 2) == value["mnist.gap_closed"]
    accuracy = 100 - 100 * value["mnist.no3_corrected_errors_on_3"] / paper.TEST_THREES
    assert round(accuracy, 1) == value["mnist.no3_corrected_acc_on_3"]
    shifted = (value["mnist.no3_shift"], value["mnist.no3_corrected_errors"])
    assert ((0, value["mnist.no3_errors"]), shifted) == paper.NO3_POINTS
    assert paper.ONLY78_POINTS[1] == (-value["mnist.only78_shift"], 100 * value["mnist.only78_corrected_error"])


def test_ties_between_shifts_go_to_the_shift_nearest_to_zero():
    def record(arm, curve):
        shifts = {"shifts": [-1, 0, 1, 2], "shift_errors": curve, "shift_errors_on_classes": curve}
        return {"arm": arm, "params": {}, "seed": 0, "settings": {}, "metrics": shifts | {"cases_of_classes": 9}}

    study = analysis.without_3([
        record(Arm.WITHOUT_3, [5, 6, 5, 5]), record(Arm.WITHOUT_3_VALIDATION, [9, 8, 7, 2]),
    ])  # fmt: skip
    assert study.tuned == [0] and study.honest == [3] and study.at(study.honest) == [5]
