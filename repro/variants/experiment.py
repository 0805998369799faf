"""Comparison of later distillation methods: what is trained, in which order.

First the teacher and the search of KD's settings on validation images; the students with and without KD, one for each
seed; the search over the grid of each other method, then its students; born-again and teacher-assistant sequences;
timings; ablations, with their teachers. All students of a testbed have the same shape, order of examples, augmentation
and number of steps.

Committed results (test accuracy in %, five seeds, one teacher; in parentheses the difference from KD, 95% CI):

    MNIST      teacher 98.88, KD 98.65, no KD 98.40 (-0.25 [-0.31, -0.18]); no row is significantly better than KD
    icons      teacher 52.01, KD 23.94, no KD 20.62 (-3.32 [-4.52, -2.12]); DIST alone is: 26.76 (+2.82 [1.63, 4.02])
    icons, 20 epochs
               teacher 54.61, KD 41.70, no KD 39.78 (-1.92 [-2.52, -1.31]); DIST alone is: 43.15 (+1.45 [0.84, 2.05])
    CIFAR-100  teacher 48.72, KD 23.67, no KD 20.70 (-2.96 [-3.73, -2.20]); DIST alone is: 24.78 (+1.12 [0.36, 1.88])
"""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from repro.config_search import FIRST_SEARCH_SEED
from repro.errors import UserError
from repro.variants import ablations, methods
from repro.variants.check import check
from repro.variants.models import Shape
from repro.variants.runner import VariantsRunner
from repro.variants.runs import (
    GENERATION_SEEDS,
    Arm,
    EnsembleRun,
    NetRun,
    TimingRun,
    label,
    student,
    teacher_run,
    to_json,
)
from repro.variants.settings import MethodSettings, VariantsSettings

Records = list[dict[str, Any]]
RUNS_OF_A_WORKER = 4  # in a search; the fewer, the longer workers wait for the last of them
# Furlanello et al. 2018 add the cross-entropy with the labels to that with the teacher, without a temperature.
BORN_AGAIN = json.dumps({"hard_label_weight": 0.5, "temperature": 1.0})


def run(settings: VariantsSettings, runner: VariantsRunner, headline: Callable[[Records], None]) -> None:
    """Run the whole experiment. ``headline`` is called with the records so far once all methods' students are trained.

    With ``report_only`` it ends early where a search is not finished: at once for KD's, else before the ablations, of
    which students of methods may be a part.
    """
    check(settings, runner.data)
    kd = settings.baseline
    runner.expect([teacher_run(settings), *search_runs(settings, kd, None)])
    runner.execute([teacher_run(settings)])
    kd_options = choose(settings, runner, kd, None)
    if kd_options is None:
        return
    rows = train_methods(settings, runner, kd_options)
    headline(list(runner.finished.values()))
    if len(rows) < len(settings.methods):
        return
    in_sequence = sequential(settings, kd_options)
    in_ablations = ablations.runs(settings, kd_options)
    runner.expect([*in_sequence, *in_ablations])
    runner.execute(in_sequence)
    runner.execute(born_again_ensembles(settings))
    runner.execute(timings(settings, [nets[0] for nets in rows.values()], kd_options))
    runner.execute(in_ablations)


def method_fields(settings: VariantsSettings, method: MethodSettings, options: str) -> dict[str, Any]:
    """Return the fields of a student that a method determines."""
    teacher = teacher_run(settings) if methods.find(method.method).has_teacher else None
    return {"method": method.method, "options": options, "teacher": teacher, "params": (("name", method.name),)}


def grid(method: MethodSettings, kd_options: str | None) -> list[str]:
    """Return the settings of a method that are tried, as JSON.

    Options that a method shares with KD and that its grid does not name are those chosen for KD, so that rows differ in
    the method alone.
    """
    of_kd = json.loads(kd_options) if kd_options else {}
    shared = {name: of_kd[name] for name in methods.find(method.method).shared_options if name in of_kd}
    return [to_json(shared | options) for options in method.grid]


