"""Attention transfer: where the teacher looks, the student is to look."""

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
    """Soft targets + weight x distance of attention maps.

    ``activation``: a map is the mean over channels of squared features, normalised to length 1; the distance is the
    mean squared difference, as in the authors' code. ``gradient``: a map is the gradient of the labels' cross-entropy
    by the pixels, of brightness 0 to 1, which fully connected nets have too; the distance is half the squared length of
    the difference (equation 4 has the length itself).
    """

    source = "Zagoruyko & Komodakis 2017, equations 2 and 4"

    class Options(base.KDPlusTerm.Options):
        """``pairs`` of modules with maps, for ``activation``."""

        kind: Literal["activation", "gradient"] = "activation"
        pairs: tuple[Pair, ...] = ()
        weight: Weight = 1000.0

        @model_validator(mode="after")
        def _consistent(self) -> "Method.Options":
            if (self.kind == "activation") != bool(self.pairs):
                raise ValueError("pairs should be given for activation, and for it alone")
            return self

    options: Options

    def __init__(self, options: "Method.Options", student: ModelOutput, teacher: ModelOutput):
        super().__init__(options, student, teacher)
        for pair in options.pairs:
            for seen, name in zip((student, teacher), pair, strict=True):
                if seen.features[name].dim() != 4:
                    raise ValueError(f"{name} has no maps; kind = 'gradient' serves nets without")

    @property
    def needs_input_gradient(self) -> bool:
        """Where maps are gradients by the pixels."""
        return self.options.kind == "gradient"

    def forward(
        self, student: ModelOutput, teacher: ModelOutput, labels: Int[Tensor, "batch"], progress: float
    ) -> Float[Tensor, ""]:
        """The sum of both."""
        own = self.options
        if own.kind == "gradient":
            # Or the soft targets' gradient would be taken through the teacher, too, down to the pixels, for nothing.
            soft = self.soft_loss(student, ModelOutput(teacher.logits.detach()), labels)
            mine = input_gradient(student, labels, learn=True)
            theirs = input_gradient(teacher, labels, learn=False)
            return soft + own.weight * 0.5 * (mine - theirs).square().sum() / len(labels)
        apart = [
            F.mse_loss(attention_map(match_spatial_size(student.features[mine], teacher.features[theirs])),
                       attention_map(teacher.features[theirs]))
            for mine, theirs in own.pairs
        ]  # fmt: skip
        return self.soft_loss(student, teacher, labels) + own.weight * sum(apart)


def attention_map(features: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch place"]:
    """The mean over channels of squared features, of length 1."""
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    return F.normalize(wide.square().mean(1).flatten(1))


def input_gradient(seen: ModelOutput, labels: Int[Tensor, "batch"], learn: bool) -> Float[Tensor, "batch *image"]:
    """The gradient of each image's cross-entropy by its brightness; ``learn`` where it is differentiated in turn, else
    what it was worked out from is let go of."""
    assert seen.images is not None, "what a net says without its images has no gradient by them"
    loss = hard_loss(seen, labels) * len(labels)
    (found,) = torch.autograd.grad(loss, seen.images, create_graph=learn)
    return BRIGHT * (found if learn else found.detach())
