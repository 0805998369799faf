"""Network with exported weights: ``load(folder)``. Its architecture is in architecture.py beside this file."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

# What the architecture is built with, and mean and standard deviation of each channel's pixels; written by the export.
NETWORK: dict[str, Any] = {}


class Normalized(nn.Module):
    """A network of normalized images, as one that takes values from 0 to 255."""

    def __init__(self, net: nn.Module, mean: list[float], deviation: list[float]):
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of images (batch, channel, row, column) with values 0 to 255."""
        return self.net((images.float() - self.get_buffer("mean")) / self.get_buffer("deviation"))


def load(folder: str | Path = Path(__file__).parent) -> Normalized:
    """Return the network with the weights of ``folder``."""
    net = _architecture().build(**NETWORK["architecture"])
    net.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return Normalized(net, NETWORK["mean"], NETWORK["deviation"]).eval()


def _architecture() -> Any:
    """Return the module, wherever this folder is, beside those of other exported networks."""
    path = Path(__file__).with_name("architecture.py")
    spec = importlib.util.spec_from_file_location(f"{__name__}_architecture", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
