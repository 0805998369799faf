"""A small convolutional network for small images, of adjustable width."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from repro.models.base import Model
from repro.models.fused_norm import norm_relu
from repro.models.pixel_blocks import pixel_blocks
from repro.training.random_streams import Stream, generator


class Convolution(nn.Module):
    """A 3x3 convolution, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, draw: torch.Generator):
        super().__init__()
        self.stride = stride
        scale = (2 / (9 * inputs)) ** 0.5  # He et al. 2015
        weight = torch.randn(outputs, inputs, 3, 3, generator=draw) * scale
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, inputs: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch out row2 column2"]:
        """Return the activations; the convolution multiplies in the type of its inputs, the statistics are fp32."""
        return norm_relu(F.conv2d(inputs, self.weight.to(inputs.dtype), stride=self.stride, padding=1), self.norm)


class ConvNet(Model):
    """Three stages at 16x16, 8x8 and 4x4 pixels (of 32x32 images), global average pooling, one linear layer.

    Blocks of two by two pixels first become channels of one pixel, so that nothing is computed at full resolution,
    where a small network would spend most of its time on reading and writing memory. A stage has two convolutions,
    the second a residual one (He et al. 2016); channels double from stage to stage. Convolutions multiply in
    ``dtype``; the last layer and its logits are fp32. Like a ``BatchedMLP``, the network has a length (one) and its
    logits a leading axis of models.
    """

    def __init__(self, channels: int, width: int, classes: int, seed: int, dtype: torch.dtype = torch.float32):
        """Draw the initial weights.

        Args:
            channels: channels of the images.
            width: channels in the first stage; the last has four times as many.
            classes: number of logits.
            seed: seed of the initial weights.
            dtype: type of the operands of convolutions. Default: fp32.
        """
        super().__init__()
        self.channels, self.width, self.classes, self.seed, self.dtype = channels, width, classes, seed, dtype
        draw = generator(Stream.INITIAL_WEIGHTS, seed)
        sizes = [4 * channels, width, 2 * width, 4 * width]
        self.down = nn.ModuleList(
            Convolution(a, b, 1 if stage == 0 else 2, draw)
            for stage, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        )
        self.keep = nn.ModuleList(Convolution(size, size, 1, draw) for size in sizes[1:])
        self.stages = nn.ModuleList(nn.Identity() for _ in sizes[1:])  # name the output of a stage
        self.head = nn.Linear(4 * width, classes)
        self.head.weight.data = torch.randn(classes, 4 * width, generator=draw) * (1 / (4 * width)) ** 0.5
        self.head.bias.data.zero_()

    def __len__(self) -> int:
        return 1

    def forward(self, images: UInt8[Tensor, "batch channel row column"]) -> Float[Tensor, "1 batch class"]:
        """Return logits, in fp32."""
        return self.head(self.pooled(images))[None]

    def pooled(self, images: UInt8[Tensor, "batch channel row column"]) -> Float[Tensor, "batch feature"]:
        """Return the input of the last layer, in fp32."""
        hidden = pixel_blocks(images, self.dtype)
        for down, keep, stage in zip(self.down, self.keep, self.stages, strict=True):
            hidden = down(hidden)
            hidden = stage(hidden + keep(hidden))
        return hidden.float().mean((2, 3))

    @torch.no_grad()
    def logits(
        self, images: UInt8[Tensor, "example channel row column"], batch: int = 1000
    ) -> Float[Tensor, "1 example class"]:
        """Return logits at test time (normalized by the running statistics), in fp32 throughout, on the CPU."""
        training, precision = self.training, self.dtype
        self.eval()
        self.dtype = torch.float32
        device = self.head.weight.device
        try:
            return torch.cat([self(part.to(device)).cpu() for part in images.split(batch)], dim=1)
        finally:
            self.train(training)
            self.dtype = precision
