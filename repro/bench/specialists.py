"""Speed ratios of the specialists experiment: each side is set up once, and the two are timed in turn."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision import transforms

from repro.bench.timing import PlainSteps, Side, Steps, TensorSteps, clock
from repro.data.types import ImageData, ImageSet
from repro.errors import UserError
from repro.models.conv import ConvNet, Convolution
from repro.specialists import clustering, inference, specialist
from repro.specialists.settings import SpecialistsSettings
from repro.training.compute import Compute
from repro.training.images import ImageTrainer, ImageTransferSet, shifted_views
from repro.training.random_streams import BatchSampler, Stream, generator
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

STEPS = 40
CASES = 1000
# Largest distance, in nats per image, of both solvers of equation 5 from its minimum. Gradient descent gets no nearer
# in a feasible number of steps, because it hardly moves classes of small probability.
EQUAL = 1e-2
MOST_STEPS = 4096


def ratios(settings: SpecialistsSettings, data: ImageData, compute: Compute) -> dict[str, tuple[Side, Side]]:
    """Return numerator and denominator of each ratio: functions that do the work once and return seconds."""
    train, recipe = data.train, settings.generalist.recipe
    steady = recipe.model_copy(update={"schedule": "constant", "warmup_fraction": 0.0, "learning_rate": 0.05})
    ours, *others = (Steps(_generalist(settings, data, compute, steady), STEPS) for _ in range(3))
    whole = Steps(_generalist(settings, data, compute, recipe), STEPS, recipe.steps(len(train)) / STEPS)
    return {
        "specialists.em_vs_gd": Equation5(data, settings, compute).sides(),
        "specialists.parallel_cost": (_specialists(settings, data, compute), whole),
        "specialists.conv_vs_plain": (plain(train, ours.training), ours),
        "specialists.conv_vs_tensor_loop_fp32": (tensor_loop(train, others[0].training, autocast=False), others[0]),
        "specialists.conv_vs_tensor_loop_bf16": (tensor_loop(train, others[1].training, autocast=True), others[1]),
    }


def _generalist(
    settings: SpecialistsSettings, data: ImageData, compute: Compute, recipe: Recipe
) -> ImageTrainer[ConvNet]:
    train = data.train
    net = ConvNet(train.images.shape[1], settings.generalist.channels, len(data.classes), 0)
    order = BatchSampler(0, torch.arange(len(train)), recipe.batch_size)
    return ImageTrainer(
        net=net,
        samplers=[order],
        transfer=ImageTransferSet(train.images, train.labels),
        objective=specialist.hard_objective,
        num_examples=len(train),
        context=TrainerContext(recipe=recipe, compute=compute),
    )


def _specialists(settings: SpecialistsSettings, data: ImageData, compute: Compute) -> Steps[ImageTrainer[ConvNet]]:
    """Return the steps of one specialist, scaled to all steps of all specialists."""
    config, train = settings.specialists, data.train
    subset = torch.arange(min(config.classes_per_specialist, len(data.classes) - 1))
    special = round(config.recipe.batch_size * config.special_fraction)
    orders = specialist.batch_samplers(train.labels, subset, 0, config.recipe.batch_size, special)
    generalist = ConvNet(train.images.shape[1], settings.generalist.channels, len(data.classes), 0)
    net = specialist.from_generalist(generalist, subset, "dustbin")
    labels = specialist.dustbin_labels(train.labels, subset, len(data.classes))
    cases = round(len(train) * len(subset) / len(data.classes) / config.special_fraction)
    training = ImageTrainer(
        net=net,
        samplers=orders,
        transfer=ImageTransferSet(train.images, labels),
        objective=specialist.hard_objective,
        num_examples=cases,
        context=TrainerContext(recipe=config.recipe, compute=compute),
    )
    return Steps(training, STEPS, config.count * config.recipe.steps(cases) / STEPS)


def fewest(arrives: Callable[[int], bool]) -> int:
    """Return the smallest number of steps for which ``arrives`` holds, by doubling and bisection.

    Raises:
        UserError: it does not hold for ``MOST_STEPS``.
    """
    high = 1
    while not arrives(high):
        high *= 2
        if high > MOST_STEPS:
            raise UserError(f"bench specialists.em_vs_gd: no equal objective after {MOST_STEPS} steps; no ratio")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if arrives(middle) else (middle, high)
    return high


class Equation5:
    """Equation 5 on random predictions, with as many classes and specialists as the experiment has.

    Each solver is timed for the number of steps that takes its objective to within ``EQUAL`` of the minimum.
    """

    def __init__(self, data: ImageData, settings: SpecialistsSettings, compute: Compute):
        draw = generator(Stream.EQUATION_5)
        classes, config = len(data.classes), settings.specialists
        size = min(config.classes_per_specialist, classes - 1)
        self.subsets = clustering.random_subsets(classes, min(config.count, classes), size, 0)
        logits = 4 * torch.randn(CASES, classes, generator=draw)
        self.generalist = logits.softmax(-1)
        self.pairs = inference.active_pairs(self.generalist, self.subsets, config.top_n)
        # A specialist sees what the generalist sees, and some noise.
        logits = logits[self.pairs[0]] + torch.randn(len(self.pairs[0]), classes, generator=draw)
        known = logits.softmax(-1).gather(1, self.subsets[self.pairs[1]])
        self.specialists = torch.cat([known, 1 - known.sum(1, keepdim=True)], 1).clamp_min(0)
        self.device = compute.device
        least = self._value(self._em(1000))
        self.em_steps, self.steps = (self._fewest(solve, least) for solve in (self._em, self._descend))

    def _fewest(self, solve: Callable[[int], torch.Tensor], least: float) -> int:
        return fewest(lambda steps: self._value(solve(steps)) - least < EQUAL)

    def _value(self, q: torch.Tensor) -> float:
        return float(inference.objective(q, self.generalist, self.specialists, self.pairs, self.subsets).mean())

    def _em(self, steps: int) -> torch.Tensor:
        return inference.combine_em(
            self.generalist, self.specialists, self.pairs, self.subsets, iterations=steps, tolerance=0.0
        )

    def _descend(self, steps: int) -> torch.Tensor:
        return inference.combine_gradient(
            self.generalist, self.specialists, self.pairs, self.subsets, steps=steps, tolerance=0.0
        )

    def sides(self) -> tuple[Side, Side]:
        """Return the timed solvers: gradient descent, and the fixed-point iteration."""

        def timed(solve: Callable[[], object]) -> Side:
            def seconds() -> float:
                start = clock(self.device)
                solve()
                return clock(self.device) - start

            return seconds

        return timed(lambda: self._descend(self.steps)), timed(lambda: self._em(self.em_steps))


def plain(train: ImageSet, ours: ImageTrainer[ConvNet]) -> PlainSteps:
    """Return the steps of a plain loop: PIL images and torchvision's transforms."""
    shift = transforms.RandomCrop(train.images.shape[-1], padding=ours.recipe.max_translation, padding_mode="edge")
    dataset = PilImages(train, transforms.Compose([shift, transforms.PILToTensor()]))
    net = PlainNet(ours.net).to(ours.labels.device)
    return PlainSteps(dataset, ours.samplers[0], STEPS, net, _optimizer(net, ours.recipe))


