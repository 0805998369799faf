"""The runs of the speech experiment: what determines each."""

from dataclasses import dataclass, field, replace

from repro.speech.ensemble_targets import Mean
from repro.training.recipe import Recipe


@dataclass(frozen=True)
class Net:
    """An acoustic model, on a share of train's utterances; ``draw`` decides which these are, and their order.

    ``seed`` decides its initial weights, alone. ``teacher`` is what its soft targets come from. ``seeds`` is how
    many nets of its kind there are, which says nothing of the net.
    """

    arm: str
    hidden: tuple[int, ...]
    recipe: Recipe
    seed: int
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    teacher: "Ensemble | None" = None
    share: float = 1.0
    draw: int = 0
    early_stopping: bool = False
    num_evals: int = 1
    seeds: int = field(default=1, compare=False)

    def population_key(self) -> tuple:
        """Nets that agree in this take their steps together."""
        teacher = None if self.teacher is None else self.teacher.nets
        recipe = self.recipe.model_dump_json()
        return self.hidden, recipe, teacher, self.share, self.draw, self.early_stopping, self.num_evals


@dataclass(frozen=True)
class Ensemble:
    """The mean of some nets' predictions."""

    arm: str
    nets: tuple[Net, ...]
    mean: Mean = "arithmetic"
    seed: int = 0
    seeds: int = field(default=1, compare=False)

    def first(self, count: int) -> "Ensemble":
        """Of the first few nets alone."""
        return replace(self, nets=self.nets[:count])


@dataclass(frozen=True)
class Words:
    """A decoding of test with a system's scores; ``system`` is None for the decoder's own acoustic model."""

    arm: str
    system: Net | Ensemble | None
    temperature: float | None = None
    seed: int = 0
    seeds: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Rounding:
    """What a student of an ensemble loses where the soft targets are not held exactly; nothing is trained."""

    arm: str
    ensemble: Ensemble
    student: Net
    temperatures: tuple[float, ...]
    seed: int = 0
    seeds: int = field(default=1, compare=False)


Run = Net | Ensemble | Words | Rounding
