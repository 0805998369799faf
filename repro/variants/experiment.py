"""The variants, top to bottom: what is trained, in which order.

A teacher; for every method its candidates, judged on validation; the students of the chosen ones, seed by seed;
soft targets passed on; what the methods cost; and the studies. All students of a bench have the same shape, the same
order of cases, the same views and the same number of steps.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from repro.variants.nets import Shape
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Cost, Ensemble, Net
from repro.variants.settings import MethodPlan, VariantsSettings

Records = list[dict[str, Any]]
# Candidates are judged on a seed that no student has.
CHOICE_SEED = 900
# Furlanello et al. 2018 add the labels' cross-entropy to the teacher's, and soften neither.
BORN_AGAIN = json.dumps({"hard_weight": 0.5, "temperature": 1.0})


def run(settings: VariantsSettings, runner: VariantsRunner, headline: Callable[[Records], None]) -> None:
    """All of it. ``headline`` is called with the records so far once every method's students stand."""
    one = teacher(settings)
    runner.expect([one, *(net for plan in settings.methods for net in candidates(settings, plan))])
    runner.carry_out([one])
    options = {plan.name: choose(settings, runner, plan) for plan in settings.methods}
    rows = [net for plan in settings.methods if options[plan.name] is not None
            for net in students(settings, plan, options[plan.name])]  # fmt: skip
    runner.expect(rows)
    runner.carry_out(rows)
    headline(list(runner.finished.values()))
    soft = next(options[plan.name] for plan in settings.methods if plan.method == "soft_targets")
    if soft is None:
        return
    stages = [chains(settings, soft), gap(settings, soft), temperatures(settings, soft), views(settings, soft)]
    runner.expect([net for stage in stages for net in stage])
    for stage in stages:
        runner.carry_out(stage)
    runner.carry_out(ensembles(settings))
    runner.carry_out(costs(settings, options))


def teacher(settings: VariantsSettings, shape: Shape | None = None, share: float = 1.0) -> Net:
    """The teacher, or one of another shape, or one that is trained for a share of the epochs."""
    recipe = settings.teacher.recipe
    if share != 1:
        recipe = recipe.model_copy(update={"epochs": share * recipe.epochs})
    return Net("teacher", shape or settings.teacher.shape, recipe, 0)


def student(settings: VariantsSettings, role: str, seed: int, **changed: Any) -> Net:
    """A student; without distillation unless told otherwise. No student's seed is the teacher's."""
    count = {"seeds": settings.study_seeds} | changed
    return replace(Net(role, settings.student.shape, settings.student.recipe, 1 + seed), **count)


def by_method(settings: VariantsSettings, plan: MethodPlan, options: str) -> dict[str, Any]:
    """What a method changes of a student."""
    from repro.variants import methods

    taught = teacher(settings) if methods.find(plan.method).has_teacher else None
    return {"method": plan.method, "options": options, "teacher": taught}


def candidates(settings: VariantsSettings, plan: MethodPlan) -> list[Net]:
    """A student for each setting of a method's that is tried; none where there is nothing to choose."""
    if len(plan.candidates) == 1:
        return []
    role = f"candidate: {plan.name}"
    return [student(settings, role, CHOICE_SEED, seeds=1, **by_method(settings, plan, plain(candidate)))
            for candidate in plan.candidates]  # fmt: skip


def choose(settings: VariantsSettings, runner: VariantsRunner, plan: MethodPlan) -> str | None:
    """The candidate with fewest validation errors; None while they are not finished."""
    if len(plan.candidates) == 1:
        return plain(plan.candidates[0])
    nets = candidates(settings, plan)
    records = runner.carry_out(nets)
    if len(records) < len(nets):
        return None
    errors = [(record["metrics"]["validation_errors"], record["metrics"]["validation_nll"]) for record in records]
    return nets[errors.index(min(errors))].options


def plain(options: dict[str, Any]) -> str:
    """Options as JSON, one text for the same options."""
    return json.dumps(options, sort_keys=True)


def students(settings: VariantsSettings, plan: MethodPlan, options: str) -> list[Net]:
    """A method's row: every seed."""
    changed = by_method(settings, plan, options) | {"seeds": settings.seeds}
    return [student(settings, plan.name, seed, **changed) for seed in range(settings.seeds)]


