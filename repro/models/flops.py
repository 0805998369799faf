"""Counts of parameters, MACs at test time, and floating-point operations of a training step."""

from collections.abc import Sequence


def count_parameters(sizes: Sequence[int]) -> int:
    """Return the number of weights and biases of one MLP with layers of ``sizes`` units."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True))


def count_multiply_adds(sizes: Sequence[int]) -> int:
    """Return the MACs of one MLP for one example at test time."""
    return sum(fan_in * fan_out for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True))


def step_flops(sizes: Sequence[int], batch: int) -> int:
    """Return the floating-point operations of one training step of one MLP on ``batch`` examples.

    A multiply-add is two operations. Every layer multiplies in the forward pass and for its weights' gradient, and
    every layer but the first for its inputs' gradient.
    """
    layers = zip(sizes[:-1], sizes[1:], strict=True)
    return sum(2 * batch * a * b * (3 if number else 2) for number, (a, b) in enumerate(layers))


def _convolutions(channels: int, width: int) -> list[tuple[int, int, int]]:
    """Return input channels, output channels and halvings of the image for every convolution."""
    sizes = [4 * channels, width, 2 * width, 4 * width]
    stages = enumerate(zip(sizes[:-1], sizes[1:], strict=True), 1)
    return [layer for stage, (a, b) in stages for layer in ((a, b, stage), (b, b, stage))]


def count_conv_parameters(channels: int, width: int, classes: int) -> int:
    """Return the number of parameters of a ``ConvNet``, those of batch normalization included."""
    return sum(9 * a * b + 2 * b for a, b, _ in _convolutions(channels, width)) + (4 * width + 1) * classes


def count_conv_multiply_adds(channels: int, width: int, classes: int, side: int, least_inputs: int = 1) -> int:
    """Return the MACs of a ``ConvNet`` for one image of ``side`` x ``side`` pixels, a multiple of 8.

    Convolutions with fewer than ``least_inputs`` input channels count as if they had as many.
    """
    layers = [(max(a, least_inputs), b, halvings) for a, b, halvings in _convolutions(channels, width)]
    return sum(9 * a * b * (side >> halvings) ** 2 for a, b, halvings in layers) + 4 * width * classes
