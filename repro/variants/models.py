"""Models of the variants: MLPs or convolutional networks of any size, from images as bytes to logits."""

from typing import Annotated, Any, Literal

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
FORMER_KINDS = {"fully connected": "mlp", "convolutional": "conv"}


class Shape(Settings):
    """Kind and size of a model; in short ``"conv:4"`` (width 4) or ``"mlp:800-800"`` (two hidden layers)."""

    kind: Literal["mlp", "conv"] = Field(description="Multilayer perceptron or convolutional network.")
    hidden: tuple[Units, ...] = Field(
        (), max_length=20, description="Number of units of each hidden layer of an MLP. Default: none, for kind conv."
    )
    width: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Number of channels of the first stage of a convolutional network. Default: none, for kind mlp.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("kind") in FORMER_KINDS:
            raise ValueError(f"kind {value['kind']!r} is now called {FORMER_KINDS[value['kind']]!r}")
        if not isinstance(value, str):
            return value
        kind, _, size = value.partition(":")
        numbers = size.split("-")
        known = kind == "mlp" or (kind == "conv" and len(numbers) == 1)
        if not known or not all(number.isascii() and number.isdigit() and len(number) < 7 for number in numbers):
            raise ValueError('must be a shape such as "conv:4" or "mlp:800-800"')
        return {"kind": kind} | ({"width": int(size)} if kind == "conv" else {"hidden": tuple(map(int, numbers))})

    @model_validator(mode="after")
    def _consistent(self) -> "Shape":
        if (self.kind == "mlp") != bool(self.hidden) or (self.kind == "conv") != bool(self.width):
            raise ValueError("hidden must be given for kind mlp, width for kind conv")
        return self

    def __str__(self) -> str:
        return f"conv:{self.width}" if self.width else "mlp:" + "-".join(map(str, self.hidden))


class Layer(nn.Module):
    """A layer relu(x W + b), multiplied in the data type of x."""

    def __init__(self, inputs: int, outputs: int, draw: torch.Generator):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, generator=draw) * (2 / inputs) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs: Float[Tensor, "batch unit"]) -> Float[Tensor, "batch units"]:
        """Return the output of the layer, in the data type of its input."""
        return F.relu(F.linear(inputs, self.weight.to(inputs.dtype), self.bias.to(inputs.dtype)))


class FullyConnected(Model):
    """An MLP of named ReLU layers (``layers.0``, ...) and a linear head, whose features methods can read.

    Like ``ConvNet`` it has a length of one and a leading axis of models. It is a class beside ``BatchedMLP`` because
    that one keeps no module per layer and draws its weights in another order: sharing it would change all results.
    """

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
        """Return fp32 logits of images (batch, channel, row, column) with values 0 to 255; ``noise`` is dropout."""
        hidden = (images.flatten(1).float() / 255).to(self.dtype)
        if noise is not None:
            hidden = noise.drop_inputs(hidden[None])[0]
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if noise is not None:
                mask = noise.hidden_mask(number, *hidden.shape)
                hidden = hidden if mask is None else hidden * mask.factors(hidden.dtype)[0]
        return self.head(hidden.float())[None]

    @torch.no_grad()
    def logits(self, images: Tensor, batch: int = 5000) -> Float[Tensor, "1 case classes"]:
        """Return logits without dropout, computed in fp32 and moved to the CPU."""
        precision, self.dtype = self.dtype, torch.float32
        device = self.head.weight.device
        try:
            return torch.cat([self(part.to(device)).cpu() for part in images.split(batch)], dim=1)
        finally:
            self.dtype = precision

    @torch.no_grad()
    def clip_weight_norms(self, max_norm: float) -> None:
        """Scale down the incoming weights of each hidden unit to an L2 norm of at most ``max_norm``."""
        for layer in self.layers:
            weight = layer.get_parameter("weight")
            norm = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
            weight.mul_(max_norm / norm.clamp_min(max_norm))


Network = FullyConnected | ConvNet


def make(shape: Shape, data: ImageData, seed: int) -> Network:
    """Return a model for these images, its initial weights drawn from ``seed``."""
    channels, *side = data.train.images.shape[1:]
    if shape.width:
        return ConvNet(channels, shape.width, len(data.classes), seed)
    return FullyConnected(channels * side[0] * side[1], shape.hidden, len(data.classes), seed)


def num_parameters(shape: Shape, data: ImageData) -> int:
    """Return the number of parameters of a model, biases included."""
    channels, *side = data.train.images.shape[1:]
    if shape.width:
        return count_conv_parameters(channels, shape.width, len(data.classes))
    return count_parameters([channels * side[0] * side[1], *shape.hidden, len(data.classes)])


def macs(shape: Shape, data: ImageData) -> int:
    """Return the multiply-accumulates of a model for one image; of an MLP, biases are counted."""
    channels, side, _ = data.train.images.shape[1:]
    if shape.width:
        return count_conv_multiply_adds(channels, shape.width, len(data.classes), side)
    return num_parameters(shape, data)
