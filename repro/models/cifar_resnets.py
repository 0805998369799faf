"""The residual networks on which the literature compares distillation methods on CIFAR-100.

ResNets of He et al. 2016 (arXiv:1512.03385), section 4.2, and wide ResNets of Zagoruyko & Komodakis 2016
(arXiv:1605.07146), in the sizes of Tian, Krishnan & Isola 2020, "Contrastive Representation Distillation"
(arXiv:1910.10699), with whose numbers of parameters a test compares them. Three stages, ``layer1`` to ``layer3`` or
``block1`` to ``block3``, work at the full, half and quarter resolution of the image.

This file is exported with networks, so it needs torch alone.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution without biases, which keeps the resolution at stride one."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions, each followed by batch normalization; ReLU comes after the addition of the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the activations."""
        shortcut = inputs if self.downsample is None else self.downsample(inputs)
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        return F.relu(self.bn2(self.conv2(hidden)) + shortcut)


class ResNet(nn.Module):
    """A ResNet of 6n + 2 layers for small images; ``widths`` are the channels of the first layer and the stages."""

    def __init__(self, depth: int, widths: tuple[int, int, int, int], channels: int, classes: int):
        super().__init__()
        first, *stages = widths
        self.conv1, self.bn1 = conv3x3(channels, first), nn.BatchNorm2d(first)
        blocks = (depth - 2) // 6
        self.layer1 = _stage(BasicBlock, blocks, first, stages[0], 1)
        self.layer2 = _stage(BasicBlock, blocks, stages[0], stages[1], 2)
        self.layer3 = _stage(BasicBlock, blocks, stages[1], stages[2], 2)
        self.fc = nn.Linear(stages[2], classes)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (batch, class), of normalized images, (batch, channel, row, column)."""
        hidden = F.relu(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        return self.fc(hidden.mean((2, 3)))


class PreActivationBlock(nn.Module):
    """Two convolutions, each preceded by batch normalization and ReLU.

    The shortcut is the input itself, or a convolution of the normalized input where the number of channels changes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv3x3(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv3x3(outputs, outputs)
        self.shortcut: nn.Module | None = None
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum of shortcut and residual, to which no ReLU has been applied."""
        normalized = F.relu(self.bn1(inputs))
        hidden = self.conv2(F.relu(self.bn2(self.conv1(normalized))))
        return hidden + (inputs if self.shortcut is None else self.shortcut(normalized))


class WideResNet(nn.Module):
    """A wide ResNet of 6n + 4 layers, whose stages have ``widen_factor`` times 16, 32 and 64 channels."""

    def __init__(self, depth: int, widen_factor: int, channels: int, classes: int):
        super().__init__()
        widths, blocks = [widen_factor * width for width in (16, 32, 64)], (depth - 4) // 6
        self.conv1 = conv3x3(channels, 16)
        self.block1 = _stage(PreActivationBlock, blocks, 16, widths[0], 1)
        self.block2 = _stage(PreActivationBlock, blocks, widths[0], widths[1], 2)
        self.block3 = _stage(PreActivationBlock, blocks, widths[1], widths[2], 2)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], classes)
        _initialize(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (batch, class), of normalized images, (batch, channel, row, column)."""
        hidden = self.block3(self.block2(self.block1(self.conv1(images))))
        return self.fc(F.relu(self.bn1(hidden)).mean((2, 3)))


def _stage(
    block: Callable[[int, int, int], nn.Module], count: int, inputs: int, outputs: int, stride: int
) -> nn.Sequential:
    """Return blocks, the first of which changes the resolution and the number of channels."""
    return nn.Sequential(block(inputs, outputs, stride), *(block(outputs, outputs, 1) for _ in range(count - 1)))


def _initialize(net: nn.Module) -> None:
    """Draw the weights of convolutions as He et al. 2015 do; the other layers keep PyTorch's initial weights."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


NARROW, WIDE = (16, 16, 32, 64), (32, 64, 128, 256)
RESNETS = {
    "resnet20": (20, NARROW), "resnet56": (56, NARROW), "resnet110": (110, NARROW), "resnet8x4": (8, WIDE),
    "resnet32x4": (32, WIDE),
}  # fmt: skip
WIDE_RESNETS = {"wrn_16_2": (16, 2), "wrn_40_1": (40, 1), "wrn_40_2": (40, 2)}
NAMES = (*RESNETS, *WIDE_RESNETS)


def build(name: str, channels: int, classes: int) -> nn.Module:
    """Return a network of ``NAMES``, its weights drawn by PyTorch's global generator."""
    if name in RESNETS:
        return ResNet(*RESNETS[name], channels, classes)
    return WideResNet(*WIDE_RESNETS[name], channels, classes)
