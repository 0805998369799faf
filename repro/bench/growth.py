"""Time of a student's training step against width, batch size, networks trained side by side, and threads."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from repro.bench.timing import Side, Steps, matmuls
from repro.data.mnist import Mnist
from repro.training.compute import Compute, threads
from repro.training.mlp import MemberSpec, MLPTrainer, TransferSet
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

Point = dict[str, float]


@dataclass(frozen=True)
class Setting:
    """Setting on which the time of a step depends: units of each hidden layer, examples, networks, threads."""

    width: int = 800
    batch_size: int = 64
    networks: int = 1
    threads: int = 1


VARIED = {
    "width": (100, 200, 400, 800, 1600),
    "batch_size": (32, 64, 128, 256, 512),
    "networks": (1, 2, 4, 8),
}
STEPS = 10


def curves(data: Mnist, compute: Compute, repeats: int, say: Callable[[str], None]) -> dict[str, list[Point]]:
    """Return the time of a step, and of its matrix products alone, as one of the settings is varied.

    Args:
        data: MNIST.
        compute: device and precision.
        repeats: number of timings, whose median is taken.
        say: function that shows a line of text.

    Returns:
        Points by what is varied, each with its value (``at``) and two times in milliseconds.
    """
    most = torch.get_num_threads()
    base = Setting(threads=most)
    powers = [2**n for n in range(most.bit_length()) if 2**n < most]
    varied = VARIED | {"threads": (*powers, most)}
    soft = torch.nn.functional.one_hot(data.train.labels, 10) * 8.0
    transfer = TransferSet(data.train.images, data.train.labels, soft)
    result: dict[str, list[Point]] = {}
    for name, values in varied.items():
        result[name] = [
            {"at": value, **_times(replace(base, **{name: value}), transfer, compute, repeats)} for value in values
        ]
        shown = ", ".join(f"{point['at']}: {point['step_ms']:.2f}" for point in result[name])
        say(f"step time in ms by {name.replace('_', ' ')}: {shown}")
    return result


def _times(setting: Setting, transfer: TransferSet, compute: Compute, repeats: int) -> Point:
    recipe = Recipe(epochs=100, batch_size=setting.batch_size, learning_rate=1e-3, schedule="constant")
    sizes = (784, setting.width, setting.width, 10)
    members = [MemberSpec(seed, 20.0, 0.5) for seed in range(setting.networks)]
    with threads(setting.threads):
        context = TrainerContext(recipe=recipe, compute=compute)
        step = Steps(MLPTrainer(sizes=sizes, members=members, transfer=transfer, context=context), STEPS)
        sides: dict[str, Side] = {
            "step_ms": step,
            "products_ms": lambda: matmuls(sizes, setting.batch_size, setting.networks, compute, STEPS),
        }
        timings: list[Point] = [{name: side() for name, side in sides.items()} for _ in range(repeats + 1)]
    return {name: round(1000 * statistics.median(timing[name] for timing in timings[1:]) / STEPS, 3) for name in sides}
