"""Self-distillation inside one net: shallow exits are taught by the deepest."""

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.core.distill import soft_target_loss
from repro.variants.methods import base
from repro.variants.methods.base import Seen, Share, Temperature, hard_loss


class Method(base.Method):
    """CE of the deepest + the sum over exits of (1 - a) CE + a T^2 KL(deepest || exit).

    Zhang et al. add a term on features, with a weight of 1e-6 in public code; it is left out. Theirs have
    convolutions of their own; here an exit is a linear layer on the mean over places. All are left out after training.
    """

    source = "after Zhang et al. 2019, equations 2 and 3"
    has_teacher = False

    class Options(base.Settings):
        """``exits``: modules of the student after which an exit is put; ``soft_weight`` is a."""

        exits: tuple[str, ...] = Field(min_length=1)
        temperature: Temperature = 3.0
        soft_weight: Share = 0.3

    options: Options

    def __init__(self, options: "Method.Options", student: Seen, teacher: Seen | None):
        super().__init__(options, student, teacher)
        classes = student.logits.shape[1]
        self.heads = nn.ModuleList(nn.Linear(student.features[name].shape[1], classes) for name in options.exits)

    @staticmethod
    def student_modules(options: "Method.Options") -> tuple[str, ...]:
        """Where the exits are."""
        return options.exits

    def forward(
        self, student: Seen, teacher: Seen | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """No gradient goes into the deepest from what it teaches."""
        own = self.options
        loss: float | Tensor = 0.0
        for name, head in zip(own.exits, self.heads, strict=True):
            features = student.features[name]
            pooled = features.flatten(2).mean(2) if features.dim() > 2 else features
            logits = head(pooled.to(head.get_parameter("weight").dtype))
            soft = soft_target_loss(logits, student.logits.detach(), own.temperature)
            loss = loss + (1 - own.soft_weight) * F.cross_entropy(logits, labels) + own.soft_weight * soft
        return hard_loss(student, labels) + loss
