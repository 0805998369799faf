"""Feature-map matching: several of the student's layers are like the teacher's all the while."""

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Pair, Regressor, Weight, match_spatial_size


class Method(base.KDPlusTerm):
    """Soft targets + weight x the mean over pairs of the mean squared difference of normalised features.

    Both sides are first divided by the root mean square of the teacher's features, so that one weight serves nets
    whose features differ in size. The hint loss of FitNets as one term of a single objective.
    """

    source = "after Romero et al. 2015; Tian et al. 2020 compare it as FitNet"

    class Options(base.KDPlusTerm.Options):
        """``pairs``: a module of the student and the one of the teacher that it is to be like."""

        pairs: tuple[Pair, ...] = Field(min_length=1)
        weight: Weight = 1.0

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput):
        super().__init__(options, student, teacher)
        self.regressors = nn.ModuleList(
            Regressor(student.features[mine], teacher.features[theirs]) for mine, theirs in options.pairs
        )

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """The sum of both."""
        own = self.options
        apart: float | Tensor = 0.0
        for (mine, theirs), regress in zip(own.pairs, self.regressors, strict=True):
            guess = regress(student.features[mine])
            wanted = teacher.features[theirs].to(guess.dtype)
            size = wanted.square().mean().clamp_min(1e-12)
            apart = apart + F.mse_loss(match_spatial_size(guess, wanted), wanted) / size
        return self.soft_loss(student, teacher, labels) + own.weight * apart / len(own.pairs)
