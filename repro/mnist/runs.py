"""Runs of section 3: a run is everything that determines one network."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from repro.training.recipe import Recipe

PIXELS, CLASSES = 784, 10
# Largest translation in pixels, each way, of the transfer set and of the test images where they are translated.
PIXELS_TRANSLATED = 2
ALL_CLASSES = tuple(range(CLASSES))


class Arm(StrEnum):
    """Experimental arms of section 3."""

    TEACHER = "teacher"
    BASELINE = "baseline"
    DISTILLED = "distilled"
    DISTILLED_SOFT_ONLY = "distilled_soft_only"
    TEMPERATURE_SWEEP = "temperature_sweep"
    WIDTH_HARD_TARGETS = "width_hard_targets"
    WITHOUT_3 = "without_3"
    WITHOUT_3_VALIDATION = "without_3_validation"
    ONLY_7_8 = "only_7_8"
    ONLY_7_8_VALIDATION = "only_7_8_validation"
    DATA_FRACTION = "data_fraction"
    OTHER_TEACHER = "other_teacher"
    OF_OTHER_TEACHER = "of_other_teacher"
    TEACHER_WIDTH = "teacher_width"
    MEAN_OF_TRANSLATIONS = "mean_of_translations"
    TRANSLATED_TRANSFER_SET = "translated_transfer_set"
    OF_SEVERAL_TEACHERS = "of_several_teachers"
    SEARCH = "search"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that determines a network except the data and the code.

    ``params`` tells runs of one arm apart in tables, and ``seeds`` says how many seeds a table needs; neither enters
    the run's key.
    """

    arm: Arm
    hidden: tuple[int, ...]
    recipe: Recipe
    seed: int
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    teacher: "Run | None" = None
    split: Literal["all", "train"] = "all"
    transfer_classes: tuple[int, ...] = ALL_CLASSES
    fraction: float = 1.0
    early_stopping: bool = False
    num_evals: int = 1
    # The teacher's logits on the images themselves, their mean over all translations of an image by up to two pixels,
    # or those on the translated image that the student sees.
    targets: Literal["images", "mean of translations", "translations"] = "images"
    # Whether the errors on translated test images are counted, too.
    translated_test: bool = False
    # Classes whose bias is shifted; lowest, highest and step of the shifts.
    shifts: tuple[tuple[int, ...], float, float, float] | None = None
    params: tuple[tuple[str, Any], ...] = field(default=(), compare=False)
    seeds: int = field(default=1, compare=False)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of every layer."""
        return (PIXELS, *self.hidden, CLASSES)

    @property
    def teachers(self) -> tuple["Run", ...]:
        """The networks whose mean logits are the soft targets; none on hard targets."""
        return () if self.teacher is None else (self.teacher,)

    def batch_key(self, batch_seeds: bool = False) -> tuple:
        """Runs that agree in this are trained together: they take the same steps, on the same batches too unless
        ``batch_seeds``."""
        alike = replace(self, arm=Arm.TEACHER, temperature=1.0, hard_label_weight=1.0, shifts=None)
        names = ("hidden", "split", "transfer_classes", "fraction", "early_stopping", "num_evals", "targets",
                 "translated_test")  # fmt: skip
        return (
            *(getattr(alike, name) for name in names),
            None if self.targets == "images" else self.teacher,
            self.recipe.model_dump_json(),
            # Networks on hard targets go with students.
            None if batch_seeds else (self.seed, self.seed if self.teacher is None else self.teacher.seed),
        )


@dataclass(frozen=True, kw_only=True)
class EnsembleStudent(Run):
    """A student of the mean of several teachers' logits on the images."""

    other_teachers: tuple[Run, ...]

    @property
    def teachers(self) -> tuple[Run, ...]:
        """The networks whose mean logits are the soft targets."""
        return (*super().teachers, *self.other_teachers)
