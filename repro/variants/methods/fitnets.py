"""FitNets: a hint stage trains the student's middle layer to predict the teacher's, then KD trains the whole."""

from typing import ClassVar

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import Fraction, ModelOutput, Pair, Regressor, match_spatial_size


class Method(base.KDPlusTerm):
    """Stage 1: 1/2 MSE(r(student's features), teacher's features); stage 2: KD.

    r is a linear regressor that is discarded after stage 1. The authors train each stage to its end; here the
    two have as many steps as every other method, ``stage1_fraction`` of them for stage 1. The authors' weight of the
    soft targets decreases during stage 2; here it is constant.

    Romero, Ballas, Kahou, Chassang, Gatta & Bengio 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550,
    equations 3 and 4.
    """

    source = "after Romero et al. 2015 (arXiv:1412.6550), equations 3 and 4"

    class Options(base.KDPlusTerm.Options):
        """``pairs`` holds the guided layer of the student and the hint layer of the teacher."""

        renamed: ClassVar[dict[str, str]] = {"first": "stage1_fraction"}

        pairs: tuple[Pair, ...] = Field(min_length=1, max_length=1)
        stage1_fraction: Fraction = 0.3

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput):
        super().__init__(options, student, teacher)
        ((self.guided, self.hint),) = options.pairs
        self.regressor = Regressor(student.features[self.guided], teacher.features[self.hint])

    def needs_features(self, progress: float) -> bool:
        """Whether training is in stage 1."""
        return progress < self.options.stage1_fraction

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the loss of stage 1 up to ``stage1_fraction`` of the steps, then that of stage 2."""
        if not self.needs_features(progress):
            return self.soft_loss(student, teacher, labels)
        prediction, hint = self.regressor(student.features[self.guided]), teacher.features[self.hint]
        return 0.5 * F.mse_loss(match_spatial_size(prediction, hint), hint.to(prediction.dtype))
