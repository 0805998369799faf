"""Distillation as the paper has it: soft targets of the output layer."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput


class Method(base.KDPlusTerm):
    """(1 - w) T^2 KL(teacher's softened || student's softened) + w CE(label)."""

    shared_options = ()
    source = "Hinton, Vinyals & Dean 2015, section 2"

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Section 2's weighted average."""
        return self.soft_loss(student, teacher, labels)
