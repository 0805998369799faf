"""Distillation as the paper has it: soft targets of the output layer."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.core.distill import distillation_loss
from repro.variants.methods import base
from repro.variants.methods.base import Seen, Share, Temperature


class Method(base.Method):
    """(1 - w) T^2 KL(teacher's softened || student's softened) + w CE(label)."""

    source = "Hinton, Vinyals & Dean 2015, section 2"

    class Options(base.Settings):
        """``hard_weight`` is w."""

        temperature: Temperature = 4.0
        hard_weight: Share = 0.1

    def forward(
        self, student: Seen, teacher: Seen | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Section 2's weighted average."""
        own = self.options
        return distillation_loss(student.logits, teacher.logits, labels, own.temperature, own.hard_weight)
