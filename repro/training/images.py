"""Training of a network on images stored as bytes; translations and horizontal flips are indexing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor
from torch.nn import functional as F

from repro.models.base import ModelType
from repro.training.random_streams import BatchSampler, Stream, generator, random_translations
from repro.training.trainer import Trainer, TrainerContext

# Logits, labels, and the teacher's logits or None -> losses.
Objective = Callable[[Tensor, Tensor, Any], Tensor]


@dataclass(frozen=True)
class ImageTransferSet:
    """Images that a network is trained on.

    Attributes:
        images: pixels in 0 .. 255.
        labels: classes.
        teacher: logits that the objective is given along with the labels; default: none.
        horizontal_flip: whether half of the images of a batch are flipped, left to right. Default: False.
    """

    images: UInt8[Tensor, "example channel row column"]
    labels: Int[Tensor, "example"]
    teacher: Float[Tensor, "example class"] | None = None
    horizontal_flip: bool = False


class ImageTrainer(Trainer[ModelType]):
    """Train one network by one recipe; images are translated and flipped by indexing."""

    def __init__(
        self,
        *,
        net: ModelType,
        samplers: Sequence[BatchSampler],
        transfer: ImageTransferSet,
        objective: Objective | None,
        num_examples: int,
        context: TrainerContext,
    ):
        """Prepare the images and resume from the checkpoint if there is one.

        Args:
            net: the network; it is moved to the device.
            samplers: the examples of a batch are those of all samplers, concatenated.
            transfer: images, labels and soft targets.
            objective: logits (1, batch, class), labels (batch,), teacher's logits -> losses (1,); None where a
                subclass overrides ``losses``.
            num_examples: examples in an epoch.
            context: recipe, device, checkpoint and validation set.
        """
        device, teacher = context.compute.device, transfer.teacher
        self.samplers, self.objective, self.horizontal_flip = samplers, objective, transfer.horizontal_flip
        self.images = shifted_views(transfer.images, context.recipe.max_translation, device)
        self.labels, self.teacher = transfer.labels.to(device), None if teacher is None else teacher.to(device)
        net.dtype = context.compute.dtype
        super().__init__(net.to(device).train(), num_examples, context)

    def losses(self, step: int) -> Float[Tensor, "1"]:
        """Return the objective on a step's batch."""
        if self.objective is None:
            raise NotImplementedError
        images, labels, teacher = self.batch(step)
        return self.objective(self.net(images), labels, teacher)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images, labels and teacher's logits of a step, all taken by the same indices."""
        indices = self.batch_indices(step)
        images = self.augment(indices, step, self.samplers[0].seed)
        return images, self.labels[indices], None if self.teacher is None else self.teacher[indices]

    def batch_indices(self, step: int) -> Int[Tensor, "batch"]:
        """Return the indices of a step's examples."""
        return torch.cat([sampler.indices(step) for sampler in self.samplers])

    def augment(self, indices: Int[Tensor, "batch"], step: int, seed: int) -> UInt8[Tensor, "batch channel row column"]:
        """Return images, translated and flipped as drawn for a seed and a step."""
        rows, columns = random_translations(seed, step, len(indices), self.recipe.max_translation)
        images = self.images[indices, :, rows, columns]
        if self.horizontal_flip:
            flip = torch.rand(len(indices), 1, 1, 1, generator=generator(Stream.HORIZONTAL_FLIP, seed, step)) < 0.5
            images = torch.where(flip.to(images.device), images.flip(-1), images)
        return images


def shifted_views(
    images: UInt8[Tensor, "example channel row column"], pixels: int, device: torch.device | str = "cpu"
) -> Shaped[Tensor, "example channel rows columns row column"]:
    """Return all translations by up to ``pixels`` as one view.

    Pixels from outside the image repeat its edge, which suits photographs and blank margins alike; ``mlp.translations``
    fills with zeros.

    Returns:
        A view of shape (example, channel, row offset, column offset, row, column).
    """
    side = images.shape[-2:]
    padded = F.pad(images, (pixels,) * 4, mode="replicate") if pixels else images
    return padded.to(device).unfold(2, side[0], 1).unfold(3, side[1], 1)
