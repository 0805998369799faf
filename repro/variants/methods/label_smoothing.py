"""Label smoothing: part of the label's weight goes to all classes alike."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Share


class Method(base.Method):
    """Cross-entropy with (1 - s) one-hot + s / classes: a teacher that knows nothing."""

    source = "Szegedy et al. 2016, section 7"
    has_teacher = False

    class Options(base.Settings):
        """``smoothing`` is the share s of the weight."""

        smoothing: Share = 0.1

    options: Options

    def forward(
        self, student: ModelOutput, teacher: ModelOutput | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """(1 - s) CE(label) + s CE(uniform)."""
        return F.cross_entropy(student.logits, labels, label_smoothing=self.options.smoothing)
