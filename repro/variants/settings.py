"""The settings of the variants; ``paper_configs/variants/*.toml`` hold their values."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from repro.config import Settings
from repro.data.sources import ImageSource
from repro.errors import UserError
from repro.training.recipe import Recipe
from repro.variants import methods
from repro.variants.models import Shape

Share = Annotated[float, Field(gt=0, le=1)]


# What no method's row may be called: studies and rows that are no method's begin so.
RESERVED = ("teacher", "assistant", "gap", "temperature", "view", "candidate", "cost", "born again", "by way of")


class Plan(Settings):
    """A net, and how it is trained, to the end."""

    shape: Shape
    recipe: Recipe

    @model_validator(mode="after")
    def _used(self) -> "Plan":
        convolutional = ("max_norm", "input_dropout", "hidden_dropout", "weight_averaging_fraction")
        unused = ("initial_weight_sd", *(convolutional if self.shape.width else ()))
        for name in unused:
            if getattr(self.recipe, name):
                raise ValueError(f"recipe.{name} should be left out for {self.shape.kind} nets of the variants")
        return self


class MethodPlan(Settings):
    """A row: a method, and the settings of it that validation chooses from."""

    name: str = Field(min_length=1, description="what the row is called")
    method: str = Field(description="a file of repro/variants/methods")
    candidates: tuple[dict[str, Any], ...] = Field(({},), min_length=1, max_length=50)

    @model_validator(mode="after")
    def _known(self) -> "MethodPlan":
        try:
            for candidate in self.candidates:
                methods.find(self.method).Options.model_validate(candidate)
        except UserError as error:
            raise ValueError(str(error)) from error
        return self


class Chains(Settings):
    """Rows that are soft targets passed on: from generation to generation, or by way of assistants."""

    generations: int = Field(3, ge=0, le=10, description="born-again students, each taught by the one before")
    assistants: tuple[Annotated[tuple[Shape, ...], Field(min_length=1)], ...] = Field(
        (), description="of each row, from large to small"
    )

    @model_validator(mode="after")
    def _distinct(self) -> "Chains":
        if len(set(self.assistants)) < len(self.assistants):
            raise ValueError("assistants: no two rows should have the same")
        return self


class Gap(Settings):
    """Capacity gap: every teacher with every student, and teachers stopped early."""

    teachers: tuple[Shape, ...] = ()
    students: tuple[Shape, ...] = ()
    shortened: tuple[Share, ...] = Field((), description="shares of the teacher's epochs that a teacher is trained for")


class Temperatures(Settings):
    """Temperature against the student's size, and against the weight of the labels."""

    values: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = ()
    students: tuple[Shape, ...] = ()
    hard_weights: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()


class Views(Settings):
    """What the teacher is shown: the student's view, another, the image as it is; and no shifts for either."""

    epochs: tuple[Annotated[float, Field(gt=0, le=10_000)], ...] = Field((), description="of students; none: left out")


class VariantsSettings(Settings):
    """One test bench: data, teacher, student, and what is compared on it."""

    data: ImageSource
    train_cases: int | None = Field(None, ge=10, description="fewer training images; None: all")
    seeds: int = Field(ge=1, le=100)
    teacher: Plan
    student: Plan
    methods: tuple[MethodPlan, ...] = Field(min_length=1)
    chains: Chains = Chains()
    gap: Gap = Gap()
    temperatures: Temperatures = Temperatures()
    views: Views = Views()
    study_seeds: int = Field(3, ge=1, le=100, description="of the studies' cells")
    cost_steps: int = Field(10, ge=1, le=10_000, description="steps that a method's cost is timed over")

    @model_validator(mode="after")
    def _consistent(self) -> "VariantsSettings":
        names = [plan.name for plan in self.methods]
        for name in names:
            if name.startswith(RESERVED):
                raise ValueError(f"methods: name: no row may begin with {', '.join(RESERVED)}; not {name!r}")
        if len(set(names)) != len(names):
            raise ValueError("methods: no two should have the same name")
        budgets = {len(plan.candidates) for plan in self.methods if plan.method != "none"}
        if len(budgets) > 1:
            raise ValueError("methods: all but none should have as many candidates, or the comparison is not fair")
        if "kd" not in {plan.method for plan in self.methods}:
            raise ValueError("methods: kd should be among them; the others are compared with it")
        return self

    @property
    def baseline(self) -> MethodPlan:
        """Plain distillation, which all rows are compared with: the first row of soft targets."""
        return next(plan for plan in self.methods if plan.method == "kd")
