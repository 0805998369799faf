"""The nets of the variants: fully connected or convolutional, of any size, images as bytes in and logits out."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from repro.config import Settings
from repro.data.types import ImageData
from repro.models.base import Model
from repro.models.conv import ConvNet
from repro.models.flops import count_conv_multiply_adds, count_conv_parameters, count_parameters
from repro.training.random_streams import Dropout, Stream, generator

Units = Annotated[int, Field(ge=1, le=20_000)]


class Shape(Settings):
    """What a net looks like."""

    kind: Literal["fully connected", "convolutional"]
    hidden: tuple[Units, ...] = Field((), max_length=20, description="units of each layer, of a fully connected net")
    width: int | None = Field(None, ge=1, le=1024, description="channels of the first stage, of a convolutional net")

    @model_validator(mode="after")
    def _consistent(self) -> "Shape":
        if (self.kind == "fully connected") != bool(self.hidden) or (self.kind == "convolutional") != bool(self.width):
            raise ValueError("hidden should be given for a fully connected net, width for a convolutional one")
        return self

    def __str__(self) -> str:
        return f"width {self.width}" if self.width else "-".join(map(str, self.hidden))


class Layer(nn.Module):
    """relu(x W + b), multiplied in the type of x."""

    def __init__(self, inputs: int, outputs: int, draw: torch.Generator):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, generator=draw) * (2 / inputs) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs: Float[Tensor, "batch unit"]) -> Float[Tensor, "batch units"]:
        """The layer's output, in the type of its input."""
        return F.relu(F.linear(inputs, self.weight.to(inputs.dtype), self.bias.to(inputs.dtype)))


class FullyConnected(Model):
    """ReLU layers and one linear one; as ``ConvNet``, it has a length of one and a leading axis of models."""

    def __init__(self, pixels: int, hidden: tuple[int, ...], classes: int, seed: int):
        super().__init__()
        draw = generator(Stream.INITIAL_WEIGHTS, seed)
        self.seed, self.dtype = seed, torch.float32
        sizes = [pixels, *hidden]
        self.layers = nn.ModuleList(Layer(a, b, draw) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.head = nn.Linear(hidden[-1], classes)
        self.head.weight.data = torch.randn(classes, hidden[-1], generator=draw) * (1 / hidden[-1]) ** 0.5
        self.head.bias.data.zero_()

    def __len__(self) -> int:
        return 1

    def forward(self, images: Tensor, noise: Dropout | None = None) -> Float[Tensor, "1 batch classes"]:
        """Logits, in fp32, of images (batch, channel, row, column) of 0 .. 255; ``noise`` is dropout."""
        hidden = (images.flatten(1).float() / 255).to(self.dtype)
        if noise is not None:
            hidden = noise.drop_inputs(hidden[None])[0]
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if noise is not None:
                mask, _ = noise.hidden_mask(number, hidden[None], hidden.shape[-1])
                hidden = hidden if mask is None else hidden * mask[0]
        return self.head(hidden.float())[None]

    @torch.no_grad()
    def logits(self, images: Tensor, batch: int = 5000) -> Float[Tensor, "1 case classes"]:
        """Logits at test time, in fp32 throughout and on the CPU."""
        precision, self.dtype = self.dtype, torch.float32
        device = self.head.weight.device
        try:
            return torch.cat([self(part.to(device)).cpu() for part in images.split(batch)], dim=1)
        finally:
            self.dtype = precision

    @torch.no_grad()
    def clip_weight_norms(self, max_norm: float) -> None:
        """Scale down the incoming weights of a hidden unit to an L2 norm of at most ``max_norm``."""
        for layer in self.layers:
            weight = layer.get_parameter("weight")
            norm = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
            weight.mul_(max_norm / norm.clamp_min(max_norm))


Net = FullyConnected | ConvNet


def make(shape: Shape, data: ImageData, seed: int) -> Net:
    """A net for these images, its weights drawn from ``seed``."""
    channels, *side = data.train.images.shape[1:]
    if shape.width:
        return ConvNet(channels, shape.width, len(data.classes), seed)
    return FullyConnected(channels * side[0] * side[1], shape.hidden, len(data.classes), seed)


def count(shape: Shape, data: ImageData) -> int:
    """Weights of the net, biases included."""
    channels, *side = data.train.images.shape[1:]
    if shape.width:
        return count_conv_parameters(channels, shape.width, len(data.classes))
    return count_parameters([channels * side[0] * side[1], *shape.hidden, len(data.classes)])


def multiply_adds(shape: Shape, data: ImageData) -> int:
    """Multiply-adds of the net for one image, biases of a fully connected one included."""
    channels, side, _ = data.train.images.shape[1:]
    if shape.width:
        return count_conv_multiply_adds(channels, shape.width, len(data.classes), side)
    return count(shape, data)