def search_runs(settings: VariantsSettings, method: MethodSettings, kd_options: str | None) -> list[NetRun]:
    """Return students for each entry of a method's grid, one entry after another; none if it has a single entry."""
    entries, count = grid(method, kd_options), settings.search_seeds
    if len(entries) == 1:
        return []
    return [
        student(settings, Arm.SEARCH, FIRST_SEARCH_SEED + seed, seeds=count, **method_fields(settings, method, options))
        for options in entries
        for seed in range(count)
    ]


def choose(
    settings: VariantsSettings, runner: VariantsRunner, method: MethodSettings, kd_options: str | None
) -> str | None:
    """Return the entry of a method's grid with fewest validation errors in the mean over the seeds of the search.

    It is None while the search is not finished. An entry diverges if training does for any seed.

    Raises:
        UserError: every entry diverges.
    """
    nets = search_runs(settings, method, kd_options)
    if not nets:
        return grid(method, kd_options)[0]
    records = runner.execute(nets)
    if len(records) < len(nets):
        return None
    scores = np.array([_validation_score(record["metrics"]) for record in records])
    means = [tuple(mean) for mean in scores.reshape(-1, settings.search_seeds, 2).mean(1).tolist()]
    best = min(means)
    if best == (math.inf, math.inf):
        raise UserError(f"methods: {method.name}: every entry of its grid diverged; lower student.recipe.learning_rate")
    return grid(method, kd_options)[means.index(best)]


def _validation_score(metrics: dict[str, Any]) -> tuple[float, float]:
    """Return errors and loss, by which ties are broken."""
    if "diverged" in metrics:
        return math.inf, math.inf
    return metrics["validation_errors"], metrics["validation_nll"]


def train_methods(settings: VariantsSettings, runner: VariantsRunner, kd_options: str) -> dict[str, list[NetRun]]:
    """Train KD's students, then search and train the other methods, few at a time so that rows are finished early.

    Returns:
        The students by the method's name, KD's included; methods whose search is not finished are absent.
    """
    kd = settings.baseline
    others = sorted((method for method in settings.methods if method != kd), key=lambda method: len(method.grid) > 1)
    rows = {kd.name: students(settings, kd, kd_options)}
    # Until a search is finished, the work ahead is estimated with the first entry of its grid.
    expected = [net for method in others for net in students(settings, method, grid(method, kd_options)[0])]
    searches = {method.name: search_runs(settings, method, kd_options) for method in others}
    runner.expect([*rows[kd.name], *expected, *(net for nets in searches.values() for net in nets)])
    ready = rows[kd.name]
    for together in batched(others, searches, runner.executor.max_in_flight):
        # Methods are searched while the students of those before are trained.
        runner.execute([*ready, *(net for method in together for net in searches[method.name])])
        ready = []
        for method in together:
            options = choose(settings, runner, method, kd_options)
            if options is not None:
                rows[method.name] = students(settings, method, options)
                ready += rows[method.name]
    runner.execute(ready)
    return rows


def batched(
    others: list[MethodSettings], searches: dict[str, list[NetRun]], workers: int
) -> list[list[MethodSettings]]:
    """Return methods in batches whose searches have several runs for each worker, so that few workers are idle."""
    batches: list[list[MethodSettings]] = [[]]
    for method in others:
        if sum(len(searches[other.name]) for other in batches[-1]) >= RUNS_OF_A_WORKER * workers:
            batches.append([])
        batches[-1].append(method)
    return batches


def students(settings: VariantsSettings, method: MethodSettings, options: str) -> list[NetRun]:
    """Return the students of a method, one for each seed."""
    fields = method_fields(settings, method, options) | {"seeds": settings.seeds}
    return [student(settings, Arm.METHOD, seed, **fields) for seed in range(settings.seeds)]


