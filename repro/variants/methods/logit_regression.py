"""Logit regression: the student's logits are to be the teacher's."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import logit_regression_loss
from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Share, hard_loss


class Method(base.Method):
    """(1 - w) half the squared distance of zero-mean logits, summed over classes, + w CE(label)."""

    source = "Ba & Caruana 2014, equation 2"

    class Options(base.Settings):
        """``hard_label_weight`` is w."""

        hard_label_weight: Share = 0.0

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """The weighted average of both."""
        # Section 2.1's limit is the mean over classes; theirs is the sum.
        soft = student.logits.shape[1] * logit_regression_loss(student.logits, teacher.logits)
        return (1 - self.options.hard_label_weight) * soft + self.options.hard_label_weight * hard_loss(student, labels)
