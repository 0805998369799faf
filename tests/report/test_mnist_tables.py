"""Tables of MNIST from records whose numbers are known."""

from typing import Any

import pytest

from repro.mnist.runs import Arm
from repro.report.mnist import section, transfer


def record(arm: Arm, seed: int, errors: int, translated: int, **more: Any) -> dict:
    metrics = {"test_errors": errors, "translated_errors": translated, "translated_agreement": 0.9}
    return {
        "arm": str(arm), "seed": seed, "params": {}, "metrics": metrics | more, "settings": {"hidden": [8, 8]},
    }  # fmt: skip


@pytest.fixture
def records() -> list[dict]:
    """Seeds 0 to 3 of teacher and student, seeds 1 to 3 of the ablations."""
    runs = [record(Arm.TEACHER, seed, 70 + seed, 90) for seed in range(4)]
    runs += [record(Arm.DISTILLED, seed, 80 + 3 * seed, 280) for seed in range(4)]
    runs += [record(Arm.TRANSLATED_TRANSFER_SET, seed, 75 + 3 * seed, 100 + seed) for seed in (1, 2, 3)]
    several = [record(Arm.OF_SEVERAL_TEACHERS, s, 79, 270, teacher_errors=68, teacher_translated_errors=88)
               for s in (1, 2, 3)]  # fmt: skip
    for run in several:
        run["settings"]["other_teachers"] = ["a", "b"]
    return runs + several


def test_contrasts_are_paired_over_common_seeds(records):
    rows = transfer.contrasts(records).set_index("comparison")
    name = transfer.NAMES[Arm.TRANSLATED_TRANSFER_SET]
    to_student, to_teacher = rows.loc[f"{name}; minus distilled"], rows.loc[f"{name}; minus its teacher"]
    assert to_student["seeds"] == 3
    assert (to_student["test errors"], to_student["95% CI"]) == ("-5.0", "[-5.0, -5.0]"), "no spread between pairs"
    assert to_student["errors on translated test images"] == "-178.0"
    assert (to_teacher["test errors"], to_teacher["95% CI"]) == ("+9.0", "[4.0, 14.0]"), "7, 9 and 11"
    assert "distilled from the mean of 3 teachers' logits; minus distilled" in rows.index


def test_ensembles_that_share_teachers_have_no_interval(records):
    rows = transfer.table(records).set_index("network")
    assert rows.loc["mean of 3 teachers' logits", ["95% CI", "95% CI (translated)"]].tolist() == ["–", "–"]
    assert rows.loc["distilled from it, 2x8", "95% CI"] != "–"


def test_the_headline_of_ablations_alone_is_a_line(records):
    ablations = [run for run in records if run["arm"] == Arm.TRANSLATED_TRANSFER_SET]
    assert section.headline(ablations) == "no completed runs of the headline yet"
