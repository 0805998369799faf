"""Kernels that update weights in one pass over memory: optimizer, norm bound and bf16 copy, compiled by numba.

A step of a small network on a processor with bf16 units spends more time on its weights than on their products: the
gradient is cast to fp32, the optimizer reads and writes every weight and its state, the norms of section 3 read and
scale the weights again, and the next step casts them to bf16. Here each weight is read and written once.

The updates are those of PyTorch's fused optimizers, up to rounding. Sums are over the same rows in the same order
whatever the number of threads and of models, so that a model's weights do not depend on either.
"""

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange

CHUNKS = 8  # parts of a model's rows, each updated by one thread
# All but the assumptions that no number is NaN or infinite, by which training is seen to diverge.
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}

# Kernels use PyTorch's threads: those of a pool of their own would wait for PyTorch's on the same cores.
for library in Path(torch.__file__).parent.glob("lib/libgomp*"):
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


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


@njit(inline="always")
def widened(bits):
    """Return a bf16 number, given as its 16 bits, in fp32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(inline="always")
def rounded(value):
    """Return the 16 bits of the nearest bf16 number; of two, the even one. NaN stays NaN."""
    bits = np.float32(value).view(np.uint32)
    nearest = np.uint32(bits + np.uint32(0x7FFF) + np.uint32((bits >> np.uint32(16)) & np.uint32(1)))
    is_nan = np.uint32(bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    return np.uint16(0x7FC0) if is_nan else np.uint16(nearest >> np.uint32(16))


@compiled
def dropout(values, drawn, threshold, scale, relu, result):
    """Drop units and scale the others, after a ReLU if asked for.

    Args:
        values: bits of bf16 values, (model, batch, unit).
        drawn: random bytes, same shape; a unit whose byte is below ``threshold`` is dropped.
        threshold: a byte.
        scale: factor of the units that stay, in fp32.
        relu: whether negative values are set to zero.
        result: memory for the bits of the result, same shape; may be ``values``.
    """
    models, batch, units = values.shape
    for row in prange(models * batch):
        model, case = row // batch, row % batch
        for unit in range(units):
            bits = values[model, case, unit]
            # A sign bit, and not NaN, by which training is seen to diverge.
            negative = (bits >= np.uint16(0x8000)) & (bits <= np.uint16(0xFF80))
            stays = (drawn[model, case, unit] >= threshold) & ~(relu & negative)
            result[model, case, unit] = rounded(scale * widened(bits)) if stays else np.uint16(0)


@compiled
def relu_backward(gradient, output, scale, result, sums):
    """Take a gradient back through ReLU and dropout, and add it up over the batch for the biases.

    Args:
        gradient: bits of the bf16 gradient of the layer's output, (model, batch, out).
        output: bits of the bf16 output, same shape; the gradient passes where it is above zero.
        scale: factor of the units that dropout left, in fp32.
        result: memory for the bits of the gradient before ReLU and dropout, same shape.
        sums: memory for its sums over parts of the batch, (model, CHUNKS, out), in fp32.
    """
    models, batch, units = gradient.shape
    for part in prange(models * CHUNKS):
        model, chunk = part // CHUNKS, part % CHUNKS
        total = sums[model, chunk]
        total[:] = 0
        for row in range(batch * chunk // CHUNKS, batch * (chunk + 1) // CHUNKS):
            for unit in range(units):
                bits = output[model, row, unit]
                # Above zero: no sign bit, and not zero.
                passes = (bits < np.uint16(0x8000)) & (bits > np.uint16(0))
                g = scale * widened(gradient[model, row, unit]) if passes else np.float32(0)
                result[model, row, unit] = rounded(g)
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
                    copy[model, row, unit] = rounded(w)


@compiled
def adamw(weight, copy, gradient, mean, square, sums, constants, max_norm):
    """Update weights by AdamW, bound the norms of their columns and copy them to bf16, in place.

    Args:
        weight: fp32 weights, (model, in, out).
        copy: bits of the bf16 copy, same shape.
        gradient: bits of the bf16 gradient, same shape.
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
                copy[model, row, unit] = rounded(w)
                total[unit] += w * w
    if max_norm > 0:
        _bound(weight, copy, sums, max_norm)


@compiled
def sgd(weight, copy, gradient, velocity, sums, constants, max_norm):
    """Update weights by SGD with Nesterov momentum, bound the norms of their columns and copy them to bf16, in place.

    Args:
        weight: fp32 weights, (model, in, out).
        copy: bits of the bf16 copy, same shape.
        gradient: bits of the bf16 gradient, same shape.
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
                copy[model, row, unit] = rounded(w)
                total[unit] += w * w
    if max_norm > 0:
        _bound(weight, copy, sums, max_norm)
