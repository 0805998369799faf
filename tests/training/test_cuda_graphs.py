"""Inputs that are drawn for many steps at once, on the CPU; ``test_cuda`` tests the graphs."""

import pytest
import torch
from samples import NOISY

from repro.training.cuda_graphs import BLOCK, StepBuffers
from repro.training.random_streams import BatchSampler


@pytest.fixture
def samplers() -> list[BatchSampler]:
    """Two samplers, of 1200 examples each."""
    return [BatchSampler(seed, torch.arange(1200), NOISY.batch_size) for seed in (0, 1)]


def test_buffered_steps_have_the_same_examples_and_rates(samplers):
    steps = 2 * BLOCK + 5
    buffers = StepBuffers(samplers, [0, 1], NOISY, steps, torch.device("cpu"))
    for step in range(steps):
        buffers.seek(step)
        indices, (rows, columns) = buffers.batch()
        assert torch.equal(indices, torch.stack([sampler.indices(step) for sampler in samplers]))
        assert int(rows.min()) >= 0 and int(columns.max()) <= 2 * NOISY.max_translation
        buffers.set_rate()
        assert float(buffers.rate) == pytest.approx(NOISY.rate(step, steps))
        buffers.advance()


def test_buffered_dropout_is_a_function_of_seed_and_step(samplers):
    def masks(step: int) -> torch.Tensor:
        buffers = StepBuffers(samplers, [0, 1, 1], NOISY, 2 * BLOCK, torch.device("cpu"))
        buffers.seek(step)
        return buffers.dropout.hidden_mask(0, 50, 400).factors(torch.float32)

    mask = masks(BLOCK + 3)
    assert mask.unique().tolist() == [0.0, 2.0] and float(mask.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(mask[1], mask[2]) and not torch.equal(mask[0], mask[1])
    assert torch.equal(mask, masks(BLOCK + 3))
    assert not torch.equal(mask, masks(BLOCK + 4)) and not torch.equal(mask, masks(3))