def chains(settings: VariantsSettings, soft: str) -> list[Net]:
    """Born-again generations, and students by way of assistants; each net after its teacher."""
    nets: list[Net] = []
    for seed in range(settings.seeds):
        nets += generations(settings, seed)
    for assistants in settings.chains.assistants:
        taught = teacher(settings)
        for shape in assistants:
            taught = Net("assistant", shape, settings.student.recipe, 0, "soft_targets", soft, taught)
            nets.append(taught)
        role = f"by way of {len(assistants)} assistant{'s' if len(assistants) > 1 else ''}"
        by = {"method": "soft_targets", "options": soft, "teacher": taught, "seeds": settings.seeds}
        nets += [student(settings, role, seed, **by) for seed in range(settings.seeds)]
    return nets


def generations(settings: VariantsSettings, seed: int) -> list[Net]:
    """A student without distillation, and its born-again successors, of other initial weights each."""
    first = next((plan.name for plan in settings.methods if plan.method == "none"), "generation 0")
    nets = [student(settings, first, seed, seeds=settings.seeds)]
    for number in range(1, settings.chains.generations + 1):
        by = {"method": "soft_targets", "options": BORN_AGAIN, "teacher": nets[-1], "seeds": settings.seeds}
        nets.append(student(settings, f"born again, generation {number}", seed + 100 * number, **by))
    return nets


def ensembles(settings: VariantsSettings) -> list[Ensemble]:
    """Born-again generations, averaged."""
    if not settings.chains.generations:
        return []
    role = f"born again, mean of {settings.chains.generations}"
    return [Ensemble(role, tuple(generations(settings, seed)[1:]), settings.seeds) for seed in range(settings.seeds)]


def gap(settings: VariantsSettings, soft: str) -> list[Net]:
    """Every teacher with every student, each student without a teacher, and teachers that were stopped early."""
    own, nets, seeds = settings.gap, [], range(settings.study_seeds)
    for shape in own.students:
        nets += [student(settings, "gap, no teacher", seed, shape=shape) for seed in seeds]
    for large in own.teachers:
        taught = teacher(settings, large)
        nets.append(taught)
        for shape in own.students:
            by = {"method": "soft_targets", "options": soft, "teacher": taught, "shape": shape}
            nets += [student(settings, "gap", seed, **by) for seed in seeds]
    for share in own.shortened:
        taught = teacher(settings, share=share)
        nets.append(taught)
        by = {"method": "soft_targets", "options": soft, "teacher": taught}
        nets += [student(settings, "gap, early-stopped teacher", seed, **by) for seed in seeds]
    return nets


def temperatures(settings: VariantsSettings, soft: str) -> list[Net]:
    """Every temperature with every size of student, and with every weight of the labels."""
    own, nets, chosen = settings.temperatures, [], json.loads(soft)
    by = {"method": "soft_targets", "teacher": teacher(settings)}
    for value in own.values:
        for seed in range(settings.study_seeds):
            for shape in own.students:
                options = plain(chosen | {"temperature": value})
                nets.append(student(settings, "temperature and size", seed, shape=shape, options=options, **by))
            for weight in own.hard_weights:
                options = plain({"temperature": value, "hard_weight": weight})
                nets.append(student(settings, "temperature and weight", seed, options=options, **by))
    return nets


def views(settings: VariantsSettings, soft: str) -> list[Net]:
    """What the teacher is shown, over short and long training; and a student whose images are not shifted."""
    nets = []
    by = {"method": "soft_targets", "options": soft, "teacher": teacher(settings)}
    for epochs in settings.views.epochs:
        recipe = settings.student.recipe.model_copy(update={"epochs": epochs})
        still = recipe.model_copy(update={"jitter": 0})
        for seed in range(settings.study_seeds):
            nets += [student(settings, "view", seed, recipe=recipe, view=view, **by)
                     for view in ("same", "different", "fixed")]  # fmt: skip
            nets.append(student(settings, "view", seed, recipe=still, view="fixed", **by))
            nets.append(student(settings, "view, no teacher", seed, recipe=recipe))
    return nets


def costs(settings: VariantsSettings, options: dict[str, str | None]) -> list[Cost]:
    """Each method's steps beside those of plain distillation."""
    plans = [plan for plan in settings.methods if options[plan.name] is not None]
    first = {plan.name: students(settings, plan, options[plan.name])[0] for plan in plans}
    soft = next(plan.name for plan in plans if plan.method == "soft_targets")
    return [Cost(f"cost: {name}", net, first[soft]) for name, net in first.items()]
