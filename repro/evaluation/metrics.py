"""Metrics of a model on labeled examples, and their compact form in records."""

import base64
import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def evaluate(logits: Float[Tensor, "example class"], labels: Int[Tensor, "example"]) -> dict[str, float | int]:
    """Return the number of errors, the mean negative log-likelihood in nats, and the expected calibration error."""
    return {
        "errors": int((logits.argmax(-1) != labels).sum()),
        "nll": float(F.cross_entropy(logits, labels)),
        "ece": calibration_error(logits, labels),
    }


def of_part(name: str, logits: Float[Tensor, "example class"], labels: Int[Tensor, "example"]) -> dict[str, Any]:
    """Return the metrics of ``evaluate`` and the number of examples, prefixed by the name of the split.

    For the split "test" the result also holds the packed errors of each example.
    """
    metrics: dict[str, Any] = {f"{name}_cases": len(labels)} | {
        f"{name}_{metric}": value for metric, value in evaluate(logits, labels).items()
    }
    if name == "test":
        metrics["test_wrong"] = pack(logits.argmax(-1) != labels)
    return metrics


def calibration_error(logits: Float[Tensor, "example class"], labels: Int[Tensor, "example"], bins: int = 15) -> float:
    """Return the expected calibration error, 0 .. 1, over ``bins`` equal intervals of confidence.

    Guo et al. 2017, arXiv 1706.04599.
    """
    confidence, guess = torch.softmax(logits.double(), dim=-1).max(-1)
    surplus = confidence - (guess == labels).double()
    bin_of_example = (confidence * bins).long().clamp_max(bins - 1)
    return float(torch.zeros(bins, dtype=torch.double).index_add_(0, bin_of_example, surplus).abs().sum() / len(labels))


def agreement(logits: Float[Tensor, "example class"], teacher: Float[Tensor, "example class"]) -> float:
    """Return the fraction of examples for which student and teacher predict the same class."""
    return float((logits.argmax(-1) == teacher.argmax(-1)).double().mean())


def pack(wrong: Bool[Tensor, "example"]) -> str:
    """Return the errors of each example as base64 of one bit per example, for paired tests."""
    return base64.b64encode(np.packbits(wrong.numpy()).tobytes()).decode()


def unpack(text: str, count: int) -> np.ndarray:
    """Return the boolean array of ``count`` examples that ``pack`` encoded."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


def pack_counts(counts: Int[Tensor, "example"]) -> str:
    """Return counts in 0 .. 65535, one per example, as base64 of zlib-compressed 16-bit integers."""
    return base64.b64encode(zlib.compress(counts.numpy().astype("<u2").tobytes(), 9)).decode()


def unpack_counts(text: str) -> np.ndarray:
    """Return the counts that ``pack_counts`` encoded."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").astype(np.int64)


def shift_curve(
    logits: Float[Tensor, "example class"],
    labels: Int[Tensor, "example"],
    classes: tuple[int, ...],
    shifts: Float[Tensor, "shift"],
) -> tuple[list[int], list[int]]:
    """Return errors, and errors on examples of ``classes``, with the biases of ``classes`` raised by each shift.

    Section 3's correction for classes that the transfer set lacks. Only the best logit inside ``classes`` and the best
    outside matter, so a shift costs one comparison.

    Returns:
        Errors on all examples, and errors on examples of ``classes``; one number for each shift.
    """
    chosen = torch.zeros(logits.shape[-1], dtype=torch.bool)
    chosen[list(classes)] = True
    inside, guess_inside = logits.masked_fill(~chosen, -torch.inf).max(-1)
    outside, guess_outside = logits.masked_fill(chosen, -torch.inf).max(-1)
    of_classes = chosen[labels]
    errors, errors_on_classes = [], []
    for shift in shifts.tolist():
        wrong = torch.where(inside + shift > outside, guess_inside, guess_outside) != labels
        errors.append(int(wrong.sum()))
        errors_on_classes.append(int((wrong & of_classes).sum()))
    return errors, errors_on_classes
