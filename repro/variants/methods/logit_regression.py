"""Logit regression: the student's logits are trained to equal the teacher's."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import logit_regression_loss
from repro.variants.methods import base
from repro.variants.methods.base import Fraction, ModelOutput, hard_loss


class Method(base.Method):
    """(1 - w) 1/2 |z - v|^2 + w CE(label), where z and v are the logits of student and teacher less their means.

    Ba & Caruana 2014, "Do Deep Nets Really Need to be Deep?", arXiv:1312.6184, equation 2, which does not subtract the
    means.
    """

    source = "after Ba & Caruana 2014 (arXiv:1312.6184), equation 2"

    class Options(base.Settings):
        """``hard_label_weight`` is w."""

        hard_label_weight: Fraction = 0.0

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the weighted average of both losses."""
        # The limit of section 2.1 is the mean over classes; equation 2 is the sum.
        soft = student.logits.shape[1] * logit_regression_loss(student.logits, teacher.logits)
        return (1 - self.options.hard_label_weight) * soft + self.options.hard_label_weight * hard_loss(student, labels)
