"""Settings of section 3; ``paper_configs/mnist/*.toml`` hold their values."""

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from repro.config import HIGHEST_TEMPERATURE, Settings
from repro.training.recipe import Recipe

Units = tuple[int, ...]


def _checked_temperature(temperature: float) -> float:
    if not 0 < temperature <= HIGHEST_TEMPERATURE and temperature != math.inf:
        raise ValueError(f"a temperature must be above 0 and at most {HIGHEST_TEMPERATURE:g}, or inf")
    return temperature


class ModelConfig(Settings):
    """A fully connected ReLU network and how it is trained."""

    hidden: Units = Field(min_length=1, max_length=8, description="Units of each hidden layer, e.g. [800, 800].")
    recipe: Recipe = Field(description="How the network is trained.")

    @field_validator("hidden")
    @classmethod
    def _positive(cls, hidden: Units) -> Units:
        if not all(1 <= units <= 20_000 for units in hidden):
            raise ValueError("every hidden layer must have 1 to 20000 units")
        return hidden


class StudentConfig(ModelConfig):
    """A network trained on soft targets."""

    renamed: ClassVar[dict[str, str]] = {"hard_weight": "hard_label_weight"}
    temperature: float = Field(gt=0, description="Temperature T of the soft targets; inf is logit regression.")
    hard_label_weight: float = Field(ge=0, le=1, description="Weight w in (1 - w) T^2 KL(soft) + w CE(hard).")

    @field_validator("temperature")
    @classmethod
    def _in_range(cls, temperature: float) -> float:
        return _checked_temperature(temperature)


class Width(Settings):
    """One width of the temperature sweep: two hidden layers of this many units."""

    renamed: ClassVar[dict[str, str]] = {"units": "hidden_units"}
    hidden_units: int = Field(ge=1, le=20_000, description="Units of each of the two hidden layers.")
    recipe: Recipe = Field(description="How the networks of this width are trained.")


