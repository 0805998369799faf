"""Kernels that take one pass over memory: updates of weights, dropout, and gradients of ReLU, compiled by numba.

A step of a small network on a processor with bf16 units would spend more time on its weights than on their products:
the gradient is cast to fp32, the optimizer reads and writes every weight and its state, the norms of section 3 read and
scale the weights again, and the next step casts them to bf16. Here each weight is read and written once. In fp32,
separate operations would still take a fifth to a third of a step.

Arrays of activations and gradients are fp32, or bf16 given as its bits (uint16), which numba does not know as numbers.
A kernel is compiled for each of the two.

The updates are those of PyTorch's fused optimizers, up to rounding. Sums are over the same rows in the same order
whatever the number of threads and of models, so that a model's weights do not depend on either.
"""

import contextlib
import ctypes
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange, types
from numba.extending import overload
from torch import Tensor

CHUNKS = 8  # parts of a model's rows, each updated by one thread
# All but the assumptions that no number is NaN or infinite, by which training is seen to diverge.
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}

# Types that the kernels are compiled for.
DTYPES = (torch.bfloat16, torch.float32)
# Bits of an fp32 number.
MAGNITUDE = np.uint32(0x7FFFFFFF)  # all but the sign
INFINITY = np.uint32(0x7F800000)
SHIFT = np.uint32(16)  # from fp32 to bf16
HALF = np.uint32(0x7FFF)  # almost half of bf16's last place
UNIT = np.uint32(1)
QUIET = np.uint32(6)  # place in bf16 of the bit that tells NaN from infinity

# Kernels use PyTorch's threads: those of a pool of their own would wait for PyTorch's on the same cores.
for library in Path(torch.__file__).parent.glob("lib/libgomp*"):
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
if sys.platform == "darwin":  # where a second OpenMP beside PyTorch's would end the process
    numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]


def match_threads() -> None:
    """Make the kernels that this thread calls use as many threads as PyTorch does."""
    threads = torch.get_num_threads()
    ours = min(threads, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if numba.get_num_threads() != ours:
        numba.set_num_threads(ours)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)  # numba's first call set the number of the threads that it shares


def prepare(kernel: Callable[..., None], *arguments: Any) -> None:
    """Call a kernel on empty arrays. Where its cache cannot be written, this call fails and the next does not."""
    match_threads()
    with contextlib.suppress(OSError):
        kernel(*arguments)


def compiled(function: Callable, fastmath: set[str] | bool = FAST) -> Callable:
    """Compile a function for several threads; the machine code is cached where a folder for it can be written."""
    try:
        return njit(parallel=True, fastmath=fastmath, cache=True)(function)
    except RuntimeError:  # no such folder
        return njit(parallel=True, fastmath=fastmath)(function)


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor's numbers in the same memory, those in bf16 as the integers of their bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()


def widened(number):
    """Return a number of an array in fp32."""


def rounded(value, array):
    """Return a number in fp32 as ``array`` holds it: as it is, or rounded to bf16."""


