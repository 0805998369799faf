"""Ablations of the variants: capacity gap, temperature, view of the teacher."""

import json
from typing import Any, get_args

from repro.variants.runs import Arm, NetRun, student, teacher_run, to_json
from repro.variants.settings import VariantsSettings
from repro.variants.training import View


def runs(settings: VariantsSettings, kd_options: str) -> list[NetRun]:
    """Return all runs of the ablations, teachers first."""
    return [
        *teachers(settings),
        *capacity_gap(settings, kd_options),
        *temperature_sweep(settings, kd_options),
        *teacher_views(settings, kd_options),
    ]


def teachers(settings: VariantsSettings) -> list[NetRun]:
    """Return the teachers of the capacity-gap ablation: of other sizes, and stopped early."""
    gap = settings.capacity_gap
    stopped = [teacher_run(settings, fraction=fraction) for fraction in gap.early_stopped_fractions]
    return [*(teacher_run(settings, shape) for shape in gap.teachers), *stopped]


def capacity_gap(settings: VariantsSettings, kd_options: str) -> list[NetRun]:
    """Return every student without a teacher, with every teacher, and with teachers that were stopped early."""
    gap, seeds = settings.capacity_gap, range(settings.ablation_seeds)
    nets: list[NetRun] = []

    def add(distilled_from: str, **fields: Any) -> None:
        params = (("distilled_from", distilled_from),)
        nets.extend(student(settings, Arm.CAPACITY_GAP, seed, params=params, **fields) for seed in seeds)

    for shape in gap.students:
        add("no teacher", shape=shape)
    for large in gap.teachers:
        for shape in gap.students:
            add("teacher", shape=shape, method="kd", options=kd_options, teacher=teacher_run(settings, large))
    for fraction in gap.early_stopped_fractions:
        teacher = teacher_run(settings, fraction=fraction)
        add("early-stopped teacher", method="kd", options=kd_options, teacher=teacher)
    return nets


def temperature_sweep(settings: VariantsSettings, kd_options: str) -> list[NetRun]:
    """Return students of every temperature with every size, and with every weight of the hard labels."""
    sweep, nets, chosen = settings.temperature_sweep, [], json.loads(kd_options)
    by_size: dict[str, Any] = {"method": "kd", "teacher": teacher_run(settings)}
    by_weight = by_size | {"params": (("varied", "hard-label weight"),)}
    by_size |= {"params": (("varied", "student size"),)}
    for temperature in sweep.temperatures:
        for seed in range(settings.ablation_seeds):
            for shape in sweep.students:
                options = to_json(chosen | {"temperature": temperature})
                nets.append(student(settings, Arm.TEMPERATURE_SWEEP, seed, shape=shape, options=options, **by_size))
            for weight in sweep.hard_label_weights:
                options = to_json({"temperature": temperature, "hard_label_weight": weight})
                nets.append(student(settings, Arm.TEMPERATURE_SWEEP, seed, options=options, **by_weight))
    return nets


def teacher_views(settings: VariantsSettings, kd_options: str) -> list[NetRun]:
    """Return students by the view that their teacher sees, and students without a teacher, by number of epochs."""
    nets = []
    distilled = {"method": "kd", "options": kd_options, "teacher": teacher_run(settings)}
    distilled |= {"params": (("distilled_from", "teacher"),)}
    alone = {"params": (("distilled_from", "no teacher"),)}
    views_alone: tuple[View, ...] = ("same", "still")
    for epochs in settings.teacher_views.epochs:
        recipe = settings.student.recipe.model_copy(update={"epochs": epochs})
        for seed in range(settings.ablation_seeds):
            for fields, views in ((distilled, get_args(View)), (alone, views_alone)):
                nets += [
                    student(settings, Arm.TEACHER_VIEW, seed, recipe=recipe, view=view, **fields) for view in views
                ]
    return nets
