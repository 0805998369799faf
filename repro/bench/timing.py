"""Timing of the two sides of a speed ratio."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from repro.training.compute import Compute
from repro.training.random_streams import BatchSampler
from repro.training.trainer import Trainer

Side = Callable[[], float]
LoopType = TypeVar("LoopType", bound=Trainer[Any])


@runtime_checkable
class Learning(Protocol):
    """A side that trains; ``losses`` holds the mean training loss of each timing, in nats."""

    losses: list[float]

    def __call__(self) -> float: ...


def clock(device: torch.device) -> float:
    """Return the time in seconds, after all work queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Steps(Generic[LoopType]):
    """Our training steps, timed."""

    def __init__(self, training: LoopType, count: int, scale: float = 1.0):
        """Store the trainer; ``scale`` is the factor from ``count`` steps to the whole work that they represent."""
        self.training, self.count, self.scale = training, count, scale
        self.losses: list[float] = []

    def __call__(self) -> float:
        """Return the seconds for ``count`` further steps."""
        device = self.training.parameters[0].device
        self.training.steps = self.training.step + self.count
        start = clock(device)
        for snapshot in self.training.run(1):
            self.losses.append(float(snapshot.loss.mean()))
        return self.scale * (clock(device) - start)


def matmuls(
    sizes: Sequence[int], batch: int, models: int, compute: Compute, count: int, fp32_logits: bool = True
) -> float:
    """Return the seconds for the matrix products of ``count`` training steps of a ``BatchedMLP`` and nothing else.

    They have its shapes, layouts and types: every layer forward and for its weights' gradient,
    and all but the first for the gradient of its inputs.
    """
    layers = list(zip(sizes[:-1], sizes[1:], strict=True))
    operands = []
    for number, (a, b) in enumerate(layers):
        last = fp32_logits and number == len(layers) - 1
        dtype, shapes = torch.float32 if last else compute.dtype, ((batch, a), (a, b), (1, b), (batch, b))
        operands.append([torch.randn((models, *shape), device=compute.device, dtype=dtype) for shape in shapes])
    start = clock(compute.device)
    for _ in range(count):
        for inputs, weight, bias, _ in operands:
            torch.baddbmm(bias, inputs, weight)
        for number, (inputs, weight, _, gradient) in reversed(list(enumerate(operands))):
            torch.bmm(inputs.transpose(1, 2), gradient)
            if number:
                torch.bmm(gradient, weight.transpose(1, 2))
    return clock(compute.device) - start


class PlainSteps:
    """Timed training steps of a plain loop: a Dataset, a DataLoader, fp32.

    Initial weights, examples and their order are those of our trainer; translations and dropout are drawn separately.
    """

    def __init__(
        self,
        dataset: Dataset | None,
        order: BatchSampler,
        count: int,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
    ):
        """Store the parts of the loop, with a sampler like ``order``."""
        self.dataset, self.count = dataset, count
        self.order = BatchSampler(order.seed, order.examples, order.batch_size)  # a sampler keeps its epoch's order
        self.net, self.optimizer = net, optimizer
        self.step = 0
        self.losses: list[float] = []

    def __call__(self) -> float:
        """Return the seconds for ``count`` further steps."""
        batches = [self.order.indices(step) for step in range(self.step, self.step + self.count)]
        device, total = next(self.net.parameters()).device, 0.0
        start = clock(device)
        for inputs, labels in self._load(batches):
            loss = self._loss(inputs.to(device), labels.to(device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        took = clock(device) - start
        self.step += self.count
        self.losses.append(total / self.count)
        return took

    def _load(self, batches: list[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """Return inputs and labels of batches of example indices."""
        assert self.dataset is not None
        return DataLoader(self.dataset, batch_sampler=[indices.tolist() for indices in batches])

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.net(inputs), labels)


class TensorSteps(PlainSteps):
    """Timed training steps of a careful user's loop: data in memory, batches by indexing, bf16 by autocast."""

    def __init__(
        self,
        batch: Callable[[Tensor], tuple[Tensor, Tensor]],
        order: BatchSampler,
        count: int,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        autocast: bool,
    ):
        """Store the parts of the loop; ``batch`` maps example indices to inputs and labels."""
        super().__init__(None, order, count, net, optimizer)
        self.batch, self.autocast = batch, autocast

    def _load(self, batches: list[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        return map(self.batch, batches)

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.autocast):
            logits = self.net(inputs)
        return nn.functional.cross_entropy(logits.float(), labels)


def linear(weight: Float[Tensor, "1 unit units"], bias: Float[Tensor, "1 1 units"]) -> nn.Linear:
    """Return a layer of a ``BatchedMLP`` of one member as ``nn.Linear``, with the same weights."""
    layer = nn.Linear(*weight.shape[1:])
    layer.weight.data, layer.bias.data = weight[0].detach().t().clone(), bias[0, 0].detach().clone()
    return layer
