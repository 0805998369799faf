"""Self-distillation within one model: shallow exits are distilled from the deepest."""

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.kd.losses import soft_target_loss
from repro.variants.methods import base
from repro.variants.methods.base import Fraction, ModelOutput, Temperature, hard_loss


class Separable(nn.Module):
    """A separable convolution of stride two that doubles the channels, batch normalization and ReLU.

    The convolutions multiply in the data type of their input.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.each = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        self.across = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, maps: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channels row2 column2"]:
        """Return maps of half the rows and columns."""
        each, across = (layer.weight.to(maps.dtype) for layer in (self.each, self.across))
        maps = F.conv2d(maps, each, stride=2, padding=1, groups=len(each))
        return F.relu(self.norm(F.conv2d(maps, across)))


class Exit(nn.Module):
    """A classifier on the features of a module: separable convolutions (for maps), spatial mean, one linear layer."""

    def __init__(self, features: Tensor, halvings: int, classes: int):
        """Create the layers; ``features`` give the shape, ``halvings`` is the number of convolutions."""
        super().__init__()
        channels = features.shape[1]
        count = halvings if features.dim() == 4 else 0
        self.convolutions = nn.Sequential(*(Separable(channels << number) for number in range(count)))
        self.linear = nn.Linear(channels << count, classes)

    def forward(self, features: Float[Tensor, "batch channel *places"]) -> Float[Tensor, "batch classes"]:
        """Return logits, in fp32 or finer."""
        hidden = self.convolutions(features)
        hidden = hidden.to(torch.promote_types(hidden.dtype, self.linear.weight.dtype))
        return self.linear(hidden.flatten(2).mean(2) if hidden.dim() > 2 else hidden)


class Method(base.Method):
    """CE(label) of the deepest exit + sum over the other exits of (1 - a) CE(label) + a T^2 KL(deepest || exit).

    The last exit from maps has one separable convolution before its linear layer, the one before it two, and so on:
    half as many as in the authors' code, which has attention there as well, and no T^2. All exits are discarded after
    training. The authors add a loss on features with adaptation layers, of weight 0.03 in their code; it is left out
    here. (Other public code weighs it 1e-6, and weighs the deepest exit's CE by 1 - a, too.)

    Zhang, Song, Gao, Chen, Bao & Ma 2019, "Be Your Own Teacher: Improve the Performance of Convolutional Neural
    Networks via Self Distillation", arXiv:1905.08094, equations 2 and 3.
    """

    source = "after Zhang et al. 2019 (arXiv:1905.08094), equations 2 and 3"
    has_teacher = False

    class Options(base.Settings):
        """``exits`` are the modules of the student that have an exit, from shallow to deep; ``soft_weight`` is a."""

        exits: tuple[str, ...] = Field(min_length=1)
        temperature: Temperature = 3.0
        soft_weight: Fraction = 0.3

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput | None):
        super().__init__(options, student, teacher)
        classes = student.logits.shape[1]
        counts = range(len(options.exits), 0, -1)
        self.exits = nn.ModuleList(
            Exit(student.features[name], count, classes) for name, count in zip(options.exits, counts, strict=True)
        )

    @staticmethod
    def student_modules(options: "Method.Options") -> tuple[str, ...]:
        """Return the modules that have an exit."""
        return options.exits

    def forward(
        self, student: ModelOutput, teacher: ModelOutput | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the loss of all exits; no gradient of the soft targets goes into the deepest exit."""
        options = self.options
        loss: float | Tensor = 0.0
        for name, exit_classifier in zip(options.exits, self.exits, strict=True):
            logits = exit_classifier(student.features[name])
            soft = soft_target_loss(logits, student.logits.detach(), options.temperature)
            loss = loss + (1 - options.soft_weight) * F.cross_entropy(logits, labels) + options.soft_weight * soft
        return hard_loss(student, labels) + loss
