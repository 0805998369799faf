"""Speed ratios of MNIST training: each side is set up once, and the two are timed in turn."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.datasets import MNIST

from repro.bench.timing import PlainSteps, Side, Steps, TensorSteps, clock, linear, matmuls
from repro.data.mnist import Mnist
from repro.training.compute import Compute
from repro.training.mlp import MemberSpec, MLPTrainer, TransferSet, translations
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

TEACHER = (784, 1200, 1200, 10)
RECIPE = Recipe(
    epochs=100,  # more steps than are timed
    batch_size=256,
    learning_rate=1e-3,
    schedule="constant",
    input_dropout=0.2,
    hidden_dropout=0.5,
    max_translation=2,
)
CONSTRAINED = RECIPE.model_copy(update={"max_norm": 2.0, "weight_decay": 0.1})
LOADER_STEPS = 60


def ratios(data: Mnist, folder: Path, compute: Compute) -> dict[str, tuple[Side, Side]]:
    """Return numerator and denominator of each ratio: functions that do the work once and return seconds."""
    transfer = TransferSet(data.train.images, data.train.labels)
    step = Steps(trainer(transfer, CONSTRAINED, compute), 20)
    loader, *others = (Steps(trainer(transfer, RECIPE, compute), LOADER_STEPS) for _ in range(3))
    return {
        "mnist.teacher_step_matmul_share": (lambda: matmuls(TEACHER, RECIPE.batch_size, 1, compute, 20), step),
        "mnist.vs_dataloader": (plain(folder, loader.training), loader),
        "mnist.vs_tensor_loop_fp32": (tensor_loop(data, others[0].training, autocast=False), others[0]),
        "mnist.vs_tensor_loop_bf16": (tensor_loop(data, others[1].training, autocast=True), others[1]),
        "mnist.population_gain": (lambda: students(transfer, compute, 1), lambda: students(transfer, compute, 10)),
    }


def trainer(transfer: TransferSet, recipe: Recipe, compute: Compute) -> MLPTrainer:
    """Return a trainer of one network of the teacher's size."""
    context = TrainerContext(recipe=recipe, compute=compute)
    return MLPTrainer(sizes=TEACHER, members=[MemberSpec(0)], transfer=transfer, context=context)


def plain(folder: Path, ours: MLPTrainer) -> PlainSteps:
    """Return the steps of a plain loop: PIL images, torchvision's transforms, nn.Dropout."""
    max_translation = transforms.RandomCrop(28, padding=RECIPE.max_translation)
    dataset = MNIST(str(folder), transform=transforms.Compose([max_translation, transforms.ToTensor()]))
    net = network(ours)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RECIPE.learning_rate, weight_decay=0.0)
    return PlainSteps(dataset, ours.samplers[0], LOADER_STEPS, net, optimizer)


def tensor_loop(data: Mnist, ours: MLPTrainer, autocast: bool) -> TensorSteps:
    """Return the steps of a careful user's loop: images in memory, translated by indexing; a fused optimizer."""
    net, pixels = network(ours), RECIPE.max_translation
    device = ours.labels.device
    images, labels = translations(data.train.images.to(device), pixels), data.train.labels.to(device)

    def batch(indices: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = torch.randint(0, 2 * pixels + 1, (2, len(indices)), device=device)
        return images[indices.to(device), rows, columns], labels[indices.to(device)]

    optimizer = torch.optim.AdamW(net.parameters(), lr=RECIPE.learning_rate, weight_decay=0.0, fused=True)
    return TensorSteps(batch, ours.samplers[0], LOADER_STEPS, net, optimizer, autocast=autocast)


def network(ours: MLPTrainer) -> nn.Sequential:
    """Return our network, with dropout, as modules of PyTorch."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(RECIPE.input_dropout)]
    for weight, bias in zip(ours.net.weights, ours.net.biases, strict=True):
        layers += [linear(weight, bias), nn.ReLU(), nn.Dropout(RECIPE.hidden_dropout)]
    return nn.Sequential(*layers[:-2]).to(ours.labels.device)


def students(transfer: TransferSet, compute: Compute, together: int, count: int = 10, steps: int = 150) -> float:
    """Return the seconds to train ``count`` students of 30 units, ``together`` at a time, at as many temperatures."""
    recipe = Recipe(epochs=steps * 256 / len(transfer.labels), batch_size=256, learning_rate=4e-3)
    teacher: Tensor = torch.nn.functional.one_hot(transfer.labels, 10) * 8.0
    soft = TransferSet(transfer.images, transfer.labels, teacher)
    members = [MemberSpec(0, 1.0 + m, 0.1) for m in range(count)]
    groups = [members[m : m + together] for m in range(0, count, together)]
    context = TrainerContext(recipe=recipe, compute=compute)
    trainings = [MLPTrainer(sizes=(784, 30, 30, 10), members=group, transfer=soft, context=context) for group in groups]
    start = clock(compute.device)
    for training in trainings:
        for _ in training.run(1):
            pass
    return clock(compute.device) - start
