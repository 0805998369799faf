"""Convolutional network as plain PyTorch with exported weights: ``load(folder)``. Needs torch and safetensors alone."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F


class Convolution(nn.Module):
    """A 3x3 convolution, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the activations."""
        return F.relu(self.norm(self.conv(inputs)))


class ConvNet(nn.Module):
    """Blocks of 2x2 pixels as channels, three stages of two convolutions, global average pooling, a linear layer."""

    def __init__(self, channels: int, width: int, classes: int):
        super().__init__()
        sizes = [4 * channels, width, 2 * width, 4 * width]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.down = nn.ModuleList(Convolution(a, b, 1 if stage == 0 else 2) for stage, (a, b) in enumerate(pairs))
        self.keep = nn.ModuleList(Convolution(size, size, 1) for size in sizes[1:])
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of images (batch, channel, row, column) with values 0 to 255."""
        rows, columns = images.shape[-2:]
        hidden = F.pixel_unshuffle(F.pad((images.float() - 128) / 64, (0, columns % 2, 0, rows % 2)), 2)
        for down, keep in zip(self.down, self.keep, strict=True):
            hidden = down(hidden)
            hidden = hidden + keep(hidden)
        return self.head(hidden.mean((2, 3)))


def load(folder: str | Path = Path(__file__).parent) -> ConvNet:
    """Return the network with the weights of ``folder``."""
    tensors = load_file(Path(folder) / "weights.safetensors")
    width, channels = tensors["down.0.conv.weight"].shape[:2]
    net = ConvNet(channels // 4, width, len(tensors["head.bias"]))
    net.load_state_dict(tensors)
    return net.eval()
