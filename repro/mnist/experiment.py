"""Section 3, top to bottom: what is trained, in which order.

A population of nets at a time, each kept when it is finished; the headline comes first. Tables, figures and
verdicts are made from the records alone, by ``repro.report``.
"""

import itertools
from collections.abc import Callable
from typing import Any

from repro.mnist.runner import MnistRunner
from repro.mnist.runs import Run
from repro.mnist.settings import ChoiceSettings, Missing, MnistSettings


def run(settings: MnistSettings, runner: MnistRunner, headline: Callable[[list[dict[str, Any]]], None]) -> None:
    """All of section 3. ``headline`` is called with the records so far once the first seed is done, and
    again after all seeds. The longest, the widest nets of the temperature sweep, come last."""
    seeds = range(settings.seeds)
    stages = [
        [r for s in seeds for part in ("no3", "only78") for r in missing_runs(settings, part, s)],
        [r for s in seeds for r in size_runs(settings, s)],
        sorted((r for s in seeds for r in temperature_runs(settings, s)), key=lambda r: r.hidden),
    ]
    heads = [headline_runs(settings, s) for s in seeds]
    everything = list(itertools.chain(*heads, *stages))
    runner.expect(everything)
    for seed in seeds:
        runner.execute(heads[seed][:1])
        runner.execute(heads[seed][1:])
        if seed in (0, settings.seeds - 1):
            headline(list(runner.finished.values()))
    for stage in stages:
        runner.execute(stage)


def choose(settings: ChoiceSettings, runner: MnistRunner) -> None:
    """The recipes that were tried on the training split and judged on the validation split."""
    runs = choice_runs(settings)
    runner.expect(runs)
    for one in runs:
        runner.execute([one])


def teacher_run(settings: MnistSettings, seed: int) -> Run:
    """2x1200 with dropout, weight constraint and jitter."""
    return Run("teacher", settings.teacher.hidden, settings.teacher.recipe, seed, num_evals=settings.num_evals)


def headline_runs(settings: MnistSettings, seed: int) -> list[Run]:
    """Teacher, plain small net, the same net distilled; and distilled on soft targets alone."""
    teacher, small = teacher_run(settings, seed), settings.distilled
    num_evals, net = settings.num_evals, (small.hidden, small.recipe, seed, small.temperature)
    student = Run("distilled", *net, small.hard_label_weight, teacher, num_evals=num_evals)
    alone = Run("distilled, soft targets only", *net, 0.0, teacher, num_evals=num_evals)
    baseline = Run("baseline", settings.baseline.hidden, settings.baseline.recipe, seed, num_evals=num_evals)
    return [teacher, baseline, student] + ([alone] if small.hard_label_weight else [])


def temperature_runs(settings: MnistSettings, seed: int) -> list[Run]:
    """Every width at every temperature, and plain; logit regression at the largest width."""
    sweep, runs = settings.temperatures, []
    for width in sweep.widths:
        hidden = (width.units, width.units)
        temperatures = sweep.temperatures
        if width.units == max(w.units for w in sweep.widths):
            temperatures += sweep.extra_temperatures
        runs.append(Run("width, hard targets", hidden, width.recipe, seed))
        runs += [
            Run(
                "width x temperature",
                hidden,
                width.recipe,
                seed,
                t,
                sweep.hard_label_weight,
                teacher_run(settings, seed),
            )
            for t in temperatures
        ]
    return runs


def missing_runs(settings: MnistSettings, part: str, seed: int) -> list[Run]:
    """A student whose transfer set lacks classes, twice: on all cases, to be judged on the test set; and
    on the training split, to choose the bias shift on the validation split."""
    study: Missing = getattr(settings, part)
    shifts = (study.shifted, study.lowest_shift, study.highest_shift, study.shift_step)
    options: dict[str, Any] = {"teacher": teacher_run(settings, seed), "kept": study.kept, "shifts": shifts}
    net = (study.hidden, study.recipe, seed, study.temperature, study.hard_label_weight)
    return [Run(part, *net, **options), Run(f"{part}, to choose the shift", *net, split="train", **options)]


def size_runs(settings: MnistSettings, seed: int) -> list[Run]:
    """Soft and hard targets on shares of the training split, last epoch and early-stopped from one run."""
    study, runs = settings.sizes, []
    for size in study.sizes:
        recipe = study.recipe.model_copy(update={"epochs": size.epochs})
        options: dict[str, Any] = {
            "split": "train",
            "share": size.share,
            "early_stopping": True,
            "num_evals": settings.num_evals,
        }
        soft = (study.temperature, study.hard_label_weight, teacher_run(settings, seed))
        runs.append(Run("share of the data, hard targets", study.hidden, recipe, seed, **options))
        runs.append(Run("share of the data, soft targets", study.hidden, recipe, seed, *soft, **options))
    return runs


def choice_runs(settings: ChoiceSettings) -> list[Run]:
    """One run for each candidate and seed; students learn from the first teacher among the candidates."""
    runs: list[Run] = []
    teachers: dict[int, Run] = {}
    for candidate, seed in itertools.product(settings.candidates, range(settings.seeds)):
        net, arm = candidate.net, f"candidate: {candidate.name}"
        if candidate.arm == "distilled":
            soft = (net.temperature, net.hard_label_weight, teachers[seed])
            runs.append(Run(arm, net.hidden, net.recipe, seed, *soft, split="train", num_evals=settings.num_evals))
        else:
            runs.append(Run(arm, net.hidden, net.recipe, seed, split="train", num_evals=settings.num_evals))
            if candidate.arm == "teacher":
                teachers.setdefault(seed, runs[-1])
    return runs
