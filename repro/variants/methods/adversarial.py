"""Adversarial distillation: a discriminator separates student and teacher logits, and the student deceives it."""

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Weight


class Method(base.KDPlusTerm):
    """KD + BCE(discriminator), whose gradient into the student is multiplied by -``weight``.

    The discriminator sees centered logits and the class. One step trains both: the discriminator descends its loss, the
    student ascends it. The discriminator is discarded after training.

    Xu, Hsu & Huang 2018, "Training Shallow and Thin Networks for Acceleration via Knowledge Distillation with
    Conditional Adversarial Networks", arXiv:1709.00513, alternate steps, let the discriminator predict the class and
    add an L1 distance of logits. Gradient reversal: Ganin & Lempitsky 2015, "Unsupervised Domain Adaptation by
    Backpropagation", arXiv:1409.7495.
    """

    source = "after Xu, Hsu & Huang 2018 (arXiv:1709.00513); reversal as in Ganin & Lempitsky 2015 (arXiv:1409.7495)"

    class Options(base.KDPlusTerm.Options):
        """``weight`` scales the reversed gradient; ``units`` is the width of the discriminator's two hidden layers."""

        weight: Weight = 0.1
        units: int = Field(128, ge=1, le=10_000)

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput):
        super().__init__(options, student, teacher)
        classes, units = student.logits.shape[1], options.units
        self.of_class = nn.Embedding(classes, units)
        self.of_logits = nn.Linear(classes, units)
        self.verdict = nn.Sequential(nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 1))

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the loss of student and discriminator."""
        soft = self.soft_loss(student, teacher, labels)
        logits = torch.cat([_Reversed.apply(student.logits, self.options.weight), teacher.logits])
        centered = logits - logits.mean(1, keepdim=True)
        scores = self.verdict(self.of_logits(centered) + self.of_class(labels.repeat(2)))[:, 0]
        is_teacher = torch.cat([torch.zeros_like(scores[: len(labels)]), torch.ones_like(scores[len(labels) :])])
        return soft + F.binary_cross_entropy_with_logits(scores, is_teacher)


class _Reversed(torch.autograd.Function):
    """Identity in the forward pass; the backward pass multiplies the gradient by -weight."""

    @staticmethod
    def forward(ctx, value: Tensor, weight: float):
        ctx.weight = weight
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return -ctx.weight * gradient, None
