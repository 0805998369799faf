"""The settings of the MNIST experiments; ``paper_configs/mnist/*.toml`` hold their values."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, field_validator, model_validator

from repro.config import Settings
from repro.training.recipe import Recipe

Units = tuple[int, ...]


class Net(Settings):
    """A fully connected ReLU net and how it is trained."""

    hidden: Units = Field(min_length=1, max_length=8)
    recipe: Recipe

    @field_validator("hidden")
    @classmethod
    def _positive(cls, hidden: Units) -> Units:
        if not all(1 <= units <= 20_000 for units in hidden):
            raise ValueError("every hidden layer should have 1 to 20000 units")
        return hidden


class Student(Net):
    """A net trained on soft targets."""

    temperature: float = Field(gt=0, description="inf stands for logit regression")
    hard_label_weight: float = Field(ge=0, le=1, description="w in (1 - w) T^2 KL(soft) + w CE(hard)")


class Width(Settings):
    """One width of the temperature sweep: two hidden layers of so many units."""

    units: int = Field(ge=1, le=20_000)
    recipe: Recipe


class Temperatures(Settings):
    """Temperature x width."""

    widths: tuple[Width, ...] = Field(min_length=1)
    temperatures: tuple[float, ...] = Field(min_length=2, description="tried at every width")
    extra_temperatures: tuple[float, ...] = Field(
        (), description="tried at the largest width too; inf is logit regression"
    )
    hard_label_weight: float = Field(ge=0, le=1)

    @field_validator("temperatures", "extra_temperatures")
    @classmethod
    def _positive(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        if not all(temperature > 0 for temperature in temperatures):
            raise ValueError("temperatures should be above 0")
        _different(temperatures, "temperatures")
        return temperatures

    @field_validator("widths")
    @classmethod
    def _distinct(cls, widths: tuple[Width, ...]) -> tuple[Width, ...]:
        _different((width.units for width in widths), "widths")
        return widths


def _different(values: Iterable[float | str], what: str) -> None:
    values = list(values)
    if len(set(values)) != len(values):
        raise ValueError(f"no two {what} should be the same")


class Missing(Student):
    """A student whose transfer set keeps some classes only, and the bias shifts tried on it."""

    kept: tuple[int, ...] = Field(min_length=1, max_length=10)
    shifted: tuple[int, ...] = Field(min_length=1, max_length=10)
    lowest_shift: float = Field(ge=-50, le=50)
    highest_shift: float = Field(ge=-50, le=50)
    shift_step: float = Field(ge=0.01, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Missing":
        if not set(self.kept + self.shifted) <= set(range(10)):
            raise ValueError("kept and shifted classes should be digits 0 to 9")
        if not self.lowest_shift < 0 < self.highest_shift:
            raise ValueError("lowest_shift should be below 0 and highest_shift above it")
        return self


class Size(Settings):
    """A share of the training split and how long nets are trained on it."""

    share: float = Field(gt=0, le=1)
    epochs: float = Field(gt=0, le=10_000)


class Sizes(Student):
    """Soft against hard targets on less and less data; ``recipe.epochs`` is set by each size."""

    sizes: tuple[Size, ...] = Field(min_length=1)

    @field_validator("sizes")
    @classmethod
    def _distinct(cls, sizes: tuple[Size, ...]) -> tuple[Size, ...]:
        _different((size.share for size in sizes), "shares")
        return sizes


class Common(Settings):
    """What every MNIST command needs."""

    seeds: int = Field(ge=1, le=100)
    population_weights: int = Field(4_000_000, ge=1, description="weights trained together at the most")
    num_evals: int = Field(20, ge=1, le=1000, description="how often a run is evaluated on its way")
    train_cases: int = Field(60_000, ge=600, le=60_000, description="below 60000 for a quick look only")


class Candidate(Settings):
    """A recipe that was tried: trained on the training split, judged on the validation split."""

    name: str = Field(min_length=1)
    arm: Literal["teacher", "baseline", "distilled"]
    net: Student


class ChoiceSettings(Common):
    """The recipes tried for the paper profile. Students learn from the first teacher."""

    candidates: tuple[Candidate, ...] = Field(min_length=1)

    @field_validator("candidates")
    @classmethod
    def _teacher_first(cls, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        _different((candidate.name for candidate in candidates), "names")
        roles = [candidate.arm for candidate in candidates]
        if "distilled" in roles and "teacher" not in roles[: roles.index("distilled")]:
            raise ValueError("a teacher should come before the first distilled candidate")
        return candidates


class MnistSettings(Common):
    """All of section 3."""

    teacher: Net
    baseline: Net
    distilled: Student
    temperatures: Temperatures
    no3: Missing
    only78: Missing
    sizes: Sizes
