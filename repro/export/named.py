"""Architecture and normalization of an exported residual network or network of torchvision."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from repro.engine.files import write
from repro.models import cifar_resnets, torchvision_nets

FOLDER = Path(__file__).parent
PREFIX = "module."  # of the names of their weights
EMPTY = "NETWORK: dict[str, Any] = {}"


def write_network(out: Path, described: str, weights: dict[str, Tensor], side: int) -> int:
    """Write model.py, which loads the network, and architecture.py; return the channels of its images.

    Args:
        out: folder to write to.
        described: shape of the network as records name it, such as ``torchvision:resnet18 (small images, DEFAULT)``.
        weights: its weights.
        side: side in pixels of its images.
    """
    match = re.fullmatch(r"(\w+):(\w+)(?: \((.*)\))?", described)
    assert match is not None, described
    kind, name, further = match.groups()
    flags = further.split(", ") if further else []
    extra = torchvision_nets.arguments(name, (side, side)) if kind == "torchvision" else {}
    channels, classes = channels_and_classes(kind, name, extra, weights)
    architecture: dict[str, Any] = {"name": name, "channels": channels}
    mean, deviation = [128.0], [64.0]
    if kind == "resnet":
        source: Path = Path(cifar_resnets.__file__)
        architecture["classes"] = classes
    else:
        source = FOLDER / "torchvision_net.py"
        architecture |= {
            "small_images": "small images" in flags, "arguments": {"num_classes": classes} | extra,
        }  # fmt: skip
        for pretrained in (flag for flag in flags if flag != "small images"):
            normalized = torchvision_nets.normalization(name, pretrained, channels)
            mean, deviation = ([255 * value for value in values] for values in normalized)
    network = {"architecture": architecture, "mean": mean, "deviation": deviation}
    text = (FOLDER / "wrapped.py").read_text(encoding="utf-8")
    write(out / "model.py", text.replace(EMPTY, f"NETWORK: dict[str, Any] = {network!r}").encode())
    write(out / "architecture.py", source.read_bytes())
    return channels


def channels_and_classes(kind: str, name: str, extra: dict[str, Any], weights: dict[str, Tensor]) -> tuple[int, int]:
    """Return the channels of a network's images and its number of classes, those of its first and last layer."""
    with torch.device("meta"):
        net = cifar_resnets.build(name, 3, 10) if kind == "resnet" else models.get_model(name, weights=None, **extra)
    layers = [place for place, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    first = next(place for place in layers if isinstance(net.get_submodule(place), nn.Conv2d))
    return weights[f"{first}.weight"].shape[1], len(weights[f"{layers[-1]}.weight"])
