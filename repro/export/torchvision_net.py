"""The architecture of an exported network of torchvision; model.py loads it. Needs torch and torchvision alone."""

from typing import Any

from torch import nn
from torchvision import models


def build(name: str, channels: int, small_images: bool, arguments: dict[str, Any]) -> nn.Module:
    """Return a network of torchvision with another first convolution.

    Args:
        name: the model's name in torchvision.
        channels: channels of the images.
        small_images: whether a ResNet begins with a 3x3 convolution of stride one and without max-pooling.
        arguments: further arguments of the model.
    """
    net = models.get_model(name, weights=None, **arguments)
    place, first = next((place, module) for place, module in net.named_modules() if isinstance(module, nn.Conv2d))
    geometry: dict[str, Any] = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
    if small_images:
        geometry = {"kernel_size": 3, "stride": 1, "padding": 1}
        net.set_submodule("maxpool", nn.Identity())
    net.set_submodule(place, nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **geometry))
    return net