def sequential(settings: VariantsSettings, kd_options: str) -> list[NetRun]:
    """Return born-again generations and students of teacher assistants, each model after its teacher."""
    by_seed = [born_again(settings, seed) for seed in range(settings.seeds)]
    nets = [net for generation in zip(*by_seed, strict=True) for net in generation]
    for shapes in settings.sequential.assistants:
        sequences = [teacher_assistants(settings, shapes, kd_options, seed) for seed in range(settings.seeds)]
        nets += [*sequences[0][:-1], *(sequence[-1] for sequence in sequences)]
    return nets


def teacher_assistants(
    settings: VariantsSettings, shapes: tuple[Shape, ...], kd_options: str, seed: int
) -> list[NetRun]:
    """Return assistants, each distilled from the previous one, and the student distilled from the last of them."""
    teacher, nets = teacher_run(settings), []
    for shape in shapes:
        teacher = NetRun(Arm.ASSISTANT, shape, settings.student.recipe, 0, "kd", kd_options, teacher)
        nets.append(teacher)
    params: tuple[tuple[str, Any], ...] = (("assistants", len(shapes)),)
    if [len(row) for row in settings.sequential.assistants].count(len(shapes)) > 1:
        params += (("shapes", ", ".join(map(str, shapes))),)
    fields = {"method": "kd", "options": kd_options, "teacher": teacher, "seeds": settings.seeds, "params": params}
    return [*nets, student(settings, Arm.TEACHER_ASSISTANT, seed, **fields)]


def born_again(settings: VariantsSettings, seed: int) -> list[NetRun]:
    """Return a student without distillation and its born-again successors.

    Each generation starts from other initial weights; it sees the examples in the order of the other rows' seed.
    """
    without_kd = next((method for method in settings.methods if method.method == "none"), None)
    if without_kd is None:
        nets = [student(settings, Arm.BORN_AGAIN, seed, seeds=settings.seeds, params=(("generation", 0),))]
    else:
        nets = [student(settings, Arm.METHOD, seed, seeds=settings.seeds, params=(("name", without_kd.name),))]
    fields = {"method": "kd", "options": BORN_AGAIN, "seeds": settings.seeds, "order": nets[0].seed}
    for number in range(1, settings.sequential.born_again_generations + 1):
        params = (("generation", number),)
        teacher = nets[-1]
        nets.append(
            student(
                settings, Arm.BORN_AGAIN, seed + GENERATION_SEEDS * number, teacher=teacher, params=params, **fields
            )
        )
    return nets


def born_again_ensembles(settings: VariantsSettings) -> list[EnsembleRun]:
    """Return the ensemble of all born-again generations of each seed."""
    size = settings.sequential.born_again_generations
    if not size:
        return []
    params = (("size", size),)
    return [
        EnsembleRun(Arm.BORN_AGAIN_ENSEMBLE, tuple(born_again(settings, seed)[1:]), settings.seeds, params)
        for seed in range(settings.seeds)
    ]


def timings(settings: VariantsSettings, nets: list[NetRun], kd_options: str) -> list[TimingRun]:
    """Return the timing of each row: of one model, or of all models that were trained in sequence for it.

    The training of the testbed's teacher is not counted for any row. ``nets`` are one student of each method.
    """
    kd = next(net for net in nets if dict(net.params)["name"] == settings.baseline.name)
    generations = born_again(settings, 0)
    timed: list[tuple[NetRun | EnsembleRun, tuple[NetRun, ...]]] = [(net, (net,)) for net in nets]
    timed += [(net, tuple(generations[: number + 1])) for number, net in enumerate(generations) if number]
    timed += [(ensemble, tuple(generations)) for ensemble in born_again_ensembles(settings)[:1]]
    for shapes in settings.sequential.assistants:
        sequence = teacher_assistants(settings, shapes, kd_options, 0)
        timed.append((sequence[-1], tuple(sequence)))
    return [TimingRun(Arm.TIMING, trained, kd, params=(("row", _row(run)),)) for run, trained in timed]


def _row(run: NetRun | EnsembleRun) -> str:
    return label(run.arm, dict(run.params))
