"""Training steps on a GPU: inputs drawn for many steps at once, kernels replayed as a CUDA graph.

A step of a small network is tens of small kernels, and launching them takes longer than running them. A captured graph
is launched as a whole, but its kernels can read only tensors that stay in place and cannot wait for the CPU. Batch
indices, translations, dropout and learning rates are therefore drawn in blocks of ``BLOCK`` steps into tensors on the
GPU, where a step counter selects those of the current step. The order of the examples is the same as on the CPU;
translations and dropout are drawn by the GPU's generator, as a function of seed and block.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from repro.training.optimizers import Optimizer
from repro.training.random_streams import BatchSampler, Dropout, Stream, generator
from repro.training.recipe import Recipe

BLOCK = 64  # steps drawn at once
WARMUP_STEPS = 3  # steps run before the graph is captured


class StepBuffers:
    """Batches, dropout and learning rates of the current block of training steps."""

    def __init__(
        self,
        samplers: Sequence[BatchSampler],
        seeds: Sequence[int],
        recipe: Recipe,
        steps: int,
        device: torch.device,
    ):
        """Allocate the buffers.

        Args:
            samplers: one for each batch of a step.
            seeds: one seed of dropout for each member.
            recipe: the members' recipe.
            steps: steps of the whole training run.
            device: device of the buffers.
        """
        self.samplers, self.max_translation = samplers, recipe.max_translation
        self._step = torch.zeros(1, dtype=torch.long, device=device)  # incremented by every step itself
        self._indices = torch.zeros(len(samplers), BLOCK, recipe.batch_size, dtype=torch.long, device=device)
        self._offsets = torch.zeros(len(samplers), BLOCK, 2, recipe.batch_size, dtype=torch.long, device=device)
        self._rates = torch.tensor([recipe.rate(step, steps) for step in range(steps)], device=device)
        self.rate = self._rates[0].clone()
        self._next_step, self._block = -1, -1
        self.dropout: BufferedDropout | None = None
        if recipe.input_dropout or recipe.hidden_dropout:
            self.dropout = BufferedDropout(seeds, self._step, recipe.input_dropout, recipe.hidden_dropout)

    def seek(self, step: int) -> None:
        """Prepare for a step; must be called before each."""
        if step != self._next_step:
            self._step.fill_(step)
        self._next_step = step + 1
        if step // BLOCK != self._block:
            self._block = step // BLOCK
            self._draw()

    def _draw(self) -> None:
        indices = torch.stack([sampler.indices(self._block * BLOCK, BLOCK) for sampler in self.samplers])
        indices = indices.view_as(self._indices)
        self._indices.copy_(indices.pin_memory() if self._indices.is_cuda else indices, non_blocking=True)
        if self.max_translation:
            for sampler, offsets in zip(self.samplers, self._offsets, strict=True):
                draw = generator(Stream.TRANSLATION, sampler.seed, self._block, device=offsets.device)
                offsets.random_(0, 2 * self.max_translation + 1, generator=draw)
        if self.dropout is not None:
            self.dropout.draw(self._block)

    def batch(self) -> tuple[Int[Tensor, "sampler batch"], Sequence[Int[Tensor, "sampler batch"]]]:
        """Return the example indices of each sampler, and row and column offsets if images are translated."""
        indices, offsets = (_of_step(buffer, self._step) for buffer in (self._indices, self._offsets))
        return indices, offsets.unbind(1) if self.max_translation else ()

    def set_rate(self) -> None:
        """Copy the learning rate of the current step to ``rate``, the tensor that the optimizer reads."""
        self.rate.copy_(self._rates.index_select(0, self._step).squeeze())

    def advance(self) -> None:
        """Increment the step counter at the end of a step."""
        self._step += 1


class BufferedDropout(Dropout):
    """Dropout of a block of training steps."""

    def __init__(self, seeds: Sequence[int], step: Int[Tensor, "1"], input_dropout: float, hidden_dropout: float):
        """Store the members' seeds, the tensor that holds the current step, and the probabilities of dropping."""
        super().__init__(seeds, 0, input_dropout, hidden_dropout, step.device)
        self._step, self._block = step, 0
        self._buffers: dict[tuple[Stream, int], Tensor] = {}

    def draw(self, block: int) -> None:
        """Draw the bytes of a block of steps."""
        self._block = block
        for (purpose, layer), words in self._buffers.items():
            self._fill(purpose, layer, words)

    def _fill(self, purpose: Stream, layer: int, words: Int[Tensor, "model word"]) -> None:
        for row, seed in zip(words, self.seeds, strict=True):
            row.random_(-(2**63), None, generator=generator(purpose, seed, self._block, layer, device=self.device))

    def _bytes(self, purpose: Stream, layer: int, batch: int, units: int) -> UInt8[Tensor, "model batch unit"]:
        if (purpose, layer) not in self._buffers:  # the first step
            words = torch.empty(len(self.seeds), BLOCK * batch * units // 8, dtype=torch.int64, device=self.device)
            self._fill(purpose, layer, words)
            self._buffers[purpose, layer] = words
        buffer = self._buffers[purpose, layer].view(torch.uint8).view(len(self.seeds), BLOCK, batch * units)
        return _of_step(buffer, self._step).view(len(self.seeds), batch, units)


class GraphedStep:
    """A training step that is captured as a CUDA graph after a few steps, then replayed."""

    def __init__(self, step: Callable[[], None], optimizer: Optimizer, device: torch.device):
        """``step`` runs forward, backward and update, reading nothing from the CPU."""
        self._run, self._optimizer, self._device = step, optimizer, device
        self._warmup_steps, self._momentum = 0, math.nan
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, momentum: float) -> None:
        """Take a step. The graph holds the momentum as a constant, so another ``momentum`` is captured again."""
        if self._warmup_steps < WARMUP_STEPS:
            self._warmup_steps += 1
            self._run_in_side_stream()
            return
        if self._graph is None or momentum != self._momentum:
            self._momentum, self._graph = momentum, torch.cuda.CUDAGraph()
            self._optimizer.zero_grad()
            with torch.cuda.graph(self._graph):
                self._run()
        self._graph.replay()

    def _run_in_side_stream(self) -> None:
        """Take a step in a stream of its own, which PyTorch requires before the capture."""
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._run()
        torch.cuda.current_stream(self._device).wait_stream(stream)


def _of_step(buffer: Tensor, step: Int[Tensor, "1"]) -> Tensor:
    """Return the values of the current step from a buffer whose second axis is the step in the block."""
    return buffer.index_select(1, step % BLOCK).squeeze(1)
