"""Section 3, top to bottom: what is trained, in which order.

``make mnist`` gives, over 10 seeds: teacher 69.9 test errors (paper: 67), 2x800 on hard targets 150.3 (146), distilled
79.8 (74), 0.88 of the gap closed (0.91); see results/mnist/paper. Tables, figures and verdicts are made from the
records by ``repro.report``.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from repro.engine.runner import Diverged
from repro.mnist.runner import MnistRunner
from repro.mnist.runs import PIXELS_TRANSLATED, Arm, EnsembleStudent, Run
from repro.mnist.settings import ChoiceSettings, MissingClasses, MnistSettings


def run(settings: MnistSettings, runner: MnistRunner, headline: Callable[[list[dict[str, Any]]], None]) -> None:
    """Train all of section 3.

    ``headline`` is called with the records so far after the first seeds, as many as are trained side by side, and after
    the last. What the paper reports comes first, the ablations last.
    """
    heads = [headline_runs(settings, seed) for seed in range(settings.seeds)]
    seeds = range(settings.num_ablation_seeds)
    stages = [
        [run for seed in seeds for run in missing_class_runs(settings, seed)],
        [run for seed in seeds for run in data_fraction_runs(settings, seed)],
        sorted((run for seed in seeds for run in temperature_runs(settings, seed)), key=lambda run: run.hidden),
        [run for seed in seeds for run in ablation_runs(settings, seed)],
    ]
    runner.expect(itertools.chain(*heads, *stages))
    first = settings.seeds if settings.batch_seeds else runner.executor.max_in_flight
    for batch in (heads[:first], heads[first:]):
        if batch:
            runner.execute([run for head in batch for run in head])
            headline(list(runner.finished.values()))
    for stage in stages:
        runner.execute(stage)


def choose(settings: ChoiceSettings, runner: MnistRunner, headline: Callable[[list[dict[str, Any]]], None]) -> None:
    """Train the candidate recipes on the training split and judge them on the validation split.

    Teachers are trained first, and ``headline`` is called with their records. Candidates that diverge are skipped, and
    with a teacher its students.
    """
    runs = search_runs(settings)
    runner.expect(runs)
    diverged: set[Run] = set()
    for is_student in (False, True):
        candidates = [run for run in runs if (run.teacher is not None) == is_student and run.teacher not in diverged]
        try:
            runner.execute(candidates)
        except Diverged:
            diverged |= _execute_each(candidates, runner)
        if not is_student:
            headline(list(runner.finished.values()))


def _execute_each(candidates: list[Run], runner: MnistRunner) -> set[Run]:
    """Train one candidate after the other, so that one that diverges does not end the others; return those that do."""
    by_name: dict[tuple, list[Run]] = defaultdict(list)
    for candidate in candidates:
        by_name[candidate.params].append(candidate)
    diverged: set[Run] = set()
    for params, seeds in by_name.items():
        try:
            runner.execute(seeds)
        except Diverged as error:
            runner.progress.say(f"{dict(params)['name']}: skipped; {error}")
            diverged.update(seeds)
    return diverged


def teacher_run(settings: MnistSettings, seed: int) -> Run:
    """2x1200 with dropout, weight constraint and translations."""
    model = settings.teacher
    return Run(
        arm=Arm.TEACHER, hidden=model.hidden, recipe=model.recipe, seed=seed, num_evals=settings.num_evals,
        translated_test=True, seeds=settings.seeds,
    )  # fmt: skip


def headline_runs(settings: MnistSettings, seed: int) -> list[Run]:
    """Teacher, the small network on hard targets, distilled, and distilled on soft targets alone."""
    teacher, small, plain = teacher_run(settings, seed), settings.distilled, settings.baseline
    shared: dict[str, Any] = {
        "seed": seed, "num_evals": settings.num_evals, "translated_test": True, "seeds": settings.seeds
    }  # fmt: skip
    soft = shared | {"hidden": small.hidden, "recipe": small.recipe, "temperature": small.temperature}
    baseline = Run(arm=Arm.BASELINE, hidden=plain.hidden, recipe=plain.recipe, **shared)
    student = Run(arm=Arm.DISTILLED, hard_label_weight=small.hard_label_weight, teacher=teacher, **soft)
    soft_only = Run(arm=Arm.DISTILLED_SOFT_ONLY, hard_label_weight=0.0, teacher=teacher, **soft)
    return [teacher, baseline, student] + ([soft_only] if small.hard_label_weight else [])


def ablation_runs(settings: MnistSettings, seed: int) -> list[Run]:
    """Ablations of the distilled network, to see what carries the teacher's knowledge over.

    Other teachers, trained for fewer or more epochs; the mean of several teachers; the teacher's width; soft targets
    averaged over the translations of an image; and a transfer set with translations, each with its own soft targets.
    """
    ablations, model = settings.ablations, settings.distilled
    if ablations is None:
        return []
    teacher, seeds = teacher_run(settings, seed), settings.num_ablation_seeds
    student = Run(
        arm=Arm.TEACHER_WIDTH, hidden=teacher.hidden, recipe=model.recipe, seed=seed, temperature=model.temperature,
        hard_label_weight=model.hard_label_weight, teacher=teacher, translated_test=True, seeds=seeds,
    )  # fmt: skip
    small = replace(student, hidden=model.hidden)
    runs = []
    for epochs in ablations.teacher_epochs:
        params = (("teacher_epochs", epochs),)
        recipe = teacher.recipe.model_copy(update={"epochs": epochs})
        other = replace(teacher, arm=Arm.OTHER_TEACHER, recipe=recipe, num_evals=1, seeds=seeds, params=params)
        runs += [other, replace(small, arm=Arm.OF_OTHER_TEACHER, teacher=other, params=params)]
    size = min(ablations.ensemble_size or 1, settings.seeds)
    if others := tuple(teacher_run(settings, (seed + k) % settings.seeds) for k in range(1, size)):
        of_one = {item.name: getattr(small, item.name) for item in fields(small)}
        runs.append(EnsembleStudent(**of_one | {"arm": Arm.OF_SEVERAL_TEACHERS}, other_teachers=others))
    translated = model.recipe.model_copy(update={"max_translation": PIXELS_TRANSLATED})
    return [
        *runs, student,
        replace(small, arm=Arm.MEAN_OF_TRANSLATIONS, targets="mean of translations"),
        replace(small, arm=Arm.TRANSLATED_TRANSFER_SET, recipe=translated, targets="translations"),
    ]  # fmt: skip


def temperature_runs(settings: MnistSettings, seed: int) -> list[Run]:
    """Every width at every temperature and on hard targets; logit regression at the largest width."""
    sweep, runs = settings.temperature_sweep, []
    widest = max(width.hidden_units for width in sweep.widths)
    for width in sweep.widths:
        shared: dict[str, Any] = {"hidden": (width.hidden_units,) * 2, "recipe": width.recipe, "seed": seed}
        shared["seeds"] = settings.num_ablation_seeds
        temperatures = sweep.temperatures
        if width.hidden_units == widest:
            temperatures += sweep.widest_only_temperatures
        runs.append(Run(arm=Arm.WIDTH_HARD_TARGETS, **shared))
        shared |= {"hard_label_weight": sweep.hard_label_weight, "teacher": teacher_run(settings, seed)}
        runs += [Run(arm=Arm.TEMPERATURE_SWEEP, temperature=temperature, **shared) for temperature in temperatures]
    return runs


def missing_class_runs(settings: MnistSettings, seed: int) -> list[Run]:
    """Students whose transfer set lacks classes, each twice.

    The first is trained on all images and judged on the test set; the second on the training split, to choose the bias
    shift on the validation split.
    """
    transfer_sets: list[tuple[MissingClasses, Arm, Arm]] = [
        (settings.without_3, Arm.WITHOUT_3, Arm.WITHOUT_3_VALIDATION),
        (settings.only_7_8, Arm.ONLY_7_8, Arm.ONLY_7_8_VALIDATION),
    ]
    runs = []
    for study, on_test, on_validation in transfer_sets:
        shared: dict[str, Any] = {
            "hidden": study.hidden, "recipe": study.recipe, "seed": seed, "temperature": study.temperature,
            "hard_label_weight": study.hard_label_weight, "teacher": teacher_run(settings, seed),
            "transfer_classes": study.transfer_classes, "seeds": settings.num_ablation_seeds,
            "shifts": (study.shift_classes, study.bias_shift.min, study.bias_shift.max, study.bias_shift.step),
        }  # fmt: skip
        runs += [Run(arm=on_test, **shared), Run(arm=on_validation, split="train", **shared)]
    return runs


def data_fraction_runs(settings: MnistSettings, seed: int) -> list[Run]:
    """Soft and hard targets on fractions of the training split; each run gives its last and its best epoch."""
    study, runs = settings.data_fractions, []
    for item in study.fractions:
        shared: dict[str, Any] = {
            "arm": Arm.DATA_FRACTION, "hidden": study.hidden, "seed": seed, "split": "train",
            "recipe": study.recipe.model_copy(update={"epochs": item.epochs}), "fraction": item.fraction,
            "early_stopping": True, "num_evals": settings.num_evals, "seeds": settings.num_ablation_seeds,
        }  # fmt: skip
        soft: dict[str, Any] = {"temperature": study.temperature, "hard_label_weight": study.hard_label_weight}
        runs.append(Run(params=(("targets", "hard"),), **shared))
        runs.append(Run(params=(("targets", "soft"),), teacher=teacher_run(settings, seed), **soft, **shared))
    return runs


def search_runs(settings: ChoiceSettings) -> list[Run]:
    """One run for each candidate and seed; students learn from the first teacher or the one they name."""
    runs: list[Run] = []
    teachers: dict[tuple[str, int], Run] = {}
    for candidate, seed in itertools.product(settings.candidates, range(settings.seeds)):
        model = candidate.model
        options: dict[str, Any] = {}
        if candidate.kind == "distilled":
            options = {"temperature": model.temperature, "hard_label_weight": model.hard_label_weight,
                       "teacher": teachers[candidate.teacher, seed]}  # fmt: skip
        runs.append(
            Run(arm=Arm.SEARCH, hidden=model.hidden, recipe=model.recipe, seed=seed, split="train",
                num_evals=settings.num_evals, params=(("name", candidate.name),), seeds=settings.seeds, **options)
        )  # fmt: skip
        if candidate.kind == "teacher":
            teachers.setdefault(("", seed), runs[-1])
            teachers[candidate.name, seed] = runs[-1]
    return runs
