"""A small convolutional net for small images, of any width, and its training on images kept as bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from repro.core.compute import Compute
from repro.core.loop import Labelled, Loop
from repro.core.nets import Nets, NetsType
from repro.core.noise import Order, generator, jitter_offsets
from repro.core.recipe import Recipe

# Logits, labels, and the teacher's logits or None -> losses.
Objective = Callable[[Tensor, Tensor, Any], Tensor]


class Convolution(nn.Module):
    """A 3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, draw: torch.Generator):
        super().__init__()
        self.stride = stride
        scale = (2 / (9 * inputs)) ** 0.5  # He et al. 2015
        weight = torch.randn(outputs, inputs, 3, 3, generator=draw) * scale
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, inputs: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch out row2 column2"]:
        """The convolution multiplies in the type of its inputs; the normalisation's statistics are fp32."""
        return F.relu(self.norm(F.conv2d(inputs, self.weight.to(inputs.dtype), stride=self.stride, padding=1)))


class ConvNet(Nets):
    """Three stages of 16x16, 8x8 and 4x4 pixels (of 32x32 images); the mean over what is left; one linear layer.

    Two by two pixels are first made channels of one, so that nothing is computed at full resolution, where
    a small net would spend most of its time on reading and writing memory. A stage has two convolutions,
    the second added to the first (He et al. 2016); channels double from stage to stage. Convolutions
    multiply in ``dtype``; the last layer and its logits are fp32. Like a population, the net has a length
    (one) and its logits a leading axis of models.
    """

    def __init__(self, channels: int, width: int, classes: int, seed: int, dtype: torch.dtype = torch.float32):
        """``width`` channels in the first stage, four times as many in the last; weights drawn from ``seed``."""
        super().__init__()
        self.channels, self.width, self.classes, self.seed, self.dtype = channels, width, classes, seed, dtype
        draw = generator("initial weights", seed)
        sizes = [4 * channels, width, 2 * width, 4 * width]
        self.down = nn.ModuleList(
            Convolution(a, b, 1 if stage == 0 else 2, draw)
            for stage, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        )
        self.keep = nn.ModuleList(Convolution(size, size, 1, draw) for size in sizes[1:])
        self.stages = nn.ModuleList(nn.Identity() for _ in sizes[1:])  # names for what a stage puts out
        self.head = nn.Linear(4 * width, classes)
        self.head.weight.data = torch.randn(classes, 4 * width, generator=draw) * (1 / (4 * width)) ** 0.5
        self.head.bias.data.zero_()

    def __len__(self) -> int:
        return 1

    def forward(self, images: UInt8[Tensor, "batch channel row column"]) -> Float[Tensor, "1 batch classes"]:
        """Logits, in fp32."""
        rows, columns = images.shape[-2:]
        hidden = F.pad((images.float() - 128) / 64, (0, columns % 2, 0, rows % 2))
        hidden = F.pixel_unshuffle(hidden, 2)
        hidden = hidden.to(self.dtype).contiguous(memory_format=torch.channels_last)
        for down, keep, stage in zip(self.down, self.keep, self.stages, strict=True):
            hidden = down(hidden)
            hidden = stage(hidden + keep(hidden))
        return self.head(hidden.float().mean((2, 3)))[None]

    @torch.no_grad()
    def logits(
        self, images: UInt8[Tensor, "case channel row column"], batch: int = 1000
    ) -> Float[Tensor, "1 case classes"]:
        """Logits at test time (the running statistics normalise), in fp32 throughout and on the CPU."""
        training, precision = self.training, self.dtype
        self.eval()
        self.dtype = torch.float32
        device = self.head.weight.device
        try:
            return torch.cat([self(part.to(device)).cpu() for part in images.split(batch)], dim=1)
        finally:
            self.train(training)
            self.dtype = precision


def _convolutions(channels: int, width: int) -> list[tuple[int, int, int]]:
    """Input channels, output channels and halvings of the image, of every convolution."""
    sizes = [4 * channels, width, 2 * width, 4 * width]
    stages = enumerate(zip(sizes[:-1], sizes[1:], strict=True), 1)
    return [one for stage, (a, b) in stages for one in ((a, b, stage), (b, b, stage))]


def count_conv_weights(channels: int, width: int, classes: int) -> int:
    """Weights of a ``ConvNet``, biases and normalisation included."""
    return sum(9 * a * b + 2 * b for a, b, _ in _convolutions(channels, width)) + (4 * width + 1) * classes


def count_conv_multiply_adds(channels: int, width: int, classes: int, side: int) -> int:
    """Multiply-adds of a ``ConvNet`` for one image of ``side`` x ``side`` pixels, ``side`` a multiple of 8."""
    convolutions = _convolutions(channels, width)
    return sum(9 * a * b * (side >> halvings) ** 2 for a, b, halvings in convolutions) + 4 * width * classes


class ImageTraining(Loop[NetsType]):
    """One net on its way through one recipe; images are shifted and mirrored by indexing."""

    def __init__(
        self,
        net: NetsType,
        orders: Sequence[Order],
        images: UInt8[Tensor, "case channel row column"],
        labels: Int[Tensor, "case"],
        objective: Objective | None,
        recipe: Recipe,
        compute: Compute,
        cases: int,
        mirrored: bool = False,
        teacher: Float[Tensor, "case classes"] | None = None,
        checkpoint: Path | None = None,
        validation: Labelled | None = None,
    ):
        """A batch is what ``orders`` give together; ``cases`` make a pass.

        Args:
            objective: logits (1, batch, classes), labels (batch,), teacher's logits -> losses (1,); None where a
                subclass has losses of its own.
            mirrored: half of the images of a batch are mirrored, left to right.
            teacher: logits that the objective is handed along with the labels.
        """
        device = compute.device
        self.orders, self.objective, self.mirrored = orders, objective, mirrored
        self.images = shifted_views(images, recipe.jitter, device)
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
        rows, columns = jitter_offsets(seed, step, len(picked), self.recipe.jitter)
        images = self.images[picked, :, rows, columns]
        if self.mirrored:
            mirror = torch.rand(len(picked), 1, 1, 1, generator=generator("mirror", seed, step)) < 0.5
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
