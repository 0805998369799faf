"""Findings and tables of speech against computations by hand."""

import pytest

from repro.report.speech import analysis, queries, tables
from repro.speech.runs import Arm


def test_findings_on_few_data_and_word_errors_match_a_computation_by_hand():
    def frames(right, part=""):
        right = right * 3  # six speakers
        return {f"{part}test_speaker_right": right, f"{part}test_right": sum(right), f"{part}test_cases": 600,
                f"{part}train_right": 1, f"{part}train_cases": 2}  # fmt: skip

    def record(arm, seed, metrics, curve=(), params=(), **settings):
        settings = {"fraction": 0.03, "temperature": 2.0, "num_teachers": 10, "recipe": {"epochs": 30.0}} | settings
        whole = {"test_speaker_cases": [100] * 6, "validation_right": 1, "validation_cases": 2} | metrics
        return {
            "arm": arm,
            "params": dict(params),
            "seed": seed,
            "metrics": whole,
            "curve": curve,
            "settings": settings,
        }

    def decoded(system, seed, *errors):
        each = {"test_substitutions": errors * 2, "test_deletions": [0, 1, 0] * 2, "test_insertions": [0] * 6}
        metrics = each | {"test_words": [10] * 6, "test_speakers": list("abcdef")}
        return record(Arm.DECODE, seed, metrics, params={"system": system})

    hard = frames([25, 25]) | frames([20, 20], "stopped_") | {"stopped_epoch": 3.004}
    hard |= {"stopped_validation_right": 1, "stopped_validation_cases": 2}
    curve = [[1, 0, 0, 30.0], [2, 0, 0, 33.0], [3, 0, 0, 28.0]]
    runs = [record(Arm.SINGLE_MODEL, seed, frames([60, 60])) for seed in (0, 1)]
    runs += [record(Arm.ENSEMBLE, 0, frames([70, 70]) | {"nets": 2}, mean="arithmetic")]
    runs += [record(Arm.DATA_FRACTION, seed, hard, curve, {"targets": "hard"}) for seed in (2, 3)]
    soft = frames([50, 50]) | {"stopped_validation_right": 1, "stopped_validation_cases": 2}
    runs += [record(Arm.DATA_FRACTION, seed, soft, curve[:2], {"targets": "soft"}) for seed in (2, 3)]
    runs += [decoded("single", seed, 6, 6, 6) for seed in (0, 1)] + [decoded("ensemble", 0, 3, 2, 4)]
    by_claim = {finding.claim: finding for finding in analysis.findings(runs)}
    recovered = by_claim["speech.soft3_recovered"]
    assert recovered.ours.value == pytest.approx((50 - 20) / (60 - 20)) and recovered.direction == "holds"
    assert recovered.run == pytest.approx((0.75, 0.75)), "all models and speakers are alike"
    assert "stopped after 3, 3 of 30 epochs" in recovered.note
    assert by_claim["speech.soft3_no_overfit"].ours.value == pytest.approx(5.0)
    words = by_claim["speech.ensemble_wer"]
    assert words.ours.value == pytest.approx(100 * 10 / 30) and words.direction == "holds"
    assert f"minus single models: {100 * (10 - 19) / 30:+.2f}" in words.note
    assert words.effect.value == pytest.approx(10.9 * (10 - 19) / 19), "relative to single models, at the paper's rate"
    two = [run | {"metrics": run["metrics"] | {name: counts[:2] for name, counts in run["metrics"].items()
                                               if "speaker" in name and len(counts) == 6}} for run in runs]  # fmt: skip
    few = {finding.claim: finding.direction for finding in analysis.findings(two[:-3])}
    assert few["speech.soft3_recovered"] is few["speech.ensemble_frame_acc"] is None, "two speakers decide nothing"
    equal = {finding.claim: finding for finding in analysis.findings([*runs[:-1], decoded("ensemble", 0, 5, 8, 5)])}
    assert equal["speech.ensemble_wer"].direction == "undecided", "few utterances cannot tell the paper's 2% from none"


def test_hard_targets_are_reported_with_the_schedule_that_is_best_on_validation():
    def trained(epochs, validation, test, seed=0, targets="hard"):
        metrics = {"stopped_validation_right": validation, "stopped_validation_cases": 100, "seed": seed}
        metrics |= {"stopped_test_right": test, "stopped_test_cases": 100, "stopped_epoch": epochs / 2}
        settings = {"fraction": 0.03, "recipe": {"epochs": epochs}}
        return {"arm": Arm.DATA_FRACTION, "params": {"targets": targets}, "seed": seed, "metrics": metrics,
                "settings": settings}  # fmt: skip

    runs = [trained(*of) for of in ((30.0, 20, 90), (4.0, 30, 10), (2.0, 25, 20))]
    assert queries.on_fraction(runs, "hard", 0.03) == runs[1:2]
    assert queries.longest_schedule(runs, "hard", 0.03) == runs[:1]
    table = tables.hard_schedules(runs)
    assert list(table["epochs of the schedule"]) == ["2", "4 (chosen on validation)", "30"]
    assert list(table["test"]) == ["20.00 –", "10.00 –", "90.00 –"]
    more = [*runs, trained(30.0, 10, 10, seed=1), trained(2.0, 26, 20, seed=1)]
    assert list(queries.schedules(more, "hard", 0.03)) == [2.0, 30.0], "the length of 4 has no second seed yet"
    assert queries.on_fraction(runs, "soft", 0.03) == [] == queries.longest_schedule(runs, "soft", 0.03)
    assert tables.hard_schedules(runs[:1]).empty


def test_gain_transferred_matches_a_computation_by_hand():
    def record(arm, right, **settings):
        right, cases = right * 3, [100] * 6
        metrics = {"test_speaker_right": right, "test_speaker_cases": cases, "test_right": sum(right),
                   "test_cases": 600, "validation_right": sum(right), "validation_cases": 600, "nets": 2,
                   "validation_speaker_right": right, "validation_speaker_cases": cases}  # fmt: skip
        return {"arm": arm, "params": {}, "seed": 0, "metrics": metrics, "settings": {"mean": "arithmetic", **settings}}

    base = [record(Arm.SINGLE_MODEL, [40, 60]), record(Arm.ENSEMBLE, [50, 70])]
    right = {1.0: [46, 66], 2.0: [48, 68], 5.0: [45, 65]}
    students = [record(Arm.DISTILLED, each, temperature=t) for t, each in right.items()]
    by_claim = {finding.claim: finding for finding in analysis.findings(base + students)}
    assert by_claim["speech.gain_transferred"].ours.value == pytest.approx(0.8)
    assert by_claim["speech.ensemble_frame_acc"].direction == "holds"
    best = by_claim["speech.best_temperature"]
    assert best.ours.value == 2.0 and best.direction == "holds"
    swapped = [student | {"settings": {"temperature": t}} for student, t in zip(students, (2.0, 1.0, 5.0), strict=True)]
    by_claim = {finding.claim: finding for finding in analysis.findings(base + swapped)}
    assert by_claim["speech.best_temperature"].direction == "absent", "T = 1 is better, though T = 2 beats T = 5"
    further = students[1] | {"seed": 7, "metrics": students[1]["metrics"] | {"test_speaker_right": [60, 80] * 3}}
    more = {finding.claim: finding for finding in analysis.findings([*base, *students, further])}
    assert more["speech.gain_transferred"].ours.value > 1, "a further student counts"
    assert more["speech.best_temperature"].note == best.note, "but not where temperatures are compared"
    without = {finding.claim for finding in analysis.findings(base + students[:2])}
    assert "speech.gain_transferred" in without and "speech.best_temperature" not in without
