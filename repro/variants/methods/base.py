"""What a method is: a loss, the modules that learn along with the student, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.config import Settings
from repro.kd.losses import distillation_loss

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Temperature = Annotated[float, Field(gt=0, le=1e3)]
# The name of a module of the student, and of the one of the teacher that it is to be like.
Pair = tuple[str, str]


@dataclass(frozen=True)
class ModelOutput:
    """What a net says of a batch, in fp32; what some of its modules put out on the way, in the type they multiply
    in; and the images, of 0 .. 255."""

    logits: Float[Tensor, "batch classes"]
    features: Mapping[str, Tensor] = field(default_factory=dict)
    images: Tensor | None = None


class Method(nn.Module):
    """A loss for a student. Its own modules, if it has any, learn along with the student and are then left out."""

    source: ClassVar[str]
    has_teacher: ClassVar[bool] = True
    # Settings that plain distillation has too: a candidate that does not name them takes what was chosen there.
    shared_options: ClassVar[tuple[str, ...]] = ()

    class Options(Settings):
        """The method's settings."""

    options: Settings

    def __init__(self, options: Settings, student: ModelOutput, teacher: ModelOutput | None):
        """``student`` and ``teacher`` are what the nets say of some images, for shapes."""
        super().__init__()
        self.options = options

    @property
    def needs_input_gradient(self) -> bool:
        """Whether the loss needs gradients by the pixels."""
        return False

    @staticmethod
    def student_modules(options: Any) -> tuple[str, ...]:
        """Names of the student's modules whose output the loss looks at."""
        return tuple(mine for mine, _ in getattr(options, "pairs", ()))

    @staticmethod
    def teacher_modules(options: Any) -> tuple[str, ...]:
        """Names of the teacher's modules whose output the loss looks at."""
        return tuple(theirs for _, theirs in getattr(options, "pairs", ()))

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """The loss of a batch, in nats where it is a cross-entropy; ``progress`` goes from 0 to 1 in training.

        A method that has no teacher takes None for it.
        """
        raise NotImplementedError


class KDPlusTerm(Method):
    """A method that adds a term to plain distillation."""

    shared_options: ClassVar[tuple[str, ...]] = ("temperature", "hard_label_weight")

    class Options(Settings):
        """``hard_label_weight`` is w of section 2's weighted average."""

        temperature: Temperature = 4.0
        hard_label_weight: Share = 0.1

    options: Options

    def soft_loss(self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        """Section 2's weighted average."""
        own = self.options
        return distillation_loss(student.logits, teacher.logits, labels, own.temperature, own.hard_label_weight)


def hard_loss(student: ModelOutput, labels: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
    """Cross-entropy with the labels."""
    return F.cross_entropy(student.logits, labels)


class Regressor(nn.Module):
    """A linear map from the student's features to the teacher's, of units or of channels at each place; it multiplies
    in the features' type."""

    def __init__(self, student: Tensor, teacher: Tensor):
        """Features of both, for their shapes.

        Raises:
            ValueError: the one are maps and the other are not.
        """
        super().__init__()
        if student.dim() != teacher.dim():
            raise ValueError("should pair maps with maps, or units with units")
        self.linear = nn.Linear(student.shape[1], teacher.shape[1])

    def forward(self, features: Float[Tensor, "batch channel *places"]) -> Float[Tensor, "batch channels *places"]:
        """The guess at the teacher's features, in fp32 or finer."""
        weight, bias = (one.to(features.dtype) for one in (self.linear.weight, self.linear.bias))
        if features.dim() == 2:
            guess = F.linear(features, weight, bias)
        else:
            guess = F.conv2d(features, weight[:, :, None, None], bias)
        return guess.to(torch.promote_types(guess.dtype, torch.float32))


def match_spatial_size(features: Float[Tensor, "batch *rest"], like: Tensor) -> Float[Tensor, "batch *rest"]:
    """Maps averaged or repeated to the rows and columns of other maps."""
    if features.dim() == 4 and features.shape[2:] != like.shape[2:]:
        rows, columns = like.shape[2:]
        return F.adaptive_avg_pool2d(features, (rows, columns))
    return features
