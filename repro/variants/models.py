"""Models of the variants, from images as bytes to logits.

They are MLPs or convolutional networks of any size, the residual networks of the literature, or torchvision's models.
"""

from functools import cache, partial
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn
from torch.nn import functional as F

from repro.config import Settings
from repro.data.types import ImageData
from repro.models import cifar_resnets, torchvision_nets
from repro.models.base import Model
from repro.models.conv import ConvNet
from repro.models.flops import count_conv_multiply_adds, count_conv_parameters, count_parameters
from repro.training.random_streams import Dropout, Stream, generator
from repro.variants.wrapped import WrappedNetwork, count, seeded

Units = Annotated[int, Field(ge=1, le=20_000)]
FORMER_KINDS = {"fully connected": "mlp", "convolutional": "conv"}


# The setting that gives each kind its size.
SIZES = {"mlp": "hidden", "conv": "width", "resnet": "name", "torchvision": "name"}


class Shape(Settings):
    """Kind and size of a model.

    In short: ``"mlp:800-800"`` (two hidden layers), ``"conv:4"`` (width 4), ``"resnet:resnet8x4"`` (a residual network
    of the literature) or ``"torchvision:resnet18"`` (a model of torchvision).
    """

    kind: Literal["mlp", "conv", "resnet", "torchvision"] = Field(
        description="Multilayer perceptron, small convolutional network, residual network for CIFAR as in the "
        "literature, or classification model of torchvision."
    )
    hidden: tuple[Units, ...] = Field(
        (),
        max_length=20,
        description="Number of units of each hidden layer of an MLP. Default: none, for the other kinds.",
    )
    width: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Number of channels of the first stage of kind conv. Default: none, for the other kinds.",
    )
    name: str | None = Field(
        None, description="Name of a model of kind resnet or torchvision. Default: none, for the other kinds."
    )
    small_images: bool = Field(
        False,
        description="Whether a ResNet of torchvision begins with a 3x3 convolution of stride one, without max-pooling. "
        "Default: false.",
    )
    weights: str | None = Field(
        None,
        description='Pretrained weights of a model of torchvision, such as "DEFAULT". Default: none; all are drawn.',
    )

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("kind") in FORMER_KINDS:
            raise ValueError(f"kind {value['kind']!r} is now called {FORMER_KINDS[value['kind']]!r}")
        if not isinstance(value, str):
            return value
        kind, _, size = value.partition(":")
        if SIZES.get(kind) == "name" and size:
            return {"kind": kind, "name": size}
        numbers = size.split("-")
        known = kind == "mlp" or (kind == "conv" and len(numbers) == 1)
        if not known or not all(number.isascii() and number.isdigit() and len(number) < 7 for number in numbers):
            raise ValueError(
                'must be a shape such as "conv:4", "mlp:800-800", "resnet:resnet8x4" or "torchvision:resnet18"'
            )
        return {"kind": kind} | ({"width": int(size)} if kind == "conv" else {"hidden": tuple(map(int, numbers))})

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if kind == "resnet" and name not in cifar_resnets.NAMES:
            raise ValueError(f"must be one of {', '.join(cifar_resnets.NAMES)}")
        return torchvision_nets.check_name(name) if kind == "torchvision" and name is not None else name

    @field_validator("small_images")
    @classmethod
    def _only_for_resnets(cls, small_images: bool, info: ValidationInfo) -> bool:
        name = info.data.get("name")
        if small_images and info.data.get("kind") == "torchvision" and name and not torchvision_nets.is_resnet(name):
            raise ValueError(f"must be left out for {name}: how to fit it to small images is known for ResNets alone")
        return small_images

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, weights: str | None, info: ValidationInfo) -> str | None:
        name = info.data.get("name")
        if weights is None or name is None or info.data.get("kind") != "torchvision":
            return weights  # what else is wrong is said elsewhere
        return torchvision_nets.check_weights(name, weights)

    @model_validator(mode="after")
    def _consistent(self) -> "Shape":
        if any(bool(getattr(self, size)) != (size == SIZES[self.kind]) for size in set(SIZES.values())):
            raise ValueError(
                "hidden must be given for kind mlp, width for kind conv, name for kinds resnet and torchvision"
            )
        if self.kind != "torchvision" and (self.small_images or self.weights is not None):
            raise ValueError("small_images and weights must be left out but for kind torchvision")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what committed records and their groups are older than, where it is not set."""
        newer = ("name", "small_images", "weights")
        return {name: value for name, value in serialize(self).items() if name not in newer or value}

    def __str__(self) -> str:
        if self.name:
            further = [*(["small images"] if self.small_images else []), *([self.weights] if self.weights else [])]
            return f"{self.kind}:{self.name}" + (f" ({', '.join(further)})" if further else "")
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


Network = FullyConnected | ConvNet | WrappedNetwork


def make(shape: Shape, data: ImageData, seed: int) -> Network:
    """Return a model for these images, its initial weights drawn from ``seed``.

    Raises:
        UserError: a model of torchvision does not take these images, or its weights cannot be downloaded.
    """
    channels, *side = data.train.images.shape[1:]
    if shape.name:
        return _make_named(shape, (channels, side[0], side[1]), len(data.classes), seed)
    if shape.width:
        return ConvNet(channels, shape.width, len(data.classes), seed)
    return FullyConnected(channels * side[0] * side[1], shape.hidden, len(data.classes), seed)


def num_parameters(shape: Shape, data: ImageData) -> int:
    """Return the number of parameters of a model, biases included."""
    channels, *side = data.train.images.shape[1:]
    if shape.name:
        return _count_named(shape, (channels, side[0], side[1]), len(data.classes))[0]
    if shape.width:
        return count_conv_parameters(channels, shape.width, len(data.classes))
    return count_parameters([channels * side[0] * side[1], *shape.hidden, len(data.classes)])


def macs(shape: Shape, data: ImageData) -> int:
    """Return the multiply-accumulates of a model for one image; of an MLP, biases are counted."""
    channels, *side = data.train.images.shape[1:]
    if shape.name:
        return _count_named(shape, (channels, side[0], side[1]), len(data.classes))[1]
    if shape.width:
        return count_conv_multiply_adds(channels, shape.width, len(data.classes), side[0])
    return num_parameters(shape, data)


Image = tuple[int, int, int]  # channels, rows and columns


def _make_named(shape: Shape, image: Image, classes: int, seed: int) -> WrappedNetwork:
    _count_named(shape, image, classes)  # refuses images of a size that the model does not take
    if shape.weights is None:
        return WrappedNetwork(partial(_build, shape, image, classes, None), seed)
    mean, deviation = torchvision_nets.normalization(str(shape.name), shape.weights, image[0])
    pixels = ([255 * value for value in values] for values in (mean, deviation))
    return WrappedNetwork(partial(_build, shape, image, classes, shape.weights), seed, *pixels)


@cache
def _count_named(shape: Shape, image: Image, classes: int) -> tuple[int, int]:
    """Return parameters and MACs of a residual network or a model of torchvision."""
    with seeded(torch.Generator()):
        return count(_build(shape, image, classes, None), image, str(shape))


def _build(shape: Shape, image: Image, classes: int, weights: str | None) -> nn.Module:
    channels, *side = image
    name = str(shape.name)
    if shape.kind == "resnet":
        return cifar_resnets.build(name, channels, classes)
    return torchvision_nets.build(
        name, channels, (side[0], side[1]), classes, small_images=shape.small_images, weights=weights
    )