def tensor_loop(train: ImageSet, ours: ImageTrainer[ConvNet], autocast: bool) -> TensorSteps:
    """Return the steps of a careful user's loop: images in memory and channels last, shifted by indexing."""
    device = ours.labels.device
    net = PlainNet(ours.net).to(device).to(memory_format=torch.channels_last)
    pixels = ours.recipe.max_translation
    shifted, labels = shifted_views(train.images, pixels, device), train.labels.to(device)

    def batch(indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, columns = torch.randint(0, 2 * pixels + 1, (2, len(indices)), device=device)
        images = shifted[indices.to(device), :, rows, columns]
        return images.contiguous(memory_format=torch.channels_last), labels[indices.to(device)]

    optimizer = _optimizer(net, ours.recipe, fused=True)
    return TensorSteps(batch, ours.samplers[0], STEPS, net, optimizer, autocast=autocast)


class PlainNet(nn.Module):
    """A ``ConvNet`` by PyTorch's operations alone, from the same weights; for images of even size."""

    def __init__(self, net: ConvNet):
        super().__init__()
        self.net = copy.deepcopy(net)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of (batch, channel, row, column)."""
        blocks = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        hidden = (blocks.float() - 128) / 64
        for down, keep in zip(self.net.down, self.net.keep, strict=True):
            hidden = self._convolution(hidden, down)
            hidden = hidden + self._convolution(hidden, keep)
        return self.net.head(hidden.mean((2, 3)))

    def _convolution(self, hidden: Tensor, layer: nn.Module) -> Tensor:
        assert isinstance(layer, Convolution)
        return F.relu(layer.norm(F.conv2d(hidden, layer.weight, stride=layer.stride, padding=1)))


def _optimizer(net: nn.Module, recipe: Recipe, fused: bool | None = None) -> torch.optim.SGD:
    return torch.optim.SGD(
        net.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True,
        fused=fused,
    )  # fmt: skip


class PilImages(Dataset):
    """A map-style dataset that decodes one image at a time."""

    def __init__(self, cases: ImageSet, transform: transforms.Compose):
        self.arrays, self.labels, self.transform = cases.images.numpy(), cases.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, case: int) -> tuple[torch.Tensor, int]:
        array: np.ndarray = self.arrays[case]
        image = Image.fromarray(array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0))
        return self.transform(image), self.labels[case]
