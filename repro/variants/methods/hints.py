"""FitNets: first the student's middle learns the teacher's middle, then the whole learns soft targets."""

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.core.distill import distillation_loss
from repro.variants.methods import base
from repro.variants.methods.base import Pair, Seen, Share, Temperature, regressor, same_places


class Method(base.Method):
    """Stage 1: 1/2 |r(student's features) - teacher's|^2, mean over units; stage 2: soft targets.

    Romero et al. train the stages one after the other, each to its end; here both share the steps that every other
    method has, ``first`` of them for stage 1. The regressor r is left out afterwards.
    """

    source = "Romero et al. 2015, equations 3 and 4"

    class Options(base.Settings):
        """``pairs``: the guided layer of the student and the hint layer of the teacher."""

        pairs: tuple[Pair, ...] = Field(min_length=1, max_length=1)
        first: Share = 0.3
        temperature: Temperature = 4.0
        hard_weight: Share = 0.1

    def __init__(self, options: "Method.Options", student: Seen, teacher: Seen | None):
        super().__init__(options, student, teacher)
        ((mine, theirs),) = options.pairs
        self.mine, self.theirs = mine, theirs
        self.regressor: nn.Module = regressor(student.features[mine], teacher.features[theirs])

    def forward(
        self, student: Seen, teacher: Seen | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Stage 1's loss up to ``first`` of the steps, stage 2's then."""
        own = self.options
        if progress >= own.first:
            return distillation_loss(student.logits, teacher.logits, labels, own.temperature, own.hard_weight)
        hint = teacher.features[self.theirs]
        return 0.5 * F.mse_loss(same_places(self.regressor(student.features[self.mine]), hint), hint)
