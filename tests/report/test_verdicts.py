"""Verdicts follow their rules, and the paper's numbers are consistent."""

import pytest

from repro import paper
from repro.mnist.runs import Arm
from repro.report import records
from repro.report.mnist import analysis


@pytest.mark.parametrize(
    ("claim", "value", "low", "high", "direction", "verdict"),
    [
        ("mnist.baseline_errors", 146, 140, 152, True, "reproduced"),
        ("mnist.baseline_errors", 120, 118, 122, True, "direction holds"),
        ("mnist.baseline_errors", 146, 140, 152, False, "not reproduced"),
        ("mnist.teacher_errors", 60, 58, 62, True, "reproduced"),
        ("mnist.teacher_errors", 80, 78, 82, True, "direction holds"),
        ("mnist.gap_closed", 0.97, 0.95, 0.99, True, "reproduced"),
        ("mnist.gap_closed", 0.5, 0.4, 0.6, True, "direction holds"),
        ("mnist.gap_closed", 0.91, None, None, False, "shown"),
        ("mnist.narrow_best_T", 3, 2.5, 4, True, "reproduced"),
        ("mnist.narrow_best_T", 5, 4, 8, True, "direction holds"),
        ("mnist.narrow_best_T", 3, 2, 8, False, "not reproduced"),
        ("speech.ensemble_frame_acc", 40, None, None, None, "shown"),
        ("mnist.wide_flat", 4, None, None, True, "reproduced"),
        ("mnist.wide_flat", 4, None, None, False, "not reproduced"),
    ],
)
def test_verdicts_follow_their_rules(claim, value, low, high, direction, verdict):
    assert paper.judge(paper.BY_ID[claim], value, low, high, direction) == verdict


@pytest.mark.parametrize("claim", ["mnist.baseline_errors", "mnist.narrow_best_T", "mnist.wide_flat"])
def test_results_of_a_single_seed_have_no_verdict(claim):
    value = {"mnist.baseline_errors": 146, "mnist.narrow_best_T": 3}.get(claim, 4)
    judged = [paper.judge(paper.BY_ID[claim], value, value - 1, value + 1, True, seeds) for seeds in (1, 2)]
    assert judged == ["shown", "reproduced"]
    assert paper.judge(paper.BY_ID["theory.logit_matching"], 1, 1, 1, True, 1) == "reproduced"


def test_every_judged_claim_has_a_criterion():
    for claim in paper.CLAIMS:
        assert bool(claim.criterion) == (claim.rule != "shown"), claim.id


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
