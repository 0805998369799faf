"""Batch normalization and ReLU in one operation, by kernels that numba compiles.

A small convolutional network spends as long on PyTorch's batch normalization (Ioffe & Szegedy 2015, arXiv 1502.03167)
and ReLU, forward and backward, as on its convolutions. Here each direction reads the activations twice and writes once.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from numba import njit, prange
from torch import Tensor, nn
from torch.nn import functional as F

from repro.training.kernels import CHUNKS, DTYPES, array, compiled, match_threads, prepare, rounded, widened

# Numbers that the inner loops go over at least: several registers of the processor.
VECTOR = 64
# Rows whose mean is subtracted before summing: enough that one outlier does not matter.
SAMPLED = 64


def norm_relu(
    hidden: Float[Tensor, "batch channel row column"], norm: nn.BatchNorm2d
) -> Float[Tensor, "batch channel row column"]:
    """Return ``relu(norm(hidden))``, fused in training on the CPU, unless a hook is to see ``norm``'s output."""
    several = hidden.numel() > hidden.shape[1]  # PyTorch raises where a channel has a single value
    compilable = hidden.dtype in DTYPES and hidden.device.type == "cpu"
    if norm.training and several and compilable and not norm._forward_hooks:
        return _NormReLU.apply(hidden.contiguous(memory_format=torch.channels_last), norm.weight, norm.bias, norm)
    return F.relu(norm(hidden))


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, hidden: Float[Tensor, "batch channel row column"], weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d
    ):
        match_threads()
        _prepare(hidden.dtype)
        result = torch.empty_like(hidden)
        statistics = torch.empty(4, len(weight))
        arrays = (tensor.detach().numpy() for tensor in (weight, bias, statistics))
        ctx.epsilon = np.float32(norm.eps)
        normalize(_rows(hidden), *arrays, ctx.epsilon, _rows(result))
        count = hidden.numel() // len(weight)
        running_mean, running_var, batches, momentum = (
            norm.running_mean, norm.running_var, norm.num_batches_tracked, norm.momentum
        )  # fmt: skip
        assert running_mean is not None and running_var is not None and batches is not None and momentum is not None
        running_mean.lerp_(statistics[0], momentum)
        running_var.lerp_(statistics[1] * (count / (count - 1)), momentum)
        batches.add_(1)
        ctx.save_for_backward(hidden, weight, bias, statistics)
        return result

    @staticmethod
    def backward(ctx, upstream: Float[Tensor, "batch channel row column"]):
        hidden, weight, bias, statistics = ctx.saved_tensors
        if torch.is_grad_enabled():  # with create_graph: the kernel's gradient cannot be differentiated again
            output = F.relu(F.batch_norm(hidden, None, None, weight, bias, True, 0.0, float(ctx.epsilon)))
            return *torch.autograd.grad(output, (hidden, weight, bias), upstream, create_graph=True), None
        match_threads()
        result, sums = torch.empty_like(hidden), torch.empty(2, statistics.shape[1])
        gradient = _rows(upstream.contiguous(memory_format=torch.channels_last))
        backward(gradient, _rows(hidden), statistics.numpy(), ctx.epsilon, sums.numpy(), _rows(result))
        return result, sums[1], sums[0], None


