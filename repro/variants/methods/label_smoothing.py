"""Label smoothing: a fraction of the label's probability is spread evenly over all classes."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import Fraction, ModelOutput


class Method(base.Method):
    """(1 - s) CE(label) + s CE(uniform distribution).

    Szegedy, Vanhoucke, Ioffe, Shlens & Wojna 2016, "Rethinking the Inception Architecture for Computer Vision",
    arXiv:1512.00567, section 7.
    """

    source = "Szegedy et al. 2016 (arXiv:1512.00567), section 7"
    has_teacher = False

    class Options(base.Settings):
        """``smoothing`` is s."""

        smoothing: Fraction = 0.1

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy with the smoothed labels."""
        return F.cross_entropy(student.logits, labels, label_smoothing=self.options.smoothing)
