"""Runs of the variants: a run is everything that determines a model, an ensemble or a timing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from repro.config import Settings
from repro.training.recipe import Recipe
from repro.variants import methods
from repro.variants.models import Shape
from repro.variants.settings import VariantsSettings
from repro.variants.training import View

Params = tuple[tuple[str, Any], ...]
# Difference between the seeds of successive born-again generations, whose order of examples is that of the first.
GENERATION_SEEDS = 1000


class Arm(StrEnum):
    """Experimental arms. Their parameters are listed beside them."""

    TEACHER = "teacher"
    SEARCH = "search"  # name: of the method whose grid is searched
    METHOD = "method"  # name: of the method, as the profile has it
    ASSISTANT = "assistant"
    TEACHER_ASSISTANT = "teacher_assistant"  # assistants: how many; shapes: where two rows have as many
    BORN_AGAIN = "born_again"  # generation
    BORN_AGAIN_ENSEMBLE = "born_again_ensemble"  # size
    TIMING = "timing"  # row: label of the row that is timed
    CAPACITY_GAP = "capacity_gap"  # distilled_from: "no teacher", "teacher" or "early-stopped teacher"
    TEMPERATURE_SWEEP = "temperature_sweep"  # varied: "student size" or "hard-label weight"
    TEACHER_VIEW = "teacher_view"  # distilled_from: "no teacher" or "teacher"


# Text of each arm in tables, figures and progress messages; parameters are filled in.
LABELS = {
    Arm.TEACHER: "teacher",
    Arm.SEARCH: "search: {name}",
    Arm.METHOD: "{name}",
    Arm.ASSISTANT: "assistant",
    Arm.TEACHER_ASSISTANT: "teacher assistants ({assistants})",
    Arm.BORN_AGAIN: "born again, generation {generation}",
    Arm.BORN_AGAIN_ENSEMBLE: "born-again ensemble ({size})",
    Arm.TIMING: "timing: {row}",
    Arm.CAPACITY_GAP: "capacity gap, {distilled_from}",
    Arm.TEMPERATURE_SWEEP: "temperature by {varied}",
    Arm.TEACHER_VIEW: "teacher view, {distilled_from}",
}


def label(arm: str, params: Mapping[str, Any]) -> str:
    """Return the text of an arm with these parameters."""
    text = LABELS[Arm(arm)].format(**params)
    return f"{text}: {params['shapes']}" if "shapes" in params else text


@dataclass(frozen=True)
class NetRun:
    """A model trained by a method; ``options`` are the method's settings as JSON.

    ``seed`` draws the initial weights, and the order of examples and their augmentation too unless ``order`` is given.
    ``seeds`` is the number of runs that differ in their seed alone; neither it nor ``params`` enters the run's key.
    """

    arm: Arm
    shape: Shape
    recipe: Recipe
    seed: int
    method: str = "none"
    options: str = "{}"
    teacher: "NetRun | None" = None
    view: View = "same"
    order: int | None = None
    seeds: int = field(default=1, compare=False)
    params: Params = field(default=(), compare=False)

    @property
    def method_options(self) -> Settings:
        """All settings of the method, its defaults included."""
        return methods.find(self.method).Options(**json.loads(self.options))


@dataclass(frozen=True)
class EnsembleRun:
    """The arithmetic mean of the probabilities of several models."""

    arm: Arm
    nets: tuple[NetRun, ...]
    seeds: int = field(default=1, compare=False)
    params: Params = field(default=(), compare=False)

    @property
    def seed(self) -> int:
        """Seed of the first model."""
        return self.nets[0].seed


@dataclass(frozen=True)
class TimingRun:
    """Time and memory of a training step of models that are trained one after the other, relative to a step of KD."""

    arm: Arm
    nets: tuple[NetRun, ...]
    kd: NetRun
    seeds: int = field(default=1, compare=False)
    params: Params = field(default=(), compare=False)

    @property
    def seed(self) -> int:
        """Seed of the last model."""
        return self.nets[-1].seed


def teacher_run(settings: VariantsSettings, shape: Shape | None = None, fraction: float = 1.0) -> NetRun:
    """Return the teacher of the testbed, or one of another shape or one trained for a fraction of the epochs."""
    recipe = settings.teacher.recipe
    if fraction != 1:
        recipe = recipe.model_copy(update={"epochs": fraction * recipe.epochs})
    return NetRun(Arm.TEACHER, shape or settings.teacher.shape, recipe, 0)


def student(settings: VariantsSettings, arm: Arm, seed: int, **changed: Any) -> NetRun:
    """Return a student without distillation, or one in which the fields ``changed`` differ.

    The seed of a student is never the teacher's, which is 0.
    """
    net = NetRun(arm, settings.student.shape, settings.student.recipe, 1 + seed, seeds=settings.ablation_seeds)
    return replace(net, **changed)


def to_json(options: dict[str, Any]) -> str:
    """Return options as JSON; equal options give equal text."""
    return json.dumps(options, sort_keys=True)


Run = NetRun | EnsembleRun | TimingRun
