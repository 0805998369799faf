"""Vanilla knowledge distillation (KD): soft targets of the output layer, as in the paper."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput


class Method(base.KDPlusTerm):
    """(1 - w) T^2 KL(teacher's softened probabilities || student's) + w CE(label).

    Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2.
    """

    shared_options = ()
    source = "Hinton, Vinyals & Dean 2015 (arXiv:1503.02531), section 2"

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the weighted average of soft and hard loss."""
        return self.soft_loss(student, teacher, labels)
