"""The knowledge distillation loss fused with the output layer, for thousands of classes.

This is ``losses.distillation_loss`` (section 2 of arXiv 1503.02531) of ``hidden @ weight + bias``: the same loss and
the same first derivatives, tested against it, for finite T and at least one example. With thousands of classes the
logits are most of what a step reads and writes, and a loss of separate operations reads all of them a dozen times. Here
they are computed once and turned into the gradient block by block, while a block is in the processor's cache; the
backward pass is matrix multiplications alone.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from repro.training.fused_update import WeightCopy

BLOCK = 128  # examples: 5,000 classes in fp32 are then 2.6 MB
Distribution = tuple[Float[Tensor, "block class"], Float[Tensor, "block"]]


@dataclass(frozen=True)
class SoftTargets:
    """Soft targets of a batch: the teachers' logits, and for each student its teacher, T and hard-label weight."""

    logits: Float[Tensor, "teacher batch class"]
    teacher: tuple[int, ...]
    temperature: tuple[float, ...]
    hard_label_weight: tuple[float, ...]


def loss(
    hidden: Float[Tensor, "model batch unit"],
    weight: Float[Tensor, "model unit class"],
    bias: Float[Tensor, "model 1 class"],
    labels: Int[Tensor, "batch"],
    soft: SoftTargets | None = None,
    copy: "WeightCopy | None" = None,
) -> Float[Tensor, "model"]:
    """Return ``distillation_loss`` of the logits ``hidden @ weight + bias``, in nats, or the loss on labels alone.

    The logits multiply in the type of ``hidden``; exponentials and sums are fp32 or finer.

    Args:
        hidden: activations of the last hidden layer.
        weight: weights of the output layer.
        bias: biases of the output layer.
        labels: classes, the same batch for all models.
        soft: soft targets. Default: none, the loss on hard targets.
        copy: the weight's copy, which gets the gradient in place of the weight. Default: none, the weight is cast.
            With a copy, a compiled kernel computes the loss.

    Returns:
        The loss of each model, averaged over the batch.
    """
    return _OutputLoss.apply(hidden, weight, bias, labels, soft, copy)


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, soft: SoftTargets | None,
        copy: "WeightCopy | None",
    ):  # fmt: skip
        ctx.copy = copy
        if copy is not None:
            logits = copy.products(hidden)
            losses, to_bias = copy.loss_backward(logits, bias, labels, soft)
            ctx.save_for_backward(hidden, copy.value, logits, to_bias)
            return losses
        cast = weight.to(hidden.dtype)
        logits = torch.baddbmm(bias.to(hidden.dtype), hidden, cast)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        models, batch, _ = logits.shape
        losses = torch.zeros(models, dtype=wide, device=logits.device)
        to_bias = torch.zeros_like(bias)
        # On other devices there is no such cache to stay in: fewer and larger calls are faster.
        for rows in torch.arange(batch).split(BLOCK if logits.device.type == "cpu" else batch):
            block = slice(int(rows[0]), int(rows[-1]) + 1)
            distributions: dict[tuple[int, float], Distribution] = {}
            for m in range(models):
                rows_of_model, hard_label_weight, temperature, target = logits[m, block], 1.0, 1.0, None
                if soft is not None:
                    hard_label_weight, temperature = soft.hard_label_weight[m], soft.temperature[m]
                    key = soft.teacher[m], temperature
                    if key not in distributions:
                        distributions[key] = _distribution(soft.logits[key[0], block].to(wide), temperature)
                    target = distributions[key]
                block_losses, gradient = _block(
                    rows_of_model.to(wide), labels[block], target, temperature, hard_label_weight
                )
                losses[m] += block_losses.sum() / batch
                gradient.div_(batch)
                to_bias[m, 0] += gradient.sum(0)
                rows_of_model.copy_(gradient)
        ctx.save_for_backward(hidden, cast, logits, to_bias)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor):
        hidden, cast, gradient, to_bias = ctx.saved_tensors
        scale = upstream[:, None, None]
        multiplier = scale.to(hidden.dtype)  # of another type, it would copy the gradient to fp32 and back
        to_hidden = torch.bmm(gradient, cast.transpose(1, 2)).mul_(multiplier)
        if ctx.copy is None:
            to_weight = torch.bmm(hidden.transpose(1, 2), gradient).to(to_bias.dtype).mul_(scale)
        else:
            torch.bmm(hidden.transpose(1, 2) * multiplier, gradient, out=ctx.copy.gradient)
            to_weight = None
        return to_hidden, to_weight, to_bias * scale, None, None, None


def _distribution(logits: Float[Tensor, "block class"], temperature: float) -> Distribution:
    """Return soft targets p and, for each example, the sum of p log p."""
    scaled = logits / temperature
    p = torch.softmax(scaled, -1)
    return p, torch.linalg.vecdot(p, scaled) - _log_sum(scaled, p)


def _block(
    logits: Float[Tensor, "block class"],
    labels: Int[Tensor, "block"],
    target: Distribution | None,
    temperature: float,
    hard_label_weight: float,
) -> tuple[Float[Tensor, "block"], Float[Tensor, "block class"]]:
    """Return the loss of each example and its gradient with respect to the logits."""
    losses, gradient = torch.zeros_like(logits[:, 0]), None
    if target is not None and hard_label_weight != 1:
        p, negative_entropy = target
        scaled = logits / temperature
        q = torch.softmax(scaled, -1)
        divergence = negative_entropy - torch.linalg.vecdot(p, scaled) + _log_sum(scaled, q)
        losses = (1 - hard_label_weight) * temperature**2 * divergence
        gradient = (q - p).mul_((1 - hard_label_weight) * temperature)
    if target is None or hard_label_weight != 0:
        q = torch.softmax(logits, -1)
        label_logits = logits.gather(1, labels[:, None])[:, 0]
        losses = losses + hard_label_weight * (_log_sum(logits, q) - label_logits)
        gradient = q.mul_(hard_label_weight) if gradient is None else gradient.add_(q, alpha=hard_label_weight)
        gradient.scatter_add_(1, labels[:, None], gradient.new_full((len(labels), 1), -hard_label_weight))
    assert gradient is not None, "the hard-label weight is not 0 and 1 at once"
    return losses, gradient


def _log_sum(logits: Float[Tensor, "block class"], q: Float[Tensor, "block class"]) -> Float[Tensor, "block"]:
    """Return log sum exp of the logits, given their softmax: the largest logit less the log of the largest q."""
    return logits.amax(-1) - q.amax(-1).log()
