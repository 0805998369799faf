"""DIST: the student's predictions are to correlate with the teacher's, image by image and class by class."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import soften
from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Temperature, Weight, hard_loss


class Method(base.Method):
    """CE + T^2 (b (1 - mean correlation of rows) + c (1 - mean correlation of columns)) of softened predictions."""

    source = "Huang et al. 2022, equations 8 to 10"

    class Options(base.Settings):
        """``row_weight`` is b, ``column_weight`` c."""

        temperature: Temperature = 1.0
        row_weight: Weight = 1.0
        column_weight: Weight = 1.0

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """The sum of all three."""
        own = self.options
        q, p = (soften(seen.logits, own.temperature) for seen in (student, teacher))
        rows, columns = 1 - correlation(q, p).mean(), 1 - correlation(q.T, p.T).mean()
        return hard_loss(student, labels) + own.temperature**2 * (own.row_weight * rows + own.column_weight * columns)


def correlation(one: Float[Tensor, "row value"], other: Float[Tensor, "row value"]) -> Float[Tensor, "row"]:
    """Pearson's correlation of each row of the one with the same row of the other."""
    one, other = (each - each.mean(1, keepdim=True) for each in (one, other))
    return (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1)).clamp_min(1e-8)
