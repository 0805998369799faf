"""Standardised logits: soft targets of logits with mean 0 and deviation 1 in each image."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import soft_target_loss
from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Temperature, Weight, hard_loss


class Method(base.Method):
    """hard_label_weight CE + soft_weight T^2 KL, between logits that are standardised image by image.

    The student need not have logits as large as the teacher's.
    """

    source = "Sun et al. 2024, algorithm 1"

    class Options(base.Settings):
        """The weights of both terms, which need not sum to 1."""

        temperature: Temperature = 2.0
        soft_weight: Weight = 9.0
        hard_label_weight: Weight = 0.1

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """The sum of both."""
        own = self.options
        soft = soft_target_loss(standardise(student.logits), standardise(teacher.logits), own.temperature)
        return own.hard_label_weight * hard_loss(student, labels) + own.soft_weight * soft


def standardise(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Each image's logits less their mean, over their standard deviation."""
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)
