"""Specialists: how one starts from the generalist, what it learns, what it says (sections 5.2 and 6.1)."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repro.kd.losses import hard_target_loss, soft_target_loss
from repro.models.conv import ConvNet
from repro.specialists.inference import dustbin_correction
from repro.training.random_streams import BatchSampler

Kind = Literal["dustbin", "full softmax, hard targets", "full softmax, soft targets"]


def from_generalist(generalist: ConvNet, subset: Int[Tensor, "special"], kind: Kind) -> ConvNet:
    """A specialist with the generalist's weights (section 5.2).

    Of the last layer, a dustbin specialist takes the rows of its classes, in the order of ``subset``. The
    paper does not say where the dustbin's row comes from: here it is the mean of the other rows, and its
    bias that plus the log of their number, a lower bound on the log of their summed exponentials.
    """
    classes = len(subset) + 1 if kind == "dustbin" else generalist.classes
    net = ConvNet(generalist.channels, generalist.width, classes, generalist.seed, generalist.dtype)
    state = {name: value.cpu().clone() for name, value in generalist.state_dict().items()}
    if kind == "dustbin":
        rest = outside(subset, generalist.classes)
        weight, bias = state["head.weight"], state["head.bias"]
        state["head.weight"] = torch.cat([weight[subset], weight[rest].mean(0, keepdim=True)])
        state["head.bias"] = torch.cat([bias[subset], bias[rest].mean(0, keepdim=True) + math.log(int(rest.sum()))])
    net.load_state_dict(state)
    return net


def outside(subset: Int[Tensor, "special"], classes: int) -> Bool[Tensor, "classes"]:
    """The classes that are not special."""
    rest = torch.ones(classes, dtype=torch.bool)
    rest[subset] = False
    return rest


def dustbin_labels(labels: Int[Tensor, "case"], subset: Int[Tensor, "special"], classes: int) -> Int[Tensor, "case"]:
    """Positions in ``subset``; its length, the dustbin's, for all other classes."""
    position = torch.full((classes,), len(subset))
    position[subset] = torch.arange(len(subset))
    return position[labels]


def half_special(
    labels: Int[Tensor, "case"], subset: Int[Tensor, "special"], seed: int, batch: int, special: int
) -> list[BatchSampler]:
    """Section 5.2: the orders of the special cases, ``special`` of them in a batch, and of the others."""
    own = torch.isin(labels, subset)
    return [
        BatchSampler(seed, own.nonzero()[:, 0], special),
        BatchSampler(seed, (~own).nonzero()[:, 0], batch - special),
    ]


def corrected(
    logits: Float[Tensor, "case outputs"],
    subset: Int[Tensor, "special"],
    kind: Kind,
    special_share_in_training: float,
    special_share_in_truth: float,
) -> Float[Tensor, "case outputs"]:
    """A specialist's probabilities with the oversampling of its classes undone (section 5.2).

    A full softmax has the dustbin's correction added to each of the classes that are not special.
    """
    raised = torch.zeros(logits.shape[-1])
    raised[len(subset) if kind == "dustbin" else outside(subset, logits.shape[-1])] = dustbin_correction(
        special_share_in_training, special_share_in_truth
    )
    return (logits + raised).softmax(-1)


def hard_objective(
    logits: Float[Tensor, "models batch classes"], labels: Int[Tensor, "batch"], _: Tensor | None
) -> Float[Tensor, "models"]:
    """Hard targets alone, as an objective that is handed a teacher's logits and needs none."""
    return hard_target_loss(logits, labels)


def soft_regularised_loss(
    student: Float[Tensor, "models batch classes"],
    generalist: Float[Tensor, "batch classes"],
    labels: Int[Tensor, "batch"],
    special: Bool[Tensor, "classes"],
    temperature: float,
    hard_label_weight: float,
) -> Float[Tensor, "models"]:
    """Section 6.1: (1 - w) T^2 KL(soft targets for the non-special classes) + w CE(labels), a mean over the batch.

    The paper gives no formula. Here both nets' logits of the non-special classes are softened at T among
    themselves, so that the generalist says how these classes compare and the labels alone say how likely a
    special one is.
    """
    soft = soft_target_loss(student[..., ~special], generalist[..., ~special], temperature)
    return (1 - hard_label_weight) * soft + hard_label_weight * hard_target_loss(student, labels)