class TemperatureSweep(Settings):
    """Students of several widths at several temperatures."""

    renamed: ClassVar[dict[str, str]] = {"extra_temperatures": "widest_only_temperatures"}
    widths: tuple[Width, ...] = Field(min_length=1, description="Widths of the students.")
    temperatures: tuple[float, ...] = Field(min_length=2, description="Temperatures tried at every width.")
    widest_only_temperatures: tuple[float, ...] = Field(
        (), description="Further temperatures for the widest students; inf is logit regression. Default: none."
    )
    hard_label_weight: float = Field(ge=0, le=1, description="Weight of the hard labels, alike for all students.")

    @field_validator("temperatures", "widest_only_temperatures")
    @classmethod
    def _positive(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        _different(temperatures, "temperatures")
        return tuple(map(_checked_temperature, temperatures))

    @field_validator("widths")
    @classmethod
    def _distinct(cls, widths: tuple[Width, ...]) -> tuple[Width, ...]:
        _different((width.hidden_units for width in widths), "widths")
        return widths


def _different(values: Iterable[float | str], kind: str) -> None:
    values = list(values)
    if len(set(values)) != len(values):
        raise ValueError(f"no two {kind} may be the same")


class BiasShift(Settings):
    """Bias shifts that are tried, from ``min`` to ``max``."""

    min: float = Field(ge=-50, lt=0, description="Lowest shift, in logits; below 0.")
    max: float = Field(gt=0, le=50, description="Highest shift, in logits; above 0.")
    step: float = Field(ge=0.01, le=1, description="Distance between two shifts, in logits.")


class MissingClasses(StudentConfig):
    """A student whose transfer set holds some classes only, and the bias shifts tried on it."""

    renamed: ClassVar[dict[str, str]] = {
        "kept": "transfer_classes", "shifted": "shift_classes", "lowest_shift": "bias_shift.min",
        "highest_shift": "bias_shift.max", "shift_step": "bias_shift.step",
    }  # fmt: skip
    transfer_classes: tuple[int, ...] = Field(min_length=1, max_length=10, description="Classes in the transfer set.")
    shift_classes: tuple[int, ...] = Field(min_length=1, max_length=10, description="Classes whose bias is shifted.")
    bias_shift: BiasShift = Field(description="Bias shifts that are tried.")

    @model_validator(mode="after")
    def _consistent(self) -> "MissingClasses":
        if not set(self.transfer_classes + self.shift_classes) <= set(range(10)):
            raise ValueError("transfer_classes and shift_classes must be digits 0 to 9")
        return self


class DataFraction(Settings):
    """A fraction of the training split and how long networks are trained on it."""

    renamed: ClassVar[dict[str, str]] = {"share": "fraction"}
    fraction: float = Field(gt=0, le=1, description="Fraction of the 50,000 training images.")
    epochs: float = Field(gt=0, le=10_000, description="Epochs over that fraction.")


class DataFractions(StudentConfig):
    """Soft and hard targets on less and less data; each fraction sets ``recipe.epochs``."""

    renamed: ClassVar[dict[str, str]] = {"sizes": "fractions"}
    fractions: tuple[DataFraction, ...] = Field(min_length=1, description="Fractions of the training split.")

    @field_validator("fractions")
    @classmethod
    def _distinct(cls, fractions: tuple[DataFraction, ...]) -> tuple[DataFraction, ...]:
        _different((item.fraction for item in fractions), "fractions")
        return fractions


class Common(Settings):
    """Settings of every MNIST command."""

    renamed: ClassVar[dict[str, str]] = {
        "population_weights": "max_batched_params", "curve_points": "num_evals", "train_cases": "max_train_examples",
        "temperatures": "temperature_sweep", "no3": "without_3", "only78": "only_7_8", "sizes": "data_fractions",
    }  # fmt: skip
    seeds: int = Field(ge=1, le=100, description="Number of seeds of every run.")
    max_batched_params: int = Field(
        4_000_000, ge=1, description="Parameters of the networks that are trained together, at most. Default: 4000000."
    )
    batch_seeds: bool = Field(
        False, description="Train the networks of all seeds together, which pays on a GPU. Default: false."
    )
    num_evals: int = Field(
        20, ge=1, le=1000, description="Number of evaluations during training, evenly spaced. Default: 20."
    )
    max_train_examples: int = Field(
        60_000, ge=600, le=60_000, description="Training images used; fewer only for a quick check. Default: 60000."
    )


class Candidate(Settings):
    """A recipe of the search: trained on the training split, judged on the validation split."""

    renamed: ClassVar[dict[str, str]] = {"role": "kind", "net": "model"}
    name: str = Field(min_length=1, description="Name of the candidate in the table.")
    kind: Literal["teacher", "baseline", "distilled"] = Field(description="Network that the recipe is for.")
    model: StudentConfig = Field(description="The network and its recipe.")
    teacher: str = Field(
        "", description="Name of the candidate that a distilled network learns from. Default: the first teacher."
    )


class ChoiceSettings(Common):
    """Recipes tried for a profile. Students learn from the first teacher or from the one that they name."""

    candidates: tuple[Candidate, ...] = Field(min_length=1, description="The recipes, a teacher before its students.")

    @field_validator("candidates")
    @classmethod
    def _teacher_first(cls, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        _different((candidate.name for candidate in candidates), "names")
        kinds = [candidate.kind for candidate in candidates]
        if "distilled" in kinds and "teacher" not in kinds[: kinds.index("distilled")]:
            raise ValueError("a teacher must come before the first distilled candidate")
        teachers: set[str] = set()
        for candidate in candidates:
            if candidate.teacher and (candidate.kind != "distilled" or candidate.teacher not in teachers):
                raise ValueError(f"{candidate.name}: teacher must name a teacher before a distilled candidate")
            teachers |= {candidate.name} if candidate.kind == "teacher" else set()
        return candidates


class Ablations(Settings):
    """Ablations of the distilled network: students whose teacher, width or soft targets differ."""

    teacher_epochs: tuple[float, ...] = Field((), description="Epochs of further teachers. Default: none.")
    ensemble_size: int | None = Field(
        None,
        ge=2,
        le=100,
        description="Teachers whose mean logits a further student learns from, at most seeds. Default: none.",
    )

    @field_validator("teacher_epochs")
    @classmethod
    def _distinct(cls, epochs: tuple[float, ...]) -> tuple[float, ...]:
        _different(epochs, "teacher_epochs")
        if not all(0 < count <= 10_000 for count in epochs):
            raise ValueError("teacher_epochs must be above 0 and at most 10000")
        return epochs


class MnistSettings(Common):
    """All of section 3."""

    ablation_seeds: int | None = Field(
        None, ge=1, le=100, description="Seeds of all but the headline networks, at most seeds. Default: all seeds."
    )
    teacher: ModelConfig = Field(description="The large regularized network.")
    baseline: ModelConfig = Field(description="The small network on hard targets.")
    distilled: StudentConfig = Field(description="The small network on soft targets.")
    temperature_sweep: TemperatureSweep = Field(description="Students by width and temperature.")
    without_3: MissingClasses = Field(description="Students that never see a 3.")
    only_7_8: MissingClasses = Field(description="Students that see only 7s and 8s.")
    data_fractions: DataFractions = Field(description="Soft and hard targets on less data.")
    ablations: Ablations | None = Field(None, description="Ablations of the distilled network. Default: none.")

    @model_validator(mode="after")
    def _no_more_than_teachers(self) -> "MnistSettings":
        if self.ablation_seeds is not None and self.ablation_seeds > self.seeds:
            raise ValueError("ablation_seeds must be at most seeds")
        return self

    @property
    def num_ablation_seeds(self) -> int:
        """Number of seeds of all but the headline networks."""
        return self.ablation_seeds or self.seeds
