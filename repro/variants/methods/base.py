"""Base classes of the methods: a loss, modules that are trained along with the student, and a source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from repro.config import Settings, Temperature
from repro.kd.losses import distillation_loss

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
# Names of a module of the student and of the module of the teacher whose output it is trained to match.
Pair = tuple[str, str]


@dataclass(frozen=True)
class ModelOutput:
    """Outputs of a model for a batch: fp32 logits, features by module name, and the images (values 0 to 255).

    Features are in the data type of their module.
    """

    logits: Float[Tensor, "batch classes"]
    features: Mapping[str, Tensor] = field(default_factory=dict)
    images: Tensor | None = None


class Method(nn.Module):
    """A loss for a student. The modules of the method are trained along with the student and then discarded."""

    source: ClassVar[str]
    has_teacher: ClassVar[bool] = True
    # Options that vanilla KD has too: where a grid does not name them, they are those chosen for KD.
    shared_options: ClassVar[tuple[str, ...]] = ()

    class Options(Settings):
        """Settings of the method."""

    options: Settings

    def __init__(self, options: Settings, student: ModelOutput, teacher: ModelOutput | None):
        """Create the modules of the method; ``student`` and ``teacher`` are sample outputs, for their shapes."""
        super().__init__()
        self.options = options

    @property
    def needs_input_gradient(self) -> bool:
        """Whether the loss needs gradients by the images."""
        return False

    def needs_features(self, progress: float) -> bool:
        """Whether the loss needs more of the teacher than its logits; ``progress`` is that of ``forward``."""
        return self.needs_input_gradient or bool(self.teacher_modules(self.options))

    @staticmethod
    def student_modules(options: Any) -> tuple[str, ...]:
        """Return the names of the student's modules whose outputs the loss needs."""
        return tuple(student for student, _ in getattr(options, "pairs", ()))

    @staticmethod
    def teacher_modules(options: Any) -> tuple[str, ...]:
        """Return the names of the teacher's modules whose outputs the loss needs."""
        return tuple(teacher for _, teacher in getattr(options, "pairs", ()))

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch, in nats where it is a cross-entropy.

        ``teacher`` is None for a method without one; ``progress`` goes from 0 to 1 during training.
        """
        raise NotImplementedError


class KDPlusTerm(Method):
    """A method that adds a term to vanilla KD."""

    shared_options: ClassVar[tuple[str, ...]] = ("temperature", "hard_label_weight")

    class Options(Settings):
        """``temperature`` is T and ``hard_label_weight`` w of section 2's weighted average."""

        temperature: Temperature = 4.0
        hard_label_weight: Fraction = 0.1

    options: Options

    def soft_loss(self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        """Return the weighted average of section 2: (1 - w) T^2 KL(teacher || student) + w CE(label)."""
        options = self.options
        return distillation_loss(student.logits, teacher.logits, labels, options.temperature, options.hard_label_weight)


def hard_loss(student: ModelOutput, labels: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
    """Return the cross-entropy with the labels."""
    return F.cross_entropy(student.logits, labels)


class Regressor(nn.Module):
    """A linear map from the student's features to the teacher's: of units, or of channels at each place of a map.

    It multiplies in the data type of the features.
    """

    def __init__(self, student: Tensor, teacher: Tensor):
        """Create the map; ``student`` and ``teacher`` are features of a few images, for their shapes.

        Raises:
            ValueError: a feature map is paired with a vector of units.
        """
        super().__init__()
        if student.dim() != teacher.dim():
            raise ValueError("pairs must be maps with maps, or units with units")
        self.linear = nn.Linear(student.shape[1], teacher.shape[1])

    def forward(self, features: Float[Tensor, "batch channel *places"]) -> Float[Tensor, "batch channels *places"]:
        """Return the prediction of the teacher's features, in fp32 or finer."""
        weight, bias = self.linear.weight.to(features.dtype), self.linear.bias.to(features.dtype)
        if features.dim() == 2:
            prediction = F.linear(features, weight, bias)
        else:
            prediction = F.conv2d(features, weight[:, :, None, None], bias)
        return prediction.to(torch.promote_types(prediction.dtype, torch.float32))


def match_spatial_size(features: Float[Tensor, "batch *rest"], like: Tensor) -> Float[Tensor, "batch *rest"]:
    """Return feature maps averaged or repeated to the rows and columns of ``like``.

    Public code of attention transfer pools the larger of the two maps instead: where the student's maps are the
    smaller, it pools the teacher's, while here the student's are repeated. No committed profile has such a pair.
    """
    if features.dim() == 4 and features.shape[2:] != like.shape[2:]:
        rows, columns = like.shape[2:]
        return F.adaptive_avg_pool2d(features, (rows, columns))
    return features
