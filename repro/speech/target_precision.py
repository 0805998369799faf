"""What loss and gradient lose where an ensemble's soft targets are not held exactly."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repro.kd.losses import geometric_mean, soft_target_loss
from repro.models.mlp import BatchedMLP
from repro.speech.ensemble_targets import Teacher

TOP = (10, 100, 1000)


def errors(
    ensemble: BatchedMLP, student: BatchedMLP, batch: Float[Tensor, "frame input"], temperature: float
) -> list[dict[str, Any]]:
    """Of each way to hold the geometric mean: bytes for a frame, and relative errors against fp32 throughout.

    ``loss_error`` is of the student's soft-target loss, ``gradient_error`` the length of the difference of its
    gradients by the student's logits over the length of the exact one.
    """
    exact = geometric_mean(ensemble.logits(batch.cpu()))
    said = student.logits(batch.cpu())[0]
    teacher = Teacher(ensemble, ["geometric"], [temperature])
    made = teacher.logits(batch, torch.arange(len(batch)))[0].float().cpu()
    states = exact.shape[-1]
    ways = {"computed on the way": (made, 0), "kept in half precision": (made.half().float(), 2 * states)}
    # A value in half precision and a number of two bytes for each state kept; one value for the rest.
    ways |= {f"top {k} kept, the rest alike": (top(exact, k), 4 * k + 2) for k in TOP if k < states}
    loss, gradient = _of(said, exact, temperature)
    found = []
    for way, (logits, size) in ways.items():
        other, by_logits = _of(said, logits, temperature)
        found.append({
            "way": way, "bytes": size, "temperature": temperature, "loss_error": abs(other - loss) / loss,
            "gradient_error": float((by_logits - gradient).norm() / gradient.norm()),
        })  # fmt: skip
    return found


def top(logits: Float[Tensor, "frame states"], count: int) -> Float[Tensor, "frame states"]:
    """The largest logits of each frame; the others share alike the mass that they have at T = 1."""
    kept = logits.topk(count).indices
    rest = logits.scatter(1, kept, -torch.inf).logsumexp(1, keepdim=True)
    even = (rest - torch.log(torch.tensor(float(logits.shape[1] - count)))).expand_as(logits)
    return even.scatter(1, kept, logits.gather(1, kept))


def _of(student: Tensor, teacher: Tensor, temperature: float) -> tuple[float, Tensor]:
    request_metadata = student.clone().requires_grad_()
    loss = soft_target_loss(request_metadata, teacher, temperature)
    (gradient,) = torch.autograd.grad(loss, request_metadata)
    return loss.item(), gradient
