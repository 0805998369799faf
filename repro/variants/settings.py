"""Settings of the variants; ``paper_configs/variants/*.toml`` hold their values."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from repro.config import Fraction, ResultsSuffix, Settings, Temperature, validate
from repro.data.sources import ImageSource
from repro.errors import UserError
from repro.training.recipe import Recipe
from repro.variants import methods
from repro.variants.models import Shape

# Beginnings of the rows that are no method's: a method's row of such a name would look like one of them.
RESERVED_NAMES = ("teacher", "born again", "born-again")


class ModelSettings(Settings):
    """A model and its training recipe."""

    shape: Shape = Field(
        description='Shape of the model, such as "conv:4", "mlp:800-800", "resnet:resnet8x4" or "torchvision:resnet18".'
    )
    recipe: Recipe = Field(description="How the model is trained.")

    @model_validator(mode="after")
    def _used(self) -> "ModelSettings":
        of_mlps = ("max_norm", "input_dropout", "hidden_dropout", "weight_averaging_fraction")
        for name in ("initial_weight_sd", *(of_mlps if self.shape.kind != "mlp" else ())):
            if getattr(self.recipe, name):
                raise ValueError(f"recipe.{name} must be left out for models of kind {self.shape.kind}")
        return self


class MethodSettings(Settings):
    """A method and the grid of its settings from which validation chooses."""

    renamed: ClassVar[dict[str, str]] = {"candidates": "grid"}

    name: str = Field(min_length=1, description="Name of the method in tables and figures.")
    method: str = Field(description="Name of the file in repro/variants/methods that implements the method.")
    grid: tuple[dict[str, Any], ...] = Field(
        ({},),
        min_length=1,
        max_length=50,
        description="Settings that are tried; the one with fewest validation errors is used. "
        "Default: the method's default settings, without a search.",
    )

    @model_validator(mode="after")
    def _known(self) -> "MethodSettings":
        try:
            known = methods.find(self.method).Options
        except UserError as error:
            raise ValueError(str(error)) from error
        for options in self.grid:
            for former, present in known.renamed.items():
                if former in options:
                    raise ValueError(f"grid: {former} is now called {present}")
            try:
                validate(known, options)
            except UserError as error:
                raise ValueError(f"grid: {error}") from error
        return self


class Sequential(Settings):
    """Soft targets passed on through several models: born-again generations and teacher assistants."""

    renamed: ClassVar[dict[str, str]] = {"generations": "born_again_generations"}

    born_again_generations: int = Field(
        3, ge=0, le=10, description="Number of born-again students, each distilled from the previous one. Default: 3."
    )
    assistants: tuple[Annotated[tuple[Shape, ...], Field(min_length=1)], ...] = Field(
        (),
        description="Teacher assistants: a list of shapes, from large to small, for each row of the table. "
        "Default: no rows.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> "Sequential":
        if len(set(self.assistants)) < len(self.assistants):
            raise ValueError("assistants: no two rows must have the same shapes")
        return self


class CapacityGap(Settings):
    """Ablation of the capacity gap: every teacher with every student, and teachers stopped early."""

    renamed: ClassVar[dict[str, str]] = {"shortened": "early_stopped_fractions"}

    teachers: tuple[Shape, ...] = Field((), description="Shapes of the teachers. Default: none.")
    students: tuple[Shape, ...] = Field((), description="Shapes of the students. Default: none.")
    early_stopped_fractions: tuple[Fraction, ...] = Field(
        (), description="Fractions of the teacher's epochs after which further teachers stop. Default: none."
    )


class TemperatureSweep(Settings):
    """Ablation of the temperature against the size of the student and against the weight of the hard labels."""

    renamed: ClassVar[dict[str, str]] = {"values": "temperatures", "hard_weights": "hard_label_weights"}

    temperatures: tuple[Temperature, ...] = Field((), description="Temperatures of the sweep. Default: none.")
    students: tuple[Shape, ...] = Field((), description="Shapes of the students of the sweep. Default: none.")
    hard_label_weights: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (), description="Weights of the hard labels of the sweep, for the student of the testbed. Default: none."
    )


class TeacherViews(Settings):
    """Ablation of the view that the teacher sees: the student's, another augmentation, or the original image."""

    epochs: tuple[Annotated[float, Field(gt=0, le=10_000)], ...] = Field(
        (), description="Epochs of the students, one group of students for each number. Default: none."
    )


class VariantsSettings(Settings):
    """A testbed (data, teacher and student) and the methods and ablations compared on it."""

    renamed: ClassVar[dict[str, str]] = {
        "chains": "sequential", "gap": "capacity_gap", "temperatures": "temperature_sweep", "views": "teacher_views",
        "study_seeds": "ablation_seeds", "cost_steps": "timing_steps", "train_cases": "max_train_examples",
    }  # fmt: skip

    results_suffix: ResultsSuffix = ""
    data: ImageSource = Field(description="Data set of the testbed.")
    max_train_examples: int | None = Field(
        None, ge=10, description="Number of training images, drawn at random. Default: all."
    )
    seeds: int = Field(ge=1, le=100, description="Number of students, each of another seed, per method.")
    search_seeds: int = Field(
        1, ge=1, le=100, description="Number of students with each entry of a grid, on validation images. Default: 1."
    )
    teacher: ModelSettings = Field(description="Teacher of the testbed; there is one, of one seed.")
    student: ModelSettings = Field(description="Student of the testbed, the same for all methods.")
    methods: tuple[MethodSettings, ...] = Field(min_length=1, description="Methods that are compared.")
    sequential: Sequential = Field(Sequential(), description="Methods that train several models in sequence.")
    capacity_gap: CapacityGap = Field(CapacityGap(), description="Ablation of teacher and student sizes.")
    temperature_sweep: TemperatureSweep = Field(TemperatureSweep(), description="Ablation of the temperature.")
    teacher_views: TeacherViews = Field(TeacherViews(), description="Ablation of the view that the teacher sees.")
    ablation_seeds: int = Field(3, ge=1, le=100, description="Number of seeds per cell of the ablations. Default: 3.")
    feature_cache_gb: float = Field(
        4.0,
        ge=0,
        le=10_000,
        description="Most GB of disk for features of the testbed's convolutional teacher, which all students of a seed "
        "share; they are removed when training ends. 0 for none. Default: 4.",
    )
    timing_steps: int = Field(
        10, ge=1, le=10_000, description="Number of training steps over which a method is timed. Default: 10."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "VariantsSettings":
        names = [method.name for method in self.methods]
        for name in names:
            if name.startswith(RESERVED_NAMES):
                raise ValueError(f"methods: no name must begin with {', '.join(RESERVED_NAMES)}; not {name!r}")
        if len(set(names)) != len(names):
            raise ValueError("methods: no two must have the same name")
        sizes = {method.name: len(method.grid) for method in self.methods if method.method != "none"}
        if len(set(sizes.values())) > 1:
            named = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ValueError(f"methods: all grids must be of one size, or the comparison is not fair; not {named}")
        if "kd" not in {method.method for method in self.methods}:
            raise ValueError("methods: kd must be among them; the others are compared with it")
        return self

    @property
    def baseline(self) -> MethodSettings:
        """Vanilla KD, with which all methods are compared: the first method of this kind."""
        return next(method for method in self.methods if method.method == "kd")
