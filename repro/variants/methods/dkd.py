"""Decoupled KD (DKD): separate weights for the label's probability and for the distribution over other classes."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import Fraction, ModelOutput, Temperature, Weight, hard_loss


class Method(base.Method):
    """CE(label) + T^2 (a TCKD + b NCKD).

    TCKD is the KL divergence of the binary distributions (label, other classes); NCKD is that of the distributions over
    the other classes, renormalized. Vanilla KD is TCKD + (1 - the teacher's probability of the label) NCKD.

    Zhao, Cui, Song, Qiu & Liang 2022, "Decoupled Knowledge Distillation", arXiv:2203.08679, equation 7.
    """

    shared_options = ("temperature",)
    source = "Zhao et al. 2022 (arXiv:2203.08679), equation 7"

    class Options(base.Settings):
        """``tckd_weight`` is a, ``nckd_weight`` b; both rise linearly over the first ``warmup_fraction`` of training.

        The authors' code raises them by epoch, here they rise by step.
        """

        renamed: ClassVar[dict[str, str]] = {"target_weight": "tckd_weight", "other_weight": "nckd_weight"}

        temperature: Temperature = 4.0
        tckd_weight: Weight = 1.0
        nckd_weight: Weight = 8.0
        warmup_fraction: Fraction = 0.1

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the sum of the three terms."""
        options = self.options
        tckd, nckd = parts(student.logits, teacher.logits, labels, options.temperature)
        risen = min(1.0, progress / options.warmup_fraction) if options.warmup_fraction else 1.0
        soft = options.temperature**2 * (options.tckd_weight * tckd + options.nckd_weight * nckd)
        return hard_loss(student, labels) + risen * soft


def parts(
    student: Float[Tensor, "batch classes"],
    teacher: Float[Tensor, "batch classes"],
    labels: Int[Tensor, "batch"],
    temperature: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return TCKD and NCKD in nats, averaged over the batch."""
    is_label = F.one_hot(labels, student.shape[1]).bool()
    both = []
    for logits in (teacher / temperature, student / temperature):
        whole = logits.logsumexp(1)
        others = logits.masked_fill(is_label, -torch.inf).logsumexp(1)
        label = logits[is_label]
        # NCKD leaves out the label's column: zeroed before the exponential, because 0 x infinity is not a number.
        among_others = (logits - others[:, None]).masked_fill(is_label, 0.0)
        both.append((torch.stack([label - whole, others - whole], 1), among_others))
    (binary_p, others_p), (binary_q, others_q) = both
    target = (binary_p.exp() * (binary_p - binary_q)).sum(1).mean()
    return target, (others_p.exp() * (others_p - others_q)).sum(1).mean()
