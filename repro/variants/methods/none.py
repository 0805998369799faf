"""No distillation: the labels alone."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, hard_loss


class Method(base.Method):
    """Cross-entropy with the labels."""

    source = "–"
    has_teacher = False

    def forward(
        self, student: ModelOutput, teacher: ModelOutput | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """-log q of the label."""
        return hard_loss(student, labels)
