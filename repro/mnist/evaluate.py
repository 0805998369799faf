"""Errors of the networks of section 3."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.evaluation import metrics


def errors(logits: Float[Tensor, "example classes"], labels: Int[Tensor, "example"]) -> int:
    """Return the number of misclassified examples."""
    return int((logits.argmax(-1) != labels).sum())


def mean_errors(logits: Float[Tensor, "translation example classes"], labels: Int[Tensor, "example"]) -> float:
    """Return the number of misclassified examples, in the mean over the translations."""
    return float((logits.argmax(-1) != labels).sum(-1).float().mean())


def shift_metrics(
    logits: Float[Tensor, "example classes"],
    labels: Int[Tensor, "example"],
    classes: tuple[int, ...],
    low: float,
    high: float,
    step: float,
) -> dict[str, Any]:
    """Return errors at every shift of the biases of ``classes``, ``low`` to ``high``, on all examples and on theirs."""
    shifts = torch.arange(round(low / step), round(high / step) + 1) * step
    on_all, on_classes = metrics.shift_curve(logits, labels, classes, shifts)
    return {
        "shifts": [round(shift, 3) for shift in shifts.tolist()],
        "shift_errors": on_all,
        "shift_errors_on_classes": on_classes,
        "cases_of_classes": int(torch.isin(labels, torch.tensor(classes)).sum()),
    }
