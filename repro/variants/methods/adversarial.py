"""Adversarial: a discriminator learns to tell the student's logits from the teacher's, the student to deceive it."""

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Weight


class Method(base.KDPlusTerm):
    """Soft targets + the discriminator's cross-entropy, whose gradient is reversed on its way into the student.

    The discriminator is told the class, besides the logits. One step serves both sides: it goes down its loss, the
    student goes up, ``weight`` times. After training it is left out.
    """

    source = "Xu, Hsu & Huang 2018; reversal as in Ganin & Lempitsky 2015"

    class Options(base.KDPlusTerm.Options):
        """``units`` of the discriminator's two hidden layers."""

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
        """The sum of both."""
        soft = self.soft_loss(student, teacher, labels)
        logits = torch.cat([_Reversed.apply(student.logits, self.options.weight), teacher.logits])
        centred = logits - logits.mean(1, keepdim=True)
        said = self.verdict(self.of_logits(centred) + self.of_class(labels.repeat(2)))[:, 0]
        whose = torch.cat([torch.zeros_like(said[: len(labels)]), torch.ones_like(said[len(labels) :])])
        return soft + F.binary_cross_entropy_with_logits(said, whose)


class _Reversed(torch.autograd.Function):
    """The same forward; backward the gradient times -weight."""

    @staticmethod
    def forward(ctx, value: Tensor, weight: float):
        ctx.weight = weight
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return -ctx.weight * gradient, None
