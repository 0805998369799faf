"""All randomness, as a function of (seed, step): order of cases, jitter, dropout.

Nothing here has a state that must be kept: a resumed run asks for step s and gets what it would have got.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Stream(StrEnum):
    """Purpose of a random stream. The values are frozen: changing one changes every number of the project."""

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
    """A generator whose stream belongs to this purpose and these numbers alone."""
    text = ":".join([purpose, *map(str, numbers)]).encode()
    seed = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")
    return torch.Generator(device).manual_seed(seed)


class BatchSampler:
    """The order in which one net sees its cases: a fresh permutation for each pass, laid end to end.

    A batch may straddle two passes, so every batch is full and every case is seen once a pass.
    """

    def __init__(self, seed: int, cases: Int[Tensor, "case"], batch: int):
        """``cases`` are the indices this net trains on; ``batch`` how many it sees in a step."""
        self.seed, self.cases, self.batch = seed, cases, batch
        self._passes: dict[int, Tensor] = {}

    def indices(self, step: int) -> Int[Tensor, "batch"]:
        """The cases of this step."""
        start, stop = step * self.batch, (step + 1) * self.batch
        count = len(self.cases)
        first, last = start // count, (stop - 1) // count
        parts = [self._pass(n)[max(start - n * count, 0) : stop - n * count] for n in range(first, last + 1)]
        for number in [number for number in self._passes if number < last]:
            del self._passes[number]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _pass(self, number: int) -> Tensor:
        if number not in self._passes:
            draw = torch.randperm(len(self.cases), generator=generator(Stream.DATA_ORDER, self.seed, number))
            self._passes[number] = self.cases[draw]
        return self._passes[number]


def random_translations(seed: int, step: int, batch: int, pixels: int) -> tuple[Tensor, Tensor]:
    """Row and column offsets in 0 .. 2 * pixels, uniform, one pair for each case."""
    draw = torch.randint(2 * pixels + 1, (2, batch), generator=generator(Stream.TRANSLATION, seed, step))
    return draw[0], draw[1]


class Dropout:
    """Dropout of one training step of a population.

    A unit is dropped when its random byte is below 256 p, so probabilities are rounded to a 256th; what
    is kept is divided by the probability of keeping it ("inverted" dropout: nothing to halve at test
    time). Bytes are drawn eight at a time, which is thirty times cheaper than Bernoulli draws.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        step: int,
        input_dropout: float,
        hidden_dropout: float,
        device: torch.device | str = "cpu",
    ):
        """``seeds`` of the members, the step, and the probabilities of dropping an input or a hidden unit."""
        self.seeds, self.step, self.device = seeds, step, device
        self.input_threshold, self.hidden_threshold = round(256 * input_dropout), round(256 * hidden_dropout)

    def drop_inputs(self, inputs: Float[Tensor, "*models batch unit"]) -> Float[Tensor, "models batch unit"]:
        """Inputs with each member's own units dropped."""
        if not self.input_threshold:
            return inputs
        mask, _ = self._mask(Stream.INPUT_DROPOUT, 0, inputs, inputs.shape[-1], self.input_threshold)
        return inputs * mask

    def hidden_mask(self, layer: int, like: Tensor, units: int) -> tuple[Tensor | None, float]:
        """The mask of a hidden layer, of values 0 and ``scale``, and ``scale``."""
        if not self.hidden_threshold:
            return None, 1.0
        return self._mask(Stream.HIDDEN_DROPOUT, layer, like, units, self.hidden_threshold)

    def _mask(
        self, purpose: Stream, layer: int, like: Tensor, units: int, threshold: int
    ) -> tuple[Float[Tensor, "models batch unit"], float]:
        batch = like.shape[-2]
        words = torch.empty(len(self.seeds), (batch * units + 7) // 8, dtype=torch.int64, device=self.device)
        for row, seed in zip(words, self.seeds, strict=True):
            row.random_(-(2**63), None, generator=generator(purpose, seed, self.step, layer, device=self.device))
        drawn = words.view(torch.uint8)[:, : batch * units].view(len(self.seeds), batch, units)
        scale = 256 / (256 - threshold)
        return drawn.to(like.dtype).ge_(threshold).mul_(scale), scale  # bytes are exact in bf16, too
