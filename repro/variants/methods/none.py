"""No distillation: training with hard labels alone."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, hard_loss


class Method(base.Method):
    """CE(label)."""

    source = "–"
    has_teacher = False

    def forward(
        self, student: ModelOutput, teacher: ModelOutput | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy with the labels."""
        return hard_loss(student, labels)
