"""Blocks of two by two pixels as the channels of one pixel, in one pass over the bytes where numba can.

PyTorch's way is to pad, unshuffle, reorder, convert, subtract and divide, each in a loop of its own.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numba import prange
from torch import Tensor
from torch.nn import functional as F

from repro.training.kernels import DTYPES, array, compiled, match_threads, prepare

GRAY = 128  # becomes zero; images of odd size end in it


def pixel_blocks(
    images: UInt8[Tensor, "batch channel row column"], dtype: torch.dtype
) -> Float[Tensor, "batch 4*channel row/2 column/2"]:
    """Return ``(pixel - 128) / 64`` with four channels for each channel, channels last, in ``dtype``.

    Bytes are exact in bf16, and so are these differences and quotients.
    """
    rows, columns = images.shape[-2:]
    if rows % 2 or columns % 2:
        images = F.pad(images, (0, columns % 2, 0, rows % 2), value=GRAY)
    if images.dtype == torch.uint8 and dtype in DTYPES and images.device.type == "cpu":
        return _by_kernel(images.contiguous(), dtype)
    blocks = F.pixel_unshuffle(images, 2)
    return _normalized(blocks.contiguous(memory_format=torch.channels_last).to(dtype))


def _normalized(pixels: Tensor) -> Tensor:
    return (pixels - GRAY) / 64


def _by_kernel(
    images: UInt8[Tensor, "batch channel row column"], dtype: torch.dtype
) -> Float[Tensor, "batch blocks row2 column2"]:
    match_threads()
    batch, channels, rows, columns = images.shape
    result = torch.empty(batch, rows // 2, columns // 2, 4 * channels, dtype=dtype)
    gather(images.numpy(), _table(dtype), array(result))
    return result.permute(0, 3, 1, 2)


@compiled
def gather(images, table, result):
    """Write the normalized pixels of all blocks.

    Args:
        images: bytes, (batch, channel, row, column), of even size.
        table: the normalized pixel for each byte; bf16 as bits.
        result: memory, (batch, row / 2, column / 2, 4 * channel), of the same type.
    """
    batch, channels, rows, columns = images.shape
    for case in prange(batch):
        for row in range(rows):
            for channel in range(channels):
                first = 4 * channel + 2 * (row % 2)
                for column in range(columns):
                    pixel = table[images[case, channel, row, column]]
                    result[case, row // 2, column // 2, first + column % 2] = pixel


@cache
def _table(dtype: torch.dtype) -> np.ndarray:
    table = array(_normalized(torch.arange(256).to(dtype)))
    prepare(gather, np.empty((0, 1, 0, 0), np.uint8), table, np.empty((0, 0, 0, 4), table.dtype))
    return table
