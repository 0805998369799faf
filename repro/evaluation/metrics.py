"""What is measured of a net on labelled cases."""

import base64
import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def evaluate(logits: Float[Tensor, "example class"], labels: Int[Tensor, "example"]) -> dict[str, float | int]:
    """Errors, mean negative log-likelihood in nats, and expected calibration error."""
    return {
        "errors": int((logits.argmax(-1) != labels).sum()),
        "nll": float(F.cross_entropy(logits, labels)),
        "ece": calibration_error(logits, labels),
    }


def of_part(name: str, logits: Float[Tensor, "example class"], labels: Int[Tensor, "example"]) -> dict[str, Any]:
    """``evaluate`` on a part of the data, its name before each entry's; of test also which cases are wrong."""
    found: dict[str, Any] = {f"{name}_cases": len(labels)} | {
        f"{name}_{what}": value for what, value in evaluate(logits, labels).items()
    }
    if name == "test":
        found["test_wrong"] = pack(logits.argmax(-1) != labels)
    return found


def calibration_error(logits: Float[Tensor, "example class"], labels: Int[Tensor, "example"], bins: int = 15) -> float:
    """Expected calibration error in 0 .. 1, over ``bins`` equal intervals of confidence (Guo et al. 2017)."""
    confidence, guess = torch.softmax(logits.double(), dim=-1).max(-1)
    surplus = confidence - (guess == labels).double()
    where = (confidence * bins).long().clamp_max(bins - 1)
    return float(torch.zeros(bins, dtype=torch.double).index_add_(0, where, surplus).abs().sum() / len(labels))


def agreement(logits: Float[Tensor, "example class"], teacher: Float[Tensor, "example class"]) -> float:
    """Share of cases in which student and teacher name the same class."""
    return float((logits.argmax(-1) == teacher.argmax(-1)).double().mean())


def pack(wrong: Bool[Tensor, "example"]) -> str:
    """Which cases are wrong, as base64 of one bit a case: what paired tests need."""
    return base64.b64encode(np.packbits(wrong.numpy()).tobytes()).decode()


def unpack(text: str, count: int) -> np.ndarray:
    """The inverse of ``pack``: a boolean array of ``count`` cases."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


def pack_counts(counts: Int[Tensor, "example"]) -> str:
    """Counts of 0 .. 65535, one for each case, as base64 of zlib's compression of two bytes each."""
    return base64.b64encode(zlib.compress(counts.numpy().astype("<u2").tobytes(), 9)).decode()


def unpack_counts(text: str) -> np.ndarray:
    """The inverse of ``pack_counts``."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").astype(np.int64)


def shift_curve(
    logits: Float[Tensor, "example class"],
    labels: Int[Tensor, "example"],
    classes: tuple[int, ...],
    shifts: Float[Tensor, "shift"],
) -> tuple[list[int], list[int]]:
    """Errors, and errors on cases of ``classes``, when the biases of ``classes`` are raised by each shift.

    Only the best logit inside ``classes`` and the best outside matter, so a shift costs one comparison.
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
