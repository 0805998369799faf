"""The variants, top to bottom: what is trained, in which order.

The teachers; for every method its candidates, plain distillation's first, judged on validation; the students of the
chosen ones; soft targets passed on; what all these cost; the studies. All students of a bench have the same shape, the
same order of cases, the same views and the same number of steps.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from repro.errors import UserError
from repro.variants import methods
from repro.variants.models import Shape
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Cost, Ensemble, Net, teacher
from repro.variants.settings import MethodPlan, VariantsSettings
from repro.variants.training import View

Records = list[dict[str, Any]]
# Candidates are judged on a seed that no student has.
CHOICE_SEED = 900
# Furlanello et al. 2018 add the labels' cross-entropy to the teacher's, and soften neither.
BORN_AGAIN = json.dumps({"hard_label_weight": 0.5, "temperature": 1.0})


def run(settings: VariantsSettings, runner: VariantsRunner, headline: Callable[[Records], None]) -> None:
    """All of it. ``headline`` is called with the records so far once every method's students stand."""
    runner.check()
    base = settings.baseline
    teachers = [teacher(settings), *other_teachers(settings)]
    runner.expect([*teachers, *candidates(settings, base, None)])
    runner.execute(teachers)
    soft = choose(settings, runner, base, None)
    if soft is None:
        return
    others = [plan for plan in settings.methods if plan != base]
    to_choose = [net for plan in others for net in candidates(settings, plan, soft)]
    likely = {plan.name: soft if plan == base else tried(plan, soft)[0] for plan in settings.methods}
    rows = [net for plan in settings.methods for net in students(settings, plan, likely[plan.name])]
    runner.expect([*to_choose, *rows])
    runner.execute(to_choose)
    chosen = {base.name: soft} | {plan.name: choose(settings, runner, plan, soft) for plan in others}
    options = {name: one for name, one in chosen.items() if one is not None}
    plans = [plan for plan in settings.methods if plan.name in options]
    runner.execute([net for plan in plans for net in students(settings, plan, options[plan.name])])
    headline(list(runner.finished.values()))
    passed_on = chains(settings, soft)
    studies = [*gap(settings, soft), *temperatures(settings, soft), *views(settings, soft)]
    runner.expect([*passed_on, *studies])
    runner.execute(passed_on)
    runner.execute(ensembles(settings))
    runner.execute(costs(settings, [students(settings, plan, options[plan.name])[0] for plan in plans], soft))
    runner.execute(studies)


def student(settings: VariantsSettings, arm: str, seed: int, **changed: Any) -> Net:
    """A student; without distillation unless told otherwise. No student's seed is the teacher's."""
    count = {"seeds": settings.study_seeds} | changed
    return replace(Net(arm, settings.student.shape, settings.student.recipe, 1 + seed), **count)


def by_method(settings: VariantsSettings, plan: MethodPlan, options: str) -> dict[str, Any]:
    """What a method changes of a student."""
    taught = teacher(settings) if methods.find(plan.method).has_teacher else None
    return {"method": plan.method, "options": options, "teacher": taught}


def tried(plan: MethodPlan, soft: str | None) -> list[str]:
    """The settings of a method that are tried; what it shares with plain distillation, and does not name, is what was
    chosen there, so that rows differ in the method alone."""
    shared = json.loads(soft) if soft else {}
    shared = {name: shared[name] for name in methods.find(plan.method).shared_options if name in shared}
    return [plain(shared | candidate) for candidate in plan.candidates]


def candidates(settings: VariantsSettings, plan: MethodPlan, soft: str | None) -> list[Net]:
    """A student for each setting of a method's that is tried; none where there is nothing to choose."""
    options = tried(plan, soft)
    if len(options) == 1:
        return []
    arm = f"candidate: {plan.name}"
    return [student(settings, arm, CHOICE_SEED, seeds=1, **by_method(settings, plan, one)) for one in options]


def choose(settings: VariantsSettings, runner: VariantsRunner, plan: MethodPlan, soft: str | None) -> str | None:
    """The candidate with fewest validation errors; None while they are not finished.

    Raises:
        UserError: none of them was trained to its end.
    """
    nets = candidates(settings, plan, soft)
    if not nets:
        return tried(plan, soft)[0]
    records = runner.execute(nets)
    if len(records) < len(nets):
        return None
    found = [record["metrics"] for record in records]
    if all("diverged" in one for one in found):
        raise UserError(f"methods: {plan.name}: every candidate diverged; lower student.recipe.learning_rate")
    errors = [(one["validation_errors"], one["validation_nll"]) if "diverged" not in one else (math.inf,)
              for one in found]  # fmt: skip
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
    nets = [net for seed in range(settings.seeds) for net in generations(settings, seed)]
    for assistants in settings.chains.assistants:
        ways = [by_way_of(settings, assistants, soft, seed) for seed in range(settings.seeds)]
        nets += [*ways[0][:-1], *(way[-1] for way in ways)]
    return nets


