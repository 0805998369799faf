"""Speed of the MNIST training, as ratios: each side is set up once and the two are timed in turn."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from repro.core.compute import Compute
from repro.core.noise import Order
from repro.core.recipe import Recipe
from repro.core.timing import Side, Steps, clock
from repro.core.train import Member, Training, TransferSet
from repro.data.mnist import Mnist

TEACHER = (784, 1200, 1200, 10)
RECIPE = Recipe(epochs=1, batch=256, learning_rate=1e-3, schedule="constant", drop_input=0.2, drop_hidden=0.5, jitter=2)
CONSTRAINED = RECIPE.model_copy(update={"max_norm": 2.0, "weight_decay": 0.1})
LOADER_STEPS = 60


def ratios(data: Mnist, folder: Path, compute: Compute) -> dict[str, tuple[Side, Side]]:
    """For each ratio its numerator and denominator: calls that do the work once and give seconds."""
    transfer = TransferSet(data.train.images, data.train.labels)
    step = Steps(Training(TEACHER, [Member(0)], transfer, CONSTRAINED, compute), 20)
    loader = Steps(Training(TEACHER, [Member(0)], transfer, RECIPE, compute), LOADER_STEPS)
    return {
        "mnist.teacher_step_matmul_share": (lambda: matmuls(compute, 20), step),
        "mnist.vs_dataloader": (PlainLoop(folder, loader.training), loader),
        "mnist.population_gain": (lambda: students(transfer, compute, 1), lambda: students(transfer, compute, 10)),
    }


def matmuls(compute: Compute, count: int) -> float:
    """Seconds for the matrix products of ``count`` teacher steps and nothing else, at the same shapes,
    layouts and precision: three layers forward and backward, but for the gradient of the pixels."""
    draw = {"device": compute.device, "dtype": compute.dtype}
    sizes, batch = TEACHER, RECIPE.batch
    layers = list(zip(sizes[:-1], sizes[1:], strict=True))
    operands = []
    for number, (a, b) in enumerate(layers):
        options = draw if number < len(layers) - 1 else draw | {"dtype": torch.float32}
        operands.append([torch.randn(1, *shape, **options) for shape in ((batch, a), (a, b), (1, b), (batch, b))])
    start = clock(compute.device)
    for _ in range(count):
        for inputs, weight, bias, _ in operands:
            torch.baddbmm(bias, inputs, weight)
        for number, (inputs, weight, _, gradient) in reversed(list(enumerate(operands))):
            torch.bmm(inputs.transpose(1, 2), gradient)
            if number:
                torch.bmm(gradient, weight.transpose(1, 2))
    return clock(compute.device) - start


class PlainLoop:
    """What one writes first: DataLoader, PIL, torchvision transforms, nn.Dropout, fp32.

    It starts from the same weights as ours and sees the same cases in the same order; the jitter and the
    dropout are its own draws.
    """

    def __init__(self, folder: Path, ours: Training):
        self.order = ours.orders[0]
        jitter = transforms.RandomCrop(28, padding=RECIPE.jitter)
        self.dataset = MNIST(str(folder), transform=transforms.Compose([jitter, transforms.ToTensor()]))
        layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(RECIPE.drop_input)]
        for weight, bias in zip(ours.net.weights, ours.net.biases, strict=True):
            layer = nn.Linear(*weight.shape[1:])
            layer.weight.data, layer.bias.data = weight[0].detach().t().clone(), bias[0, 0].detach().clone()
            layers += [layer, nn.ReLU(), nn.Dropout(RECIPE.drop_hidden)]
        self.net = nn.Sequential(*layers[:-2]).to(ours.labels.device)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=RECIPE.learning_rate, weight_decay=0.0)
        self.step, self.losses = 0, []

    def __call__(self) -> float:
        """Seconds for the next steps."""
        steps = range(self.step, self.step + LOADER_STEPS)
        batches = [self.order_indices(step) for step in steps]
        loader = DataLoader(self.dataset, batch_sampler=batches)
        device, total = next(self.net.parameters()).device, 0.0
        start = clock(device)
        for images, labels in loader:
            loss = nn.functional.cross_entropy(self.net(images.to(device)), labels.to(device))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.item()
        took = clock(device) - start
        self.step += LOADER_STEPS
        self.losses.append(total / LOADER_STEPS)
        return took

    def order_indices(self, step: int) -> list[int]:
        """The same cases as ours in this step."""
        return Order(self.order.seed, self.order.cases, RECIPE.batch).indices(step).tolist()


def students(transfer: TransferSet, compute: Compute, together: int, count: int = 10, steps: int = 150) -> float:
    """Seconds for ``count`` students of 30 units, ``together`` at a time, at as many temperatures."""
    recipe = Recipe(epochs=steps * 256 / len(transfer.labels), batch=256, learning_rate=4e-3)
    teacher: Tensor = torch.nn.functional.one_hot(transfer.labels, 10) * 8.0
    soft = TransferSet(transfer.images, transfer.labels, teacher)
    members = [Member(0, 1.0 + m, 0.1) for m in range(count)]
    groups = [members[m : m + together] for m in range(0, count, together)]
    trainings = [Training((784, 30, 30, 10), group, soft, recipe, compute) for group in groups]
    start = clock(compute.device)
    for training in trainings:
        for _ in training.run(1):
            pass
    return clock(compute.device) - start
