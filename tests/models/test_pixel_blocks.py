"""Blocks of pixels as channels: the kernel equals PyTorch's operations."""

import pytest
import torch
from torch.nn import functional as F

from repro.models import pixel_blocks as pixel_blocks_module
from repro.models.pixel_blocks import pixel_blocks


@pytest.mark.parametrize("shape", [(3, 1, 4, 6), (2, 3, 32, 32), (2, 3, 5, 7), (1, 2, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_equals_unshuffling_and_arithmetic(shape, dtype):
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    padded = F.pad(images, (0, shape[3] % 2, 0, shape[2] % 2), value=128)
    blocks = pixel_blocks(images, dtype)
    assert blocks.dtype == dtype and blocks.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(blocks.double(), (F.pixel_unshuffle(padded, 2).double() - 128) / 64)


def test_every_byte_and_views_of_larger_images():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for view in (images, images.transpose(2, 3), images[..., 2:10, 4:12]):
        for dtype in (torch.bfloat16, torch.float32):
            assert torch.equal(pixel_blocks(view, dtype).double(), pixel_blocks(view, torch.float64))


def test_the_gradient_by_float_images_is_that_of_pytorch():
    images = torch.zeros(2, 1, 4, 4, requires_grad=True)
    pixel_blocks(images, torch.float32).sum().backward()
    assert images.grad is not None and torch.equal(images.grad, torch.full_like(images, 1 / 64))


@pytest.mark.parametrize(("dtype", "calls"), [(torch.bfloat16, 1), (torch.float32, 1), (torch.float64, 0)])
def test_the_kernel_is_used_in_bf16_and_fp32(monkeypatch, dtype, calls):
    shapes = []
    gather = pixel_blocks_module.gather
    images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    pixel_blocks(images, dtype)  # the first call of a process compiles the kernel
    monkeypatch.setattr(pixel_blocks_module, "gather", lambda *arguments: shapes.append(gather(*arguments)))
    assert pixel_blocks(images, dtype).shape == (3, 4, 2, 2)
    assert len(shapes) == calls