def by_way_of(settings: VariantsSettings, assistants: tuple[Shape, ...], soft: str, seed: int) -> list[Net]:
    """Assistants, each taught by the one before, and the student that the last of them teaches."""
    taught, nets = teacher(settings), []
    for shape in assistants:
        taught = Net("assistant", shape, settings.student.recipe, 0, "kd", soft, taught)
        nets.append(taught)
    arm = f"by way of {len(assistants)} assistant{'s' if len(assistants) > 1 else ''}"
    if [len(one) for one in settings.chains.assistants].count(len(assistants)) > 1:
        arm += f" ({', '.join(map(str, assistants))})"
    by = {"method": "kd", "options": soft, "teacher": taught, "seeds": settings.seeds}
    return [*nets, student(settings, arm, seed, **by)]


def generations(settings: VariantsSettings, seed: int) -> list[Net]:
    """A student without distillation, and its born-again successors, of other initial weights each; they see what the
    other rows of the seed see."""
    first = next((plan.name for plan in settings.methods if plan.method == "none"), "born again, generation 0")
    nets = [student(settings, first, seed, seeds=settings.seeds)]
    for number in range(1, settings.chains.generations + 1):
        by = {"method": "kd", "options": BORN_AGAIN, "teacher": nets[-1], "seeds": settings.seeds}
        name = f"born again, generation {number}"
        nets.append(student(settings, name, seed + 1000 * number, order=nets[0].seed, **by))
    return nets


def ensembles(settings: VariantsSettings) -> list[Ensemble]:
    """Born-again generations, averaged."""
    if not settings.chains.generations:
        return []
    arm = f"born again, mean of {settings.chains.generations}"
    return [Ensemble(arm, tuple(generations(settings, seed)[1:]), settings.seeds) for seed in range(settings.seeds)]


def other_teachers(settings: VariantsSettings) -> list[Net]:
    """Of other sizes, and stopped early."""
    own = settings.gap
    return [teacher(settings, shape) for shape in own.teachers] + [teacher(settings, share=s) for s in own.shortened]


def gap(settings: VariantsSettings, soft: str) -> list[Net]:
    """Every teacher with every student, each student without a teacher, and teachers that were stopped early."""
    own, nets, seeds = settings.gap, [], range(settings.study_seeds)
    for shape in own.students:
        nets += [student(settings, "gap, no teacher", seed, shape=shape) for seed in seeds]
    for large in own.teachers:
        taught = teacher(settings, large)
        for shape in own.students:
            by = {"method": "kd", "options": soft, "teacher": taught, "shape": shape}
            nets += [student(settings, "gap", seed, **by) for seed in seeds]
    for share in own.shortened:
        taught = teacher(settings, share=share)
        by = {"method": "kd", "options": soft, "teacher": taught}
        nets += [student(settings, "gap, early-stopped teacher", seed, **by) for seed in seeds]
    return nets


def temperatures(settings: VariantsSettings, soft: str) -> list[Net]:
    """Every temperature with every size of student, and with every weight of the labels."""
    own, nets, chosen = settings.temperatures, [], json.loads(soft)
    by = {"method": "kd", "teacher": teacher(settings)}
    for value in own.values:
        for seed in range(settings.study_seeds):
            for shape in own.students:
                options = plain(chosen | {"temperature": value})
                nets.append(student(settings, "temperature and size", seed, shape=shape, options=options, **by))
            for weight in own.hard_weights:
                options = plain({"temperature": value, "hard_label_weight": weight})
                nets.append(student(settings, "temperature and weight", seed, options=options, **by))
    return nets


def views(settings: VariantsSettings, soft: str) -> list[Net]:
    """What the teacher is shown, over short and long training; students whose images are not shifted; and both kinds of
    students without a teacher."""
    nets = []
    by = {"method": "kd", "options": soft, "teacher": teacher(settings)}
    for epochs in settings.views.epochs:
        recipe = settings.student.recipe.model_copy(update={"epochs": epochs})
        for seed in range(settings.study_seeds):
            nets += [student(settings, "view", seed, recipe=recipe, view=view, **by) for view in get_args(View)]
            shown: tuple[View, ...] = ("same", "still")
            nets += [student(settings, "view, no teacher", seed, recipe=recipe, view=view) for view in shown]
    return nets


def costs(settings: VariantsSettings, rows: list[Net], soft: str) -> list[Cost]:
    """A step of each row's, or of all nets that were trained one after the other for it, beside one of plain
    distillation's; the teacher's own training is nobody's."""
    plain_net = next(net for net in rows if net.arm == settings.baseline.name)
    found = [Cost(f"cost: {net.arm}", (net,), plain_net) for net in rows]
    born = generations(settings, 0)
    found += [
        Cost(f"cost: {net.arm}", tuple(born[: number + 1]), plain_net) for number, net in enumerate(born) if number
    ]
    found += [Cost(f"cost: {one.arm}", tuple(born), plain_net) for one in ensembles(settings)[:1]]
    for assistants in settings.chains.assistants:
        way = by_way_of(settings, assistants, soft, 0)
        found.append(Cost(f"cost: {way[-1].arm}", tuple(way), plain_net))
    return found
