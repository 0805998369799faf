"""Feature-map matching: the features of several layers are trained to equal the teacher's, throughout training."""

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Pair, Regressor, Weight, match_spatial_size


class Method(base.KDPlusTerm):
    """KD + ``weight`` x mean over pairs of MSE(r(student's features), teacher's) / mean square of the teacher's.

    r is a linear regressor that is discarded after training. The division makes one weight serve models whose features
    differ in size. This is the hint loss of FitNets as one term of a single objective.

    Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550; compared as FitNet by Tian, Krishnan &
    Isola 2020, "Contrastive Representation Distillation", arXiv:1910.10699.
    """

    source = "after Romero et al. 2015 (arXiv:1412.6550); Tian et al. 2020 (arXiv:1910.10699) compare it as FitNet"

    class Options(base.KDPlusTerm.Options):
        """``pairs`` are modules of student and teacher."""

        pairs: tuple[Pair, ...] = Field(min_length=1)
        weight: Weight = 1.0

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput):
        super().__init__(options, student, teacher)
        self.regressors = nn.ModuleList(
            Regressor(student.features[student_name], teacher.features[teacher_name])
            for student_name, teacher_name in options.pairs
        )

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the sum of KD's loss and the weighted distance."""
        options = self.options
        distance: float | Tensor = 0.0
        for (student_name, teacher_name), regressor in zip(options.pairs, self.regressors, strict=True):
            prediction = regressor(student.features[student_name])
            wanted = teacher.features[teacher_name].to(prediction.dtype)
            mean_square = wanted.square().mean().clamp_min(1e-12)
            distance = distance + F.mse_loss(match_spatial_size(prediction, wanted), wanted) / mean_square
        return self.soft_loss(student, teacher, labels) + options.weight * distance / len(options.pairs)
