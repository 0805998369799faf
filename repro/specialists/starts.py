"""Starts of training: initial weights, batches, labels, objective, and a teacher's logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from repro.errors import UserError
from repro.kd.losses import distillation_loss
from repro.models.conv import ConvNet
from repro.specialists import specialist
from repro.training.images import Objective
from repro.training.random_streams import BatchSampler

if TYPE_CHECKING:
    from repro.specialists.runner import SpecialistsRunner
    from repro.specialists.runs import NetRun, SpecialistRun


@dataclass(frozen=True)
class Start:
    """The start of a training; ``labels`` are of all training images, ``teacher`` their soft targets' logits."""

    net: ConvNet
    samplers: list[BatchSampler]
    labels: Tensor
    objective: Objective
    teacher: Tensor | None = None


def over_all_classes(runner: SpecialistsRunner, run: NetRun) -> Start:
    """Return the start of a network over all classes, on labels or on its teacher's soft targets."""
    train, classes = runner.data.train, len(runner.data.classes)
    net = runner.net_of(run.start) if run.start else ConvNet(train.images.shape[1], run.width, classes, run.stream_seed)
    samplers = [BatchSampler(run.stream_seed, torch.arange(len(train)), run.recipe.batch_size)]
    if run.teacher is None:
        return Start(net, samplers, train.labels, specialist.hard_objective)
    values = (run.temperature, run.hard_label_weight)
    temperature, hard_label_weight = (torch.tensor([value], device=runner.compute.device) for value in values)

    def distilled(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
        return distillation_loss(logits, teacher, labels, temperature, hard_label_weight)

    return Start(net, samplers, train.labels, distilled, runner.predictions(run.teacher, "train"))


def from_generalist(runner: SpecialistsRunner, run: SpecialistRun) -> Start:
    """Return the start of a specialist; half of a batch (by default) is from its special classes.

    Raises:
        UserError: all training images, or none, are of its classes.
    """
    labels, classes, subset = runner.data.train.labels, len(runner.data.classes), torch.tensor(run.subset)
    samplers = specialist.batch_samplers(
        labels, subset, run.generalist.stream_seed, run.recipe.batch_size, run.special_in_batch, runner.examples(run)
    )
    for sampler, side in zip(samplers, ("of", "outside"), strict=True):
        if not len(sampler.examples):
            raise UserError(
                "specialists.classes_per_specialist: there are no training images"
                f" {side} the classes of specialist {run.number}"
            )
    net = specialist.from_generalist(runner.net_of(run.generalist), subset, run.kind, run.dustbin_init)
    if run.kind == "dustbin":
        return Start(net, samplers, specialist.dustbin_labels(labels, subset, classes), specialist.hard_objective)
    if run.kind == "full softmax, hard targets":
        return Start(net, samplers, labels, specialist.hard_objective)
    special = ~specialist.outside(subset, classes).to(runner.compute.device)

    def regularized(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
        return specialist.soft_regularized_loss(
            logits, teacher, labels, special, run.temperature, run.hard_label_weight
        )

    return Start(net, samplers, labels, regularized, runner.predictions(run.generalist, "train"))