def _rows(tensor: Float[Tensor, "batch channel row column"]) -> np.ndarray:
    """Return a channels-last tensor as rows of whole pixels, of ``VECTOR`` numbers or more where it can."""
    channels, pixels = tensor.shape[1], tensor.numel() // tensor.shape[1]
    together = -(-VECTOR // channels)
    shape = (-1, together * channels) if pixels % together == 0 else (-1, channels)
    return array(tensor.permute(0, 2, 3, 1).view(shape))


@compiled
def normalize(values, weight, bias, statistics, epsilon, result):
    """Write ``relu(weight * (value - mean) / sqrt(variance + epsilon) + bias)`` by the statistics of each channel.

    NaN, by which training is seen to diverge, stays NaN.

    Args:
        values: (row, unit); a row holds one or more pixels of all channels.
        weight: factor of each channel, in fp32.
        bias: summand of each channel, in fp32.
        statistics: memory for mean, variance, and factor and summand of the values, (4, channel), in fp32.
        epsilon: summand of the variance, in fp32.
        result: memory for the result, same shape and type as ``values``.
    """
    rows, units = values.shape
    channels = len(weight)
    sums = np.zeros((CHUNKS, 2, units), np.float32)
    # Sums are those of differences from the mean of a few rows: a large mean, squared, would cancel the variance.
    near, some = np.zeros(channels, np.float32), min(rows, SAMPLED)
    for number in range(some):
        for channel in range(channels):
            near[channel] += widened(values[rows * number // some, channel]) / np.float32(some)
    nears = repeated(near, units)
    for chunk in prange(CHUNKS):
        total, squares = sums[chunk, 0], sums[chunk, 1]
        for row in range(rows * chunk // CHUNKS, rows * (chunk + 1) // CHUNKS):
            for unit in range(units):
                value = widened(values[row, unit]) - nears[unit]
                total[unit] += value
                squares[unit] += value * value
    added = add_up(sums, channels)
    count = max(rows * units // channels, 1)
    for channel in range(channels):
        difference = added[0, channel] / count
        mean, variance = near[channel] + difference, max(added[1, channel] / count - difference * difference, 0.0)
        factor = weight[channel] / np.sqrt(variance + epsilon)
        statistics[0, channel], statistics[1, channel] = mean, variance
        statistics[2, channel], statistics[3, channel] = factor, bias[channel] - mean * factor
    scale, shift = repeated(statistics[2], units), repeated(statistics[3], units)
    for chunk in prange(CHUNKS):
        for row in range(rows * chunk // CHUNKS, rows * (chunk + 1) // CHUNKS):
            for unit in range(units):
                value = scale[unit] * widened(values[row, unit]) + shift[unit]
                result[row, unit] = rounded(np.float32(0) if value < 0 else value, result)


@compiled
def backward(gradient, values, statistics, epsilon, to_parameters, result):
    """Write the gradients of ``normalize``.

    Args:
        gradient: gradient of the output, (row, unit).
        values: the input, same shape and type.
        statistics: as ``normalize`` wrote them.
        epsilon: summand of the variance, in fp32.
        to_parameters: memory for the gradients of bias and weight, (2, channel), in fp32.
        result: memory for the gradient of the input, same shape and type as ``values``.
    """
    rows, units = values.shape
    channels = statistics.shape[1]
    scale, shift = repeated(statistics[2], units), repeated(statistics[3], units)
    sums = np.zeros((CHUNKS, 2, units), np.float32)
    for chunk in prange(CHUNKS):
        total, products = sums[chunk, 0], sums[chunk, 1]
        for row in range(rows * chunk // CHUNKS, rows * (chunk + 1) // CHUNKS):
            for unit in range(units):
                value = widened(values[row, unit])
                g = widened(gradient[row, unit])  # read in any case: a branch would not be vectorized
                g = g if scale[unit] * value + shift[unit] > 0 else np.float32(0)
                total[unit] += g
                products[unit] += g * value
    added = add_up(sums, channels)
    count = max(rows * units // channels, 1)
    # scale * (g - mean of g - normalized value * mean of g * normalized value), as a linear function of g and value
    linear = np.empty((2, channels), np.float32)
    for channel in range(channels):
        mean, inverse = statistics[0, channel], 1 / np.sqrt(statistics[1, channel] + epsilon)
        to_weight = (added[1, channel] - mean * added[0, channel]) * inverse
        slope = -statistics[2, channel] * inverse * to_weight / count
        linear[0, channel] = slope
        linear[1, channel] = -statistics[2, channel] * added[0, channel] / count - slope * mean
        to_parameters[0, channel], to_parameters[1, channel] = added[0, channel], to_weight
    slope, offset = repeated(linear[0], units), repeated(linear[1], units)
    for chunk in prange(CHUNKS):
        for row in range(rows * chunk // CHUNKS, rows * (chunk + 1) // CHUNKS):
            for unit in range(units):
                value = widened(values[row, unit])
                g = widened(gradient[row, unit])  # read in any case: a branch would not be vectorized
                g = g if scale[unit] * value + shift[unit] > 0 else np.float32(0)
                result[row, unit] = rounded(scale[unit] * g + slope[unit] * value + offset[unit], result)


@njit(inline="always")
def add_up(sums, channels):
    """Add up sums over parts of the rows, (part, 2, unit), in double precision; return (2, channel)."""
    result = np.zeros((2, channels))
    for part in range(sums.shape[0]):
        for kind in range(2):
            for unit in range(sums.shape[2]):
                result[kind, unit % channels] += sums[part, kind, unit]
    return result


@njit(inline="always")
def repeated(vector, units):
    """Return a vector over the channels, repeated for each pixel of a row."""
    result = np.empty(units, np.float32)
    for unit in range(units):
        result[unit] = vector[unit % len(vector)]
    return result


@cache
def _prepare(dtype: torch.dtype) -> None:
    values, units = array(torch.empty(0, 1, dtype=dtype)), np.ones(1, np.float32)
    statistics = np.ones((4, 1), np.float32)
    prepare(normalize, values, units, units, statistics, np.float32(1), values)
    prepare(backward, values, values, statistics, np.float32(1), np.ones((2, 1), np.float32), values)
