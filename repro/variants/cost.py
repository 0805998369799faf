"""Time and memory of a training step: what a method costs, and what the ETA expects."""

import torch
from torch import Tensor

from repro.bench.timing import clock
from repro.data.types import ImageData
from repro.models.flops import count_conv_multiply_adds
from repro.variants import models
from repro.variants.training import DistillationTrainer

TIMINGS = 5

# Convolutions of fewer input channels take as long: up to here, time grows with the width and not with its square.
LEAST_INPUTS = 64


def expected_macs(shape: models.Shape, data: ImageData) -> int:
    """Return the MACs of a model for one image, as many as fit the time that it takes, for the ETA."""
    if shape.width is None:
        return models.macs(shape, data)
    channels, side, _ = data.train.images.shape[1:]
    return count_conv_multiply_adds(channels, shape.width, len(data.classes), side, LEAST_INPUTS)


def spread_steps(training: DistillationTrainer, count: int) -> float:
    """Return the seconds of ``count`` steps, spread evenly over training, whose stages may differ in cost.

    Where the teacher's logits are computed once for all images, the same fraction of that time is included.
    """
    device, seconds = training.parameters[0].device, 0.0
    if training.teacher is not None and training.teacher_net is not None:
        sample = training.images[:1000, :, 0, 0]
        start = clock(device)
        with torch.no_grad():
            training.teacher_net(sample)
        seconds += (clock(device) - start) * len(training.labels) / len(sample) * count / training.whole
    for number in range(count):
        training.step = (2 * number + 1) * training.whole // (2 * count)
        training.steps = training.step + 1
        training.batch_indices(training.step)  # the order of an epoch is drawn before the clock starts
        start = clock(device)
        for _ in training.run():
            pass
        seconds += clock(device) - start
    return seconds


def step_bytes(training: DistillationTrainer) -> int:
    """Return the bytes that a training step needs at most.

    They are the parameters of the student and of the method's modules, the state of the optimizer, the tensors saved
    for the backward pass, and the teacher's parameters, or its logits where these are computed once.
    """
    return max(_bytes_at(training, step) for step in (0, training.whole - 1))


def _bytes_at(training: DistillationTrainer, step: int) -> int:
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = training.losses(step)
    del loss
    state = [value for values in training.optimizer.state for value in values.values()]
    teacher: list[Tensor] = []
    if training.teacher is not None:
        teacher = [training.teacher]
    elif training.teacher_net is not None:
        teacher = list(training.teacher_net.parameters())
    for tensor in (*training.parameters, *state, *teacher):
        keep(tensor.detach())
    data = {tensor.untyped_storage().data_ptr() for tensor in (training.images, training.labels)}
    return sum(size for pointer, size in held.items() if pointer not in data)
