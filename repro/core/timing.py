"""How the sides of a speed ratio are timed."""

import time
from collections.abc import Callable

import torch

from repro.core.loop import Loop

Side = Callable[[], float]


def clock(device: torch.device) -> float:
    """Seconds, once all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Steps:
    """Our training steps, timed; ``losses`` keeps the mean loss of each timing."""

    def __init__(self, training: Loop, count: int, scale: float = 1.0):
        """``scale`` turns the time of ``count`` steps into that of what they stand for."""
        self.training, self.count, self.scale, self.losses = training, count, scale, []

    def __call__(self) -> float:
        """Seconds for ``count`` further steps."""
        device = self.training.parameters[0].device
        self.training.steps = self.training.step + self.count
        start = clock(device)
        for snapshot in self.training.run(1):
            self.losses.append(float(snapshot.loss))
        return self.scale * (clock(device) - start)
