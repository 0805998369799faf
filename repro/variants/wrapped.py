"""Any PyTorch module as a model of the variants, and its parameters and MACs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from repro.errors import UserError, reason
from repro.models.base import Model
from repro.training.random_streams import Stream, generator

# Pixels of a batch at test time: 1,000 images of 32x32.
PIXELS_AT_ONCE = 1000 * 32 * 32


class Head(nn.Linear):
    """A linear layer in fp32 whatever the data type of its input, because KD needs exact logits."""

    def forward(self, input: Tensor) -> Tensor:
        """Return fp32 logits."""
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.float(), self.weight, self.bias)


class WrappedNetwork(Model):
    """A PyTorch module that maps normalized images to logits, with the interface of ``ConvNet``.

    Like a ``ConvNet`` it takes bytes, has a length of one and a leading axis of models, and draws its initial weights
    from the seed alone. Where ``dtype`` is bf16, ``torch.autocast`` chooses the operations that compute in it; a linear
    head stays fp32.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        seed: int,
        mean: list[float] | None = None,
        deviation: list[float] | None = None,
    ):
        """Build the module.

        Args:
            build: function that returns the module, drawing its weights by PyTorch's global generator.
            seed: seed of the initial weights, and of dropout if the module has any.
            mean: mean of the pixels of each channel, in 0 to 255. Default: 128, as of a ``ConvNet``.
            deviation: standard deviation of the pixels of each channel. Default: 64.
        """
        super().__init__()
        self.seed, self.dtype = seed, torch.float32
        with seeded(generator(Stream.INITIAL_WEIGHTS, seed)):
            self.module = build()
        for module in self.module.modules():
            if hasattr(module, "inplace"):  # it would change the output of the module before, which a method may read
                module.inplace = False  # type: ignore[assignment]
        replace_head(self.module)
        self.module.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(mean or [128.0])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation or [64.0])[:, None, None], persistent=False)
        # Whether outputs in training are random: the module has dropout or drops whole layers.
        self.random = any(
            isinstance(p := getattr(module, "p", None), float) and p > 0 for module in self.module.modules()
        )
        if self.random:  # training steps so far, which checkpoints hold
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return 1

    def forward(self, images: Tensor) -> Float[Tensor, "1 batch class"]:
        """Return fp32 logits of images (batch, channel, row, column) with values 0 to 255."""
        normalized = (images.float() - self.get_buffer("mean")) / self.get_buffer("deviation")
        normalized = normalized.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            if not (self.training and self.random):
                return self.module(normalized).float()[None]
            steps = self.get_buffer("steps")
            with seeded(generator(Stream.HIDDEN_DROPOUT, self.seed, int(steps)), images.device):
                logits = self.module(normalized).float()[None]
            steps += 1
            return logits

    @torch.no_grad()
    def logits(self, images: Tensor, batch: int | None = None) -> Float[Tensor, "1 example class"]:
        """Return logits at test time, in fp32 throughout, on the CPU.

        ``batch`` is the number of images that are evaluated at once. Default: the fewer the larger they are.
        """
        training, precision = self.training, self.dtype
        self.eval()
        self.dtype = torch.float32
        device = next(self.parameters()).device
        batch = batch or max(1, PIXELS_AT_ONCE // (images.shape[-1] * images.shape[-2]))
        try:
            return torch.cat([self(part.to(device)).cpu() for part in images.split(batch)], dim=1)
        finally:
            self.train(training)
            self.dtype = precision


@contextmanager
def seeded(draw: torch.Generator, device: torch.device | None = None) -> Iterator[None]:
    """Context in which PyTorch's global generators are seeded as ``draw`` is; they are as before afterwards."""
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.random.default_generator.manual_seed(draw.initial_seed())
        if cuda:
            torch.cuda.manual_seed(draw.initial_seed())
        yield


def replace_head(net: nn.Module) -> None:
    """Make the last layer an fp32 ``Head`` with the same weights, if it is linear."""
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    name, last = layers[-1]
    if isinstance(last, nn.Linear):
        with torch.device("meta"):  # no weights are drawn
            head = Head(last.in_features, last.out_features, last.bias is not None)
        head.weight, head.bias = last.weight, last.bias
        net.set_submodule(name, head)


def count(net: nn.Module, image: tuple[int, int, int], name: str) -> tuple[int, int]:
    """Return parameters, and MACs for one image (channels, rows, columns), of a module that is then of no more use.

    Raises:
        UserError: the module, which the message calls ``name``, does not take images of this size.
    """
    net = net.to("meta").eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, *image, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = f"{image[1]}x{image[2]}"
        raise UserError(f"shape {name}: does not take images of {size} pixels ({reason(error)})") from error
    return sum(parameter.numel() for parameter in net.parameters()), counter.get_total_flops() // 2
