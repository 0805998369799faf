"""What section 3 trains: a run is everything that determines one network."""

from dataclasses import dataclass, field, replace
from typing import Literal

from repro.training.recipe import Recipe

PIXELS, CLASSES = 784, 10

ALL_CLASSES = tuple(range(CLASSES))


@dataclass(frozen=True)
class Run:
    """All that determines a net, but for the data and the code."""

    arm: str
    hidden: tuple[int, ...]
    recipe: Recipe
    seed: int
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    teacher: "Run | None" = None
    split: Literal["all", "train"] = "all"
    kept: tuple[int, ...] = ALL_CLASSES
    share: float = 1.0
    early_stopping: bool = False
    num_evals: int = 1
    shifts: tuple[tuple[int, ...], float, float, float] | None = field(default=None)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of every layer."""
        return (PIXELS, *self.hidden, CLASSES)

    def population_key(self) -> tuple:
        """Runs that agree in this see the same batches in the same steps and are trained as one population."""
        alike = replace(self, arm="", temperature=1.0, hard_label_weight=1.0, shifts=None)
        return (
            *(
                getattr(alike, name)
                for name in ("hidden", "seed", "split", "kept", "share", "early_stopping", "num_evals")
            ),
            self.recipe.model_dump_json(),
            self.seed if self.teacher is None else self.teacher.seed,  # plain nets go along with students
        )
