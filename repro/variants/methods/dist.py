"""DIST: the student's predictions are trained to correlate with the teacher's, within images and within classes."""

from jaxtyping import Float, Int
from torch import Tensor

from repro.kd.losses import soften
from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Temperature, Weight, hard_loss


class Method(base.Method):
    """CE(label) + T^2 (b (1 - mean row correlation) + c (1 - mean column correlation)) of softened predictions.

    A row of the matrix of predictions is an image, a column is a class.

    Huang, You, Wang, Qian & Xu 2022, "Knowledge Distillation from A Stronger Teacher", arXiv:2205.10536, equations 8 to
    10.
    """

    source = "Huang et al. 2022 (arXiv:2205.10536), equations 8 to 10"

    class Options(base.Settings):
        """``temperature`` is T, ``row_weight`` is b, ``column_weight`` is c."""

        temperature: Temperature = 1.0
        row_weight: Weight = 1.0
        column_weight: Weight = 1.0

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the sum of the three terms."""
        options = self.options
        q, p = (soften(output.logits, options.temperature) for output in (student, teacher))
        rows, columns = 1 - correlation(q, p).mean(), 1 - correlation(q.T, p.T).mean()
        relations = options.row_weight * rows + options.column_weight * columns
        return hard_loss(student, labels) + options.temperature**2 * relations


def correlation(a: Float[Tensor, "row value"], b: Float[Tensor, "row value"]) -> Float[Tensor, "row"]:
    """Return Pearson's correlation of each row of ``a`` with the same row of ``b``.

    The product of norms is at least 1e-8; the authors' code adds 1e-8 to it instead. At the sizes of the testbeds, in
    fp32, gradients differ by at most 4e-5 of their size.
    """
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-8)