@njit(inline="always")
def _widened_bits(bits):
    """Return a bf16 number, given as its 16 bits, in fp32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(inline="always")
def _rounded_bits(value):
    """Return the 16 bits of the nearest bf16 number; of two, the even one. NaN stays NaN."""
    bits = np.float32(value).view(np.uint32)
    # 1 or 0 instead of a branch, about which numba warns where it is inlined twice.
    is_nan = np.uint32(np.uint32(bits & MAGNITUDE) > INFINITY)
    half = HALF + np.uint32((bits >> SHIFT) & UNIT)
    return np.uint16((np.uint32(bits + (half & np.uint32(is_nan - UNIT))) >> SHIFT) | np.uint32(is_nan << QUIET))


# By the type of the array, numba compiles one expression or the other in place of the calls.
_overload = partial(overload, inline="always")
_widened = {types.float32: lambda number: number, types.uint16: lambda number: _widened_bits(number)}
_rounded = {types.float32: lambda value, array: value, types.uint16: lambda value, array: _rounded_bits(value)}
_overload(widened)(lambda number: _widened.get(number))
_overload(rounded)(lambda value, array: _rounded.get(array.dtype))


@compiled
def dropout(values, drawn, result, threshold, scale, relu):
    """Drop units and scale the others, after a ReLU if asked for.

    Args:
        values: (model, batch, unit).
        drawn: random bytes, same shape; a unit whose byte is below ``threshold`` is dropped.
        result: memory for the result, same shape and type; may be ``values``.
        threshold: a byte.
        scale: factor of the units that stay, in fp32.
        relu: whether negative values are set to zero.
    """
    models, batch, units = values.shape
    for row in prange(models * batch):
        model, case = row // batch, row % batch
        for unit in range(units):
            value = widened(values[model, case, unit])
            # NaN, by which training is seen to diverge, is not negative.
            stays = (drawn[model, case, unit] >= threshold) & ~(relu & (value < 0))
            result[model, case, unit] = rounded(scale * value if stays else np.float32(0), result)


@compiled
def relu_backward(gradient, output, scale, result, sums):
    """Take a gradient back through ReLU and dropout, and add it up over the batch for the biases.

    Args:
        gradient: gradient of the layer's output, (model, batch, out).
        output: the output, same shape; the gradient passes where it is above zero.
        scale: factor of the units that dropout left, in fp32.
        result: memory for the gradient before ReLU and dropout, same shape and type.
        sums: memory for its sums over parts of the batch, (model, CHUNKS, out), in fp32.
    """
    models, batch, units = gradient.shape
    for part in prange(models * CHUNKS):
        model, chunk = part // CHUNKS, part % CHUNKS
        total = sums[model, chunk]
        total[:] = 0
        for row in range(batch * chunk // CHUNKS, batch * (chunk + 1) // CHUNKS):
            for unit in range(units):
                g = scale * widened(gradient[model, row, unit])  # read in any case: a branch would not be vectorized
                g = g if widened(output[model, row, unit]) > 0 else np.float32(0)
                result[model, row, unit] = rounded(g, result)
                total[unit] += g


@compiled
def _bound(weight, copy, sums, max_norm):
    """Scale the columns whose norm exceeds ``max_norm``; where none does, no weight is touched."""
    models, rows, units = weight.shape
    for model in range(models):
        exceeds = False
        scale = sums[model, 0]
        for unit in range(units):
            norm = np.float32(0)
            for chunk in range(CHUNKS):
                norm += sums[model, chunk, unit]
            norm = np.sqrt(norm)
            exceeds |= norm > max_norm
            scale[unit] = max_norm / max(norm, max_norm)
        if exceeds:
            for row in prange(rows):
                for unit in range(units):
                    w = weight[model, row, unit] * scale[unit]
                    weight[model, row, unit] = w
                    if copy is not None:
                        copy[model, row, unit] = rounded(w, copy)


@compiled
def adamw(weight, copy, gradient, mean, square, sums, constants, max_norm):
    """Update weights by AdamW, bound the norms of their columns and copy them, in place.

    Args:
        weight: fp32 weights, (model, in, out).
        copy: the copy, same shape or with longer rows; None where there is none.
        gradient: same shape and type as the copy.
        mean: running mean of the gradient, same shape.
        square: running mean of its square, same shape.
        sums: memory for the squared norms, (model, CHUNKS, out).
        constants: step size, 1 - beta 1, beta 2, 1 - beta 2, root of the correction of ``square``, epsilon and
            1 - rate x decay, in fp32.
        max_norm: largest L2 norm of a unit's incoming weights; 0 for no bound.
    """
    step_size, beta1_rest, beta2, beta2_rest, correction, epsilon, retained = constants
    models, rows, units = weight.shape
    for part in prange(models * CHUNKS):
        model, chunk = part // CHUNKS, part % CHUNKS
        total = sums[model, chunk]
        total[:] = 0
        for row in range(rows * chunk // CHUNKS, rows * (chunk + 1) // CHUNKS):
            for unit in range(units):
                g = widened(gradient[model, row, unit])
                m = mean[model, row, unit]
                m += (g - m) * beta1_rest
                v = square[model, row, unit] * beta2 + g * g * beta2_rest
                w = weight[model, row, unit] * retained - step_size * m / (np.sqrt(v) / correction + epsilon)
                mean[model, row, unit] = m
                square[model, row, unit] = v
                weight[model, row, unit] = w
                if copy is not None:
                    copy[model, row, unit] = rounded(w, copy)
                total[unit] += w * w
    if max_norm > 0:
        _bound(weight, copy, sums, max_norm)


@compiled
def sgd(weight, copy, gradient, velocity, sums, constants, max_norm):
    """Update weights by SGD with Nesterov momentum, bound the norms of their columns and copy them, in place.

    Args:
        weight: fp32 weights, (model, in, out).
        copy: the copy, same shape or with longer rows; None where there is none.
        gradient: same shape and type as the copy.
        velocity: momentum buffer, same shape.
        sums: memory for the squared norms, (model, CHUNKS, out).
        constants: rate, momentum and decay, in fp32.
        max_norm: largest L2 norm of a unit's incoming weights; 0 for no bound.
    """
    rate, momentum, decay = constants
    models, rows, units = weight.shape
    for part in prange(models * CHUNKS):
        model, chunk = part // CHUNKS, part % CHUNKS
        total = sums[model, chunk]
        total[:] = 0
        for row in range(rows * chunk // CHUNKS, rows * (chunk + 1) // CHUNKS):
            for unit in range(units):
                w = weight[model, row, unit]
                g = widened(gradient[model, row, unit]) + decay * w
                v = velocity[model, row, unit] * momentum + g
                w -= rate * (g + momentum * v)
                velocity[model, row, unit] = v
                weight[model, row, unit] = w
                if copy is not None:
                    copy[model, row, unit] = rounded(w, copy)
                total[unit] += w * w
    if max_norm > 0:
        _bound(weight, copy, sums, max_norm)
