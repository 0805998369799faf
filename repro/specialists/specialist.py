"""Specialists: initialization from the generalist, batches, losses and corrected predictions (sections 5.2, 6.1)."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repro.kd.losses import hard_target_loss, soft_target_loss
from repro.models.conv import ConvNet
from repro.specialists.inference import dustbin_correction
from repro.specialists.settings import DustbinInit
from repro.training.random_streams import BatchSampler

Kind = Literal["dustbin", "full softmax, hard targets", "full softmax, soft targets"]


def from_generalist(
    generalist: ConvNet, subset: Int[Tensor, "special"], kind: Kind, dustbin_init: DustbinInit = "log count"
) -> ConvNet:
    """Return a specialist with the generalist's weights (section 5.2).

    Of the last layer, a dustbin specialist takes the rows of its classes, in the order of ``subset``. The
    paper does not specify the dustbin's row. By default it is the mean of the other rows; its bias is the mean of
    their biases plus the log of their number, a lower bound on the log of their summed exponentials.
    """
    classes = len(subset) + 1 if kind == "dustbin" else generalist.classes
    net = ConvNet(generalist.channels, generalist.width, classes, generalist.seed, generalist.dtype)
    state = {name: value.cpu().clone() for name, value in generalist.state_dict().items()}
    if kind == "dustbin":
        rest = outside(subset, generalist.classes)
        for name in ("head.weight", "head.bias"):
            mean = state[name][rest].mean(0, keepdim=True)
            dustbin = torch.zeros_like(mean) if dustbin_init == "zeros" else mean
            state[name] = torch.cat([state[name][subset], dustbin])
        if dustbin_init == "log count":
            state["head.bias"][-1] += math.log(int(rest.sum()))
    net.load_state_dict(state)
    return net


def outside(subset: Int[Tensor, "special"], classes: int) -> Bool[Tensor, "classes"]:
    """Return a mask of the classes that are not special."""
    rest = torch.ones(classes, dtype=torch.bool)
    rest[subset] = False
    return rest


def dustbin_labels(labels: Int[Tensor, "case"], subset: Int[Tensor, "special"], classes: int) -> Int[Tensor, "case"]:
    """Return the labels' positions in ``subset``; the dustbin's, ``len(subset)``, for all other classes."""
    position = torch.full((classes,), len(subset))
    position[subset] = torch.arange(len(subset))
    return position[labels]


def batch_samplers(
    labels: Int[Tensor, "case"],
    subset: Int[Tensor, "special"],
    seed: int,
    batch_size: int,
    special: int,
    examples: Int[Tensor, "example"] | None = None,
) -> list[BatchSampler]:
    """Return the samplers of special cases, ``special`` of them in each batch, and of the others (section 5.2).

    Args:
        examples: the cases to draw from. Default: all.
    """
    examples = torch.arange(len(labels)) if examples is None else examples
    is_special = torch.isin(labels[examples], subset)
    return [
        BatchSampler(seed, examples[is_special], special),
        BatchSampler(seed, examples[~is_special], batch_size - special),
    ]


def corrected_probabilities(
    logits: Float[Tensor, "case outputs"],
    subset: Int[Tensor, "special"],
    kind: Kind,
    sampled_fraction: float,
    natural_fraction: float,
) -> Float[Tensor, "case outputs"]:
    """Return a specialist's probabilities, corrected for the oversampling of its classes (section 5.2).

    With a full softmax, the dustbin's correction is added to each of the classes that are not special.

    Args:
        sampled_fraction: fraction of special cases in a training batch.
        natural_fraction: fraction of special cases in the data.
    """
    correction = torch.zeros(logits.shape[-1])
    correction[len(subset) if kind == "dustbin" else outside(subset, logits.shape[-1])] = dustbin_correction(
        sampled_fraction, natural_fraction
    )
    return (logits + correction).softmax(-1)


def hard_objective(
    logits: Float[Tensor, "models batch classes"], labels: Int[Tensor, "batch"], _: Tensor | None
) -> Float[Tensor, "models"]:
    """Return the cross-entropy with the labels; the third argument, a teacher's logits, is not used."""
    return hard_target_loss(logits, labels)


def soft_regularized_loss(
    student: Float[Tensor, "models batch classes"],
    generalist: Float[Tensor, "batch classes"],
    labels: Int[Tensor, "batch"],
    special: Bool[Tensor, "classes"],
    temperature: float,
    hard_label_weight: float,
) -> Float[Tensor, "models"]:
    """Return (1 - w) T^2 KL(soft targets for the non-special classes) + w CE(labels), averaged over the batch.

    Section 6.1 gives no formula. Here both models' logits of the non-special classes are softened at T among
    themselves: the generalist determines the ratios of these classes, and the labels alone determine the
    probability of a special class.
    """
    soft = soft_target_loss(student[..., ~special], generalist[..., ~special], temperature)
    return (1 - hard_label_weight) * soft + hard_label_weight * hard_target_loss(student, labels)
