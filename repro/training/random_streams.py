"""All randomness as a function of (seed, step): initial weights, data order, translations, dropout.

Nothing here has a state that a checkpoint must hold: a resumed run asks for step s and gets what the uninterrupted
run would have got.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


class Stream(StrEnum):
    """Purpose of a random stream.

    The values are frozen: ``generator`` hashes them into the seed, so changing one (even to correct its wording, which
    is older than the names) changes every number of the project. The names are free to change.
    """

    INITIAL_WEIGHTS = "initial weights"
    METHOD_WEIGHTS = "the method's own weights"
    DATA_ORDER = "order"
    TRANSLATION = "jitter"
    HORIZONTAL_FLIP = "mirror"
    INPUT_DROPOUT = "dropout of inputs"
    HIDDEN_DROPOUT = "dropout"
    TRAINING_FRACTION = "share of the cases"
    IMAGE_FRACTION = "fewer images"
    UTTERANCE_FRACTION = "share of the utterances"
    VALIDATION_SPEAKERS = "validation speakers"
    EVALUATED_FRAMES = "frames looked at"
    K_MEANS = "k-means"
    SPECTRAL_CLUSTERING = "spectral clustering"
    RANDOM_SUBSETS = "random subsets"
    EQUATION_5 = "equation 5"
    GRADIENT_RATIO = "gradient ratio"


def generator(purpose: Stream, *numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose stream is a function of ``purpose`` and ``numbers`` (seed, step, layer) alone."""
    text = ":".join([purpose, *map(str, numbers)]).encode()
    seed = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")
    return torch.Generator(device).manual_seed(seed)


def training_fraction(count: int, fraction: float, seed: int) -> Int[Tensor, "example"]:
    """Return the indices, in ascending order, of a random fraction of ``count`` training examples; at least one."""
    if fraction == 1:
        return torch.arange(count)
    shuffled = torch.randperm(count, generator=generator(Stream.TRAINING_FRACTION, seed))
    return shuffled[: max(1, round(fraction * count))].sort().values


class BatchSampler:
    """Order of the training examples of one model: a fresh permutation for each epoch, concatenated.

    A batch may straddle two epochs, so every batch is full and every example is seen once per epoch.
    """

    def __init__(self, seed: int, examples: Int[Tensor, "example"], batch_size: int):
        """``examples`` are the indices of the training examples, ``batch_size`` their number in a step."""
        self.seed, self.examples, self.batch_size = seed, examples, batch_size
        self._epochs: dict[int, Tensor] = {}

    def indices(self, step: int, num_steps: int = 1) -> Int[Tensor, "batch"]:
        """Return the indices of the examples of ``num_steps`` steps, concatenated, from ``step`` on."""
        start, stop = step * self.batch_size, (step + num_steps) * self.batch_size
        count = len(self.examples)
        first, last = start // count, (stop - 1) // count
        parts = [self._epoch(n)[max(start - n * count, 0) : stop - n * count] for n in range(first, last + 1)]
        for number in [number for number in self._epochs if number < last]:
            del self._epochs[number]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _epoch(self, number: int) -> Tensor:
        if number not in self._epochs:
            permutation = torch.randperm(len(self.examples), generator=generator(Stream.DATA_ORDER, self.seed, number))
            self._epochs[number] = self.examples[permutation]
        return self._epochs[number]


def random_translations(seed: int, step: int, batch: int, pixels: int) -> tuple[Tensor, Tensor]:
    """Return row and column offsets, uniform in 0 .. 2 * pixels, one pair for each of ``batch`` examples."""
    draw = torch.randint(2 * pixels + 1, (2, batch), generator=generator(Stream.TRANSLATION, seed, step))
    return draw[0], draw[1]


@dataclass(frozen=True)
class Mask:
    """Which units dropout drops: those whose random byte is below the threshold.

    Attributes:
        drawn: random bytes, (model, batch, unit).
        threshold: 256 times the probability of dropping, rounded.
    """

    drawn: UInt8[Tensor, "model batch unit"]
    threshold: int

    @property
    def scale(self) -> float:
        """Factor of the units that stay: one over the probability of staying."""
        return 256 / (256 - self.threshold)

    def factors(self, dtype: torch.dtype) -> Float[Tensor, "model batch unit"]:
        """Return the factor of every unit, 0 or ``scale``."""
        return self.drawn.to(dtype).ge_(self.threshold).mul_(self.scale)  # bytes are exact in bf16, too


class Dropout:
    """Dropout of one training step of a ``BatchedMLP``.

    A unit is dropped when its random byte is below 256 p, so probabilities are rounded to a 256th; a unit that stays
    is divided by the probability of staying ("inverted" dropout: nothing to halve at test time). Bytes are drawn eight
    at a time, which is thirty times cheaper than Bernoulli draws.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        step: int,
        input_dropout: float,
        hidden_dropout: float,
        device: torch.device | str = "cpu",
    ):
        """Store the members' seeds, the step, and the probabilities of dropping an input or a hidden unit."""
        self.seeds, self.step, self.device = seeds, step, device
        self.input_threshold, self.hidden_threshold = round(256 * input_dropout), round(256 * hidden_dropout)

    def drop_inputs(self, inputs: Float[Tensor, "*model batch unit"]) -> Float[Tensor, "model batch unit"]:
        """Return inputs with units dropped, drawn for each member."""
        mask = self.input_mask(*inputs.shape[-2:])
        return inputs if mask is None else inputs * mask.factors(inputs.dtype)

    def input_mask(self, batch: int, units: int) -> "Mask | None":
        """Return which inputs are dropped; None without dropout."""
        return self._mask(Stream.INPUT_DROPOUT, 0, batch, units, self.input_threshold)

    def hidden_mask(self, layer: int, batch: int, units: int) -> "Mask | None":
        """Return which units of a hidden layer are dropped; None without dropout."""
        return self._mask(Stream.HIDDEN_DROPOUT, layer, batch, units, self.hidden_threshold)

    def _mask(self, purpose: Stream, layer: int, batch: int, units: int, threshold: int) -> "Mask | None":
        return Mask(self._bytes(purpose, layer, batch, units), threshold) if threshold else None

    def _bytes(self, purpose: Stream, layer: int, batch: int, units: int) -> UInt8[Tensor, "model batch unit"]:
        words = torch.empty(len(self.seeds), (batch * units + 7) // 8, dtype=torch.int64, device=self.device)
        for row, seed in zip(words, self.seeds, strict=True):
            row.random_(-(2**63), None, generator=generator(purpose, seed, self.step, layer, device=self.device))
        return words.view(torch.uint8)[:, : batch * units].view(len(self.seeds), batch, units)
