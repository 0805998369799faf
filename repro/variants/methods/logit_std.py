"""Logit standardization: KD between logits of mean 0 and standard deviation 1 in each image."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import soft_target_loss
from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Temperature, Weight, hard_loss


class Method(base.Method):
    """``hard_label_weight`` CE(label) + ``soft_weight`` T^2 KL(teacher || student) of standardized logits.

    The student's logits need not be as large as the teacher's.

    Sun, Ren, Li, Wang & Cao 2024, "Logit Standardization in Knowledge Distillation", arXiv:2403.01427, algorithm 1.
    """

    source = "Sun et al. 2024 (arXiv:2403.01427), algorithm 1"

    class Options(base.Settings):
        """``temperature`` is T; the weights need not sum to 1."""

        temperature: Temperature = 2.0
        soft_weight: Weight = 9.0
        hard_label_weight: Weight = 0.1

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the weighted sum of both terms."""
        options = self.options
        soft = soft_target_loss(standardize(student.logits), standardize(teacher.logits), options.temperature)
        return options.hard_label_weight * hard_loss(student, labels) + options.soft_weight * soft


def standardize(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Return each image's logits less their mean, divided by their standard deviation."""
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)
