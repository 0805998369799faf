"""Digits that the report shows."""

from typing import Any

from repro.mnist.experiment import teacher_run
from repro.mnist.runner import MnistRunner
from repro.mnist.settings import MnistSettings


def shown_digits(settings: MnistSettings, runner: MnistRunner) -> dict[str, Any] | None:
    """Return test digits on which the first teacher is least sure, and its logits, for the figure of soft targets.

    They are None where that teacher is not finished.
    """
    teacher = teacher_run(settings, 0)
    if not runner.is_finished(teacher):
        return None
    logits, test = runner.teacher_logits(teacher)["test"], runner.data.test
    right = logits.argmax(-1) == test.labels
    top = logits.topk(2, dim=-1).values
    margin = (top[:, 0] - top[:, 1]).masked_fill(~right, float("inf"))
    cases: list[dict[str, Any]] = []
    for digit in (2, 2, 3, 4, 7, 9):
        unsure = margin.masked_fill(test.labels != digit, float("inf"))
        unsure[[c["case"] for c in cases]] = float("inf")
        case = int(unsure.argmin())
        cases.append(
            {
                "case": case,
                "label": digit,
                "pixels": (test.images[case] * 255).round().byte().tolist(),
                "logits": [round(value, 4) for value in logits[case].tolist()],
            }
        )
    return {"key": runner.key(teacher), "cases": cases}
