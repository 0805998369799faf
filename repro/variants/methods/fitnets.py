"""FitNets: first the student's middle learns the teacher's middle, then the whole learns soft targets."""

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Pair, Regressor, Share, match_spatial_size


class Method(base.KDPlusTerm):
    """Stage 1: 1/2 |r(student's features) - teacher's|^2, mean over units; stage 2: soft targets.

    Romero et al. train the stages one after the other, each to its end; here both share the steps that every other
    method has, ``first`` of them for stage 1. Their weight of the soft targets falls as stage 2 goes on; here it stays.
    The regressor r is left out afterwards.
    """

    source = "after Romero et al. 2015, equations 3 and 4"

    class Options(base.KDPlusTerm.Options):
        """``pairs``: the guided layer of the student and the hint layer of the teacher."""

        pairs: tuple[Pair, ...] = Field(min_length=1, max_length=1)
        first: Share = 0.3

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput):
        super().__init__(options, student, teacher)
        ((mine, theirs),) = options.pairs
        self.mine, self.theirs = mine, theirs
        self.regressor = Regressor(student.features[mine], teacher.features[theirs])

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Stage 1's loss up to ``first`` of the steps, stage 2's then."""
        if progress >= self.options.first:
            return self.soft_loss(student, teacher, labels)
        guess, hint = self.regressor(student.features[self.mine]), teacher.features[self.theirs]
        return 0.5 * F.mse_loss(match_spatial_size(guess, hint), hint.to(guess.dtype))
