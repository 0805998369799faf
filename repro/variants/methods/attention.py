"""Attention transfer (AT): the student's spatial attention maps are trained to equal the teacher's."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional as F

from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput, Pair, Weight, hard_loss, match_spatial_size

BRIGHT = 255  # a white pixel


class Method(base.KDPlusTerm):
    """KD + ``weight`` x distance of attention maps.

    ``activation`` (equation 2): a map is the mean over channels of squared features, normalized to length 1; the
    distance is the mean squared difference, as in the authors' code. ``gradient`` (equation 4): a map is the gradient
    of the cross-entropy with the labels by the pixels, scaled to 0 to 1, which MLPs have too; the distance is half the
    squared length of the difference, where the equation has the length itself.

    Zagoruyko & Komodakis 2017, "Paying More Attention to Attention: Improving the Performance of Convolutional Neural
    Networks via Attention Transfer", arXiv:1612.03928.
    """

    source = "Zagoruyko & Komodakis 2017 (arXiv:1612.03928), equations 2 and 4"

    class Options(base.KDPlusTerm.Options):
        """``pairs`` are modules of student and teacher with feature maps, for ``activation`` alone."""

        kind: Literal["activation", "gradient"] = "activation"
        pairs: tuple[Pair, ...] = ()
        weight: Weight = 1000.0

        @model_validator(mode="after")
        def _consistent(self) -> "Method.Options":
            if (self.kind == "activation") != bool(self.pairs):
                raise ValueError("pairs must be given for kind activation alone")
            return self

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput):
        super().__init__(options, student, teacher)
        for pair in options.pairs:
            for output, name in zip((student, teacher), pair, strict=True):
                if output.features[name].dim() != 4:
                    raise ValueError(f"{name} has no feature maps; kind = 'gradient' needs none")

    @property
    def needs_input_gradient(self) -> bool:
        """Whether the maps are gradients by the pixels."""
        return self.options.kind == "gradient"

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """Return the sum of KD's loss and the weighted distance."""
        options = self.options
        if options.kind == "gradient":
            # Detached, or the gradient of KD's loss would needlessly be taken through the teacher down to the pixels.
            soft = self.soft_loss(student, ModelOutput(teacher.logits.detach()), labels)
            student_map = input_gradient(student, labels, learn=True)
            teacher_map = input_gradient(teacher, labels, learn=False)
            return soft + options.weight * 0.5 * (student_map - teacher_map).square().sum() / len(labels)
        distances = []
        for student_name, teacher_name in options.pairs:
            wanted = teacher.features[teacher_name]
            features = match_spatial_size(student.features[student_name], wanted)
            distances.append(F.mse_loss(attention_map(features), attention_map(wanted)))
        return self.soft_loss(student, teacher, labels) + options.weight * sum(distances)


def attention_map(features: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch place"]:
    """Return the mean over channels of squared features, normalized to length 1."""
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    return F.normalize(wide.square().mean(1).flatten(1))


def input_gradient(output: ModelOutput, labels: Int[Tensor, "batch"], learn: bool) -> Float[Tensor, "batch *image"]:
    """Return the gradient of each image's cross-entropy by its pixels, scaled to 0 to 1.

    ``learn`` keeps the graph, so that the gradient can be differentiated in turn.
    """
    assert output.images is not None, "the gradient by the images needs the images"
    loss = hard_loss(output, labels) * len(labels)
    (gradient,) = torch.autograd.grad(loss, output.images, create_graph=learn)
    return BRIGHT * (gradient if learn else gradient.detach())
