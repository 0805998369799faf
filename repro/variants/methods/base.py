"""What a method is: a loss, the modules that learn along with the student, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.config import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Temperature = Annotated[float, Field(gt=0, le=1e3)]
# The name of a module of the student, and of the one of the teacher that it is to be like.
Pair = tuple[str, str]


@dataclass(frozen=True)
class Seen:
    """What a net says of a batch, and what some of its modules put out on the way."""

    logits: Float[Tensor, "batch classes"]
    features: Mapping[str, Tensor] = field(default_factory=dict)
    images: Tensor | None = None


class Method(nn.Module):
    """A loss for a student. Its own modules, if it has any, learn along with the student and are then left out."""

    source: ClassVar[str]
    has_teacher: ClassVar[bool] = True

    class Options(Settings):
        """The method's settings."""

    def __init__(self, options: Settings, student: Seen, teacher: Seen | None):
        """``student`` and ``teacher`` are what the nets say of some images, for shapes."""
        super().__init__()
        self.options = options

    @property
    def looks_at_pixels(self) -> bool:
        """Whether the loss needs gradients by the pixels."""
        return False

    @staticmethod
    def student_modules(options: Settings) -> tuple[str, ...]:
        """Names of the student's modules whose output the loss looks at."""
        return tuple(mine for mine, _ in getattr(options, "pairs", ()))

    @staticmethod
    def teacher_modules(options: Settings) -> tuple[str, ...]:
        """Names of the teacher's modules whose output the loss looks at."""
        return tuple(theirs for _, theirs in getattr(options, "pairs", ()))

    def forward(
        self, student: Seen, teacher: Seen | None, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """The loss of a batch, in nats where it is a cross-entropy; ``progress`` goes from 0 to 1 in training."""
        raise NotImplementedError


def hard_loss(student: Seen, labels: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
    """Cross-entropy with the labels."""
    return F.cross_entropy(student.logits, labels)


def regressor(student: Tensor, teacher: Tensor) -> nn.Module:
    """A linear map from the student's features to the teacher's: of units, or of channels at each place.

    Raises:
        ValueError: the one are maps and the other are not.
    """
    if student.dim() != teacher.dim():
        raise ValueError("should pair maps with maps, or units with units")
    if student.dim() == 2:
        return nn.Linear(student.shape[1], teacher.shape[1])
    return nn.Conv2d(student.shape[1], teacher.shape[1], 1)


def same_places(features: Float[Tensor, "batch *rest"], like: Tensor) -> Float[Tensor, "batch *rest"]:
    """Maps averaged or repeated to the rows and columns of other maps."""
    if features.dim() == 4 and features.shape[2:] != like.shape[2:]:
        return F.adaptive_avg_pool2d(features, like.shape[2:])
    return features
