"""Training a network on images kept as bytes; translations and mirror images are indices."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor
from torch.nn import functional as F

from repro.models.base import ModelType
from repro.training.compute import Compute
from repro.training.random_streams import BatchSampler, Stream, generator, random_translations
from repro.training.recipe import Recipe
from repro.training.trainer import LabelledData, Trainer

# Logits, labels, and the teacher's logits or None -> losses.
Objective = Callable[[Tensor, Tensor, Any], Tensor]


class ImageTrainer(Trainer[ModelType]):
    """One net on its way through one recipe; images are shifted and mirrored by indexing."""

    def __init__(
        self,
        net: ModelType,
        orders: Sequence[BatchSampler],
        images: UInt8[Tensor, "case channel row column"],
        labels: Int[Tensor, "case"],
        objective: Objective | None,
        recipe: Recipe,
        compute: Compute,
        cases: int,
        horizontal_flip: bool = False,
        teacher: Float[Tensor, "case classes"] | None = None,
        checkpoint: Path | None = None,
        validation: LabelledData | None = None,
    ):
        """A batch is what ``orders`` give together; ``cases`` make a pass.

        Args:
            objective: logits (1, batch, classes), labels (batch,), teacher's logits -> losses (1,); None where a
                subclass has losses of its own.
            mirrored: half of the images of a batch are mirrored, left to right.
            teacher: logits that the objective is handed along with the labels.
        """
        device = compute.device
        self.orders, self.objective, self.horizontal_flip = orders, objective, horizontal_flip
        self.images = shifted_views(images, recipe.max_translation, device)
        self.labels, self.teacher = labels.to(device), None if teacher is None else teacher.to(device)
        net.dtype = compute.dtype
        super().__init__(net.to(device).train(), recipe, cases, checkpoint, validation)

    def losses(self, step: int) -> Float[Tensor, "1"]:
        """The objective on a step's batch."""
        if self.objective is None:
            raise NotImplementedError
        images, labels, teacher = self.batch(step)
        return self.objective(self.net(images), labels, teacher)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images, labels and teacher's logits of a step, all taken by the same indices."""
        picked = self.picked(step)
        images = self.views(picked, step, self.orders[0].seed)
        return images, self.labels[picked], None if self.teacher is None else self.teacher[picked]

    def picked(self, step: int) -> Int[Tensor, "batch"]:
        """The numbers of a step's cases."""
        return torch.cat([order.indices(step) for order in self.orders])

    def views(self, picked: Int[Tensor, "batch"], step: int, seed: int) -> UInt8[Tensor, "batch channel row column"]:
        """Images shifted and mirrored by the draw of a seed and a step."""
        rows, columns = random_translations(seed, step, len(picked), self.recipe.max_translation)
        images = self.images[picked, :, rows, columns]
        if self.horizontal_flip:
            mirror = torch.rand(len(picked), 1, 1, 1, generator=generator(Stream.HORIZONTAL_FLIP, seed, step)) < 0.5
            images = torch.where(mirror.to(images.device), images.flip(-1), images)
        return images


def shifted_views(
    images: UInt8[Tensor, "case channel row column"], pixels: int, device: torch.device | str = "cpu"
) -> Shaped[Tensor, "case channel rows columns row column"]:
    """All translations by up to ``pixels`` as one view, (case, channel, row offset, column offset, row, column).

    What comes in from outside repeats the edge, which is right for photographs and for blank margins.
    """
    side = images.shape[-2:]
    padded = F.pad(images, (pixels,) * 4, mode="replicate") if pixels else images
    return padded.to(device).unfold(2, side[0], 1).unfold(3, side[1], 1)
