"""Errors of a student's loss and gradient when an ensemble's soft targets are stored inexactly."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repro.kd.losses import geometric_mean, soft_target_loss
from repro.models.mlp import BatchedMLP
from repro.speech.ensemble_targets import Teacher

TOP = (10, 100, 1000)


def storage_errors(
    ensemble: BatchedMLP, student: BatchedMLP, batch: Float[Tensor, "frame input"], temperature: float
) -> list[dict[str, Any]]:
    """Return, for each way to store the geometric mean, its size and its relative errors against fp32 throughout.

    ``bytes`` is the size of one frame's targets (0: nothing is stored). ``loss_error`` is the relative error of the
    soft-target loss. ``gradient_error`` is the norm of the gradient's error, with respect to the student's logits,
    over the norm of the exact gradient. ``top`` is the number of logits that are stored, with ``storage`` "top".
    """
    exact = geometric_mean(ensemble.logits(batch.cpu()))
    student_logits = student.logits(batch.cpu())[0]
    teacher = Teacher(ensemble, ["geometric"], [temperature])
    computed = teacher.logits(batch, torch.arange(len(batch)))[0].float().cpu()
    states = exact.shape[-1]
    stored: list[tuple[str, int | None, Tensor, int]] = [
        ("per batch", None, computed, 0),
        ("fp16", None, computed.half().float(), 2 * states),
    ]
    # fp16 and a state's number in two bytes for each stored logit; one more fp16 value for all others.
    stored += [("top", k, top(exact, k), 4 * k + 2) for k in TOP if k < states]
    loss, gradient = _loss_and_gradient(student_logits, exact, temperature)
    rows = []
    for storage, count, logits, size in stored:
        inexact_loss, inexact_gradient = _loss_and_gradient(student_logits, logits, temperature)
        rows.append({
            "storage": storage, "top": count, "bytes": size, "temperature": temperature,
            "loss_error": abs(inexact_loss - loss) / loss,
            "gradient_error": float((inexact_gradient - gradient).norm() / gradient.norm()),
        })  # fmt: skip
    return rows


def top(logits: Float[Tensor, "frame states"], count: int) -> Float[Tensor, "frame states"]:
    """Return the ``count`` largest logits of each frame; all others share their probability at T = 1 evenly."""
    indices = logits.topk(count).indices
    rest = logits.scatter(1, indices, -torch.inf).logsumexp(1, keepdim=True)
    even = (rest - torch.log(torch.tensor(float(logits.shape[1] - count)))).expand_as(logits)
    return even.scatter(1, indices, logits.gather(1, indices))


def _loss_and_gradient(student: Tensor, teacher: Tensor, temperature: float) -> tuple[float, Tensor]:
    leaf = student.clone().requires_grad_()
    loss = soft_target_loss(leaf, teacher, temperature)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.item(), gradient
