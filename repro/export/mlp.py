"""Multilayer perceptron as plain PyTorch with exported weights: ``load(folder)``. Needs torch and safetensors alone."""

from pathlib import Path

from safetensors.torch import load_file
from torch import nn


def load(folder: str | Path = Path(__file__).parent) -> nn.Sequential:
    """Return the network with the weights of ``folder``: linear layers with a ReLU between them.

    Inputs are (batch, inputs) or images, which are flattened; README.md says in which units. Outputs are logits.
    """
    tensors = load_file(Path(folder) / "weights.safetensors")
    layers: list[nn.Module] = [nn.Flatten()]
    for number in range(len(tensors) // 2):
        outputs, inputs = tensors[f"{1 + 2 * number}.weight"].shape
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    net.load_state_dict(tensors)
    return net.eval()
