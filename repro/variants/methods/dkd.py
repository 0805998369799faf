"""Decoupled distillation: how sure the teacher is of the label, and what it says of the others, weigh apart."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Share, Temperature, Weight, hard_loss


class Method(base.Method):
    """CE + T^2 (a TCKD + b NCKD).

    TCKD is the KL divergence of (label, not label); NCKD that of the classes that are not the label, renormalised.
    Plain distillation is TCKD + (1 - the teacher's probability of the label) NCKD.
    """

    shared_options = ("temperature",)
    source = "Zhao et al. 2022, equation 7"

    class Options(base.Settings):
        """``target_weight`` is a, ``other_weight`` b; both rise linearly over the first ``warmup_fraction`` of training."""

        temperature: Temperature = 4.0
        target_weight: Weight = 1.0
        other_weight: Weight = 8.0
        warmup_fraction: Share = 0.1

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """The sum of all three."""
        own = self.options
        target, other = parts(student.logits, teacher.logits, labels, own.temperature)
        risen = min(1.0, progress / own.warmup_fraction) if own.warmup_fraction else 1.0
        soft = own.temperature**2 * (own.target_weight * target + own.other_weight * other)
        return hard_loss(student, labels) + risen * soft


def parts(
    student: Float[Tensor, "batch classes"],
    teacher: Float[Tensor, "batch classes"],
    labels: Int[Tensor, "batch"],
    temperature: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """TCKD and NCKD in nats, means over the batch."""
    is_label = F.one_hot(labels, student.shape[1]).bool()
    both = []
    for logits in (teacher / temperature, student / temperature):
        whole = logits.logsumexp(1)
        others = logits.masked_fill(is_label, -torch.inf).logsumexp(1)
        own = logits[is_label]
        # The label's own column is no part of the second; zeroed before the exponential, for 0 x infinity is no number.
        among_others = (logits - others[:, None]).masked_fill(is_label, 0.0)
        both.append((torch.stack([own - whole, others - whole], 1), among_others))
    (binary_p, others_p), (binary_q, others_q) = both
    target = (binary_p.exp() * (binary_p - binary_q)).sum(1).mean()
    return target, (others_p.exp() * (others_p - others_q)).sum(1).mean()
