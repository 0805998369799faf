"""Section 2.1: the exact gradient of soft targets against its limit at high temperature."""

import torch

from repro import kd
from repro.training.random_streams import Stream, generator

TEMPERATURES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


def gradient_ratios() -> dict[float, float]:
    """Return the least-squares ratio of the exact gradient (equation 2) to that of equation 4 by temperature.

    The logits are zero-mean Gaussian with standard deviation 5, of 10 classes, in float64.
    """
    draw = generator(Stream.GRADIENT_RATIO)
    student, teacher = 5 * torch.randn(2, 1000, 10, generator=draw, dtype=torch.float64)
    student, teacher = (logits - logits.mean(-1, keepdim=True) for logits in (student, teacher))
    ratios = {}
    for temperature in TEMPERATURES:
        exact = kd.exact_gradient(student, teacher, temperature)
        limit = kd.high_temperature_gradient(student, teacher, temperature)
        ratios[temperature] = float((exact * limit).sum() / limit.square().sum())
    return ratios
