"""Self-distillation inside one net: shallow exits are taught by the deepest."""

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.kd.losses import soft_target_loss
from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Share, Temperature, hard_loss


class Separable(nn.Module):
    """A 3x3 convolution of each channel by itself with a stride of two, one across channels that doubles them, batch
    normalisation, ReLU; the convolutions multiply in the type of their input."""

    def __init__(self, channels: int):
        super().__init__()
        self.each = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        self.across = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, maps: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channels row2 column2"]:
        """Maps of half the rows and columns."""
        each, across = (layer.weight.to(maps.dtype) for layer in (self.each, self.across))
        maps = F.conv2d(maps, each, stride=2, padding=1, groups=len(each))
        return F.relu(self.norm(F.conv2d(maps, across)))


class Exit(nn.Module):
    """A classifier of its own for what a module puts out: separable convolutions where those are maps, the mean over
    places, one linear layer."""

    def __init__(self, features: Tensor, halvings: int, classes: int):
        """``features``, for their shape; ``halvings``: how many convolutions maps pass."""
        super().__init__()
        channels = features.shape[1]
        count = halvings if features.dim() == 4 else 0
        self.convolutions = nn.Sequential(*(Separable(channels << number) for number in range(count)))
        self.linear = nn.Linear(channels << count, classes)

    def forward(self, features: Float[Tensor, "batch channel *places"]) -> Float[Tensor, "batch classes"]:
        """Logits, in fp32 or finer."""
        hidden = self.convolutions(features)
        hidden = hidden.to(torch.promote_types(hidden.dtype, self.linear.weight.dtype))
        return self.linear(hidden.flatten(2).mean(2) if hidden.dim() > 2 else hidden)


class Method(base.Method):
    """CE of the deepest + the sum over exits of (1 - a) CE + a T^2 KL(deepest || exit).

    The last exit from maps has one separable convolution before its linear layer, the one before it two, and so on:
    half of those in the authors' code, which has attention there as well, and no T^2. All exits are left out after
    training. Zhang et al. add a term on features, with a weight of 1e-6 in public code; it is left out.
    """

    source = "after Zhang et al. 2019, equations 2 and 3"
    has_teacher = False

    class Options(base.Settings):
        """``exits``: modules of the student after which an exit is put, shallow to deep; ``soft_weight`` is a."""

        exits: tuple[str, ...] = Field(min_length=1)
        temperature: Temperature = 3.0
        soft_weight: Share = 0.3

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput | None):
        super().__init__(options, student, teacher)
        classes = student.logits.shape[1]
        left = range(len(options.exits), 0, -1)
        self.exits = nn.ModuleList(
            Exit(student.features[name], count, classes) for name, count in zip(options.exits, left, strict=True)
        )

    @staticmethod
    def student_modules(options: "Method.Options") -> tuple[str, ...]:
        """Where the exits are."""
        return options.exits

    def forward(
        self, student: ModelOutput, teacher: ModelOutput | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """No gradient goes into the deepest from what it teaches."""
        own = self.options
        loss: float | Tensor = 0.0
        for name, early in zip(own.exits, self.exits, strict=True):
            logits = early(student.features[name])
            soft = soft_target_loss(logits, student.logits.detach(), own.temperature)
            loss = loss + (1 - own.soft_weight) * F.cross_entropy(logits, labels) + own.soft_weight * soft
        return hard_loss(student, labels) + loss
