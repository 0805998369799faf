"""The runs of the variants: what determines each."""

from dataclasses import dataclass, field

from repro.training.recipe import Recipe
from repro.variants.models import Shape
from repro.variants.settings import VariantsSettings
from repro.variants.training import View


@dataclass(frozen=True)
class Net:
    """A net trained by a method; ``options`` are the method's settings as JSON. ``arm`` is the row it belongs to.

    ``seed`` draws its initial weights, and the order of cases and their views too where there is no ``order``.

    ``seeds`` is how many nets of its kind there are, which says nothing of the net.
    """

    arm: str
    shape: Shape
    recipe: Recipe
    seed: int
    method: str = "none"
    options: str = "{}"
    teacher: "Net | None" = None
    view: View = "same"
    order: int | None = None
    seeds: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Ensemble:
    """The arithmetic mean of nets' probabilities."""

    arm: str
    nets: tuple[Net, ...]
    seeds: int = field(default=1, compare=False)

    @property
    def seed(self) -> int:
        """The first net's."""
        return self.nets[0].seed


@dataclass(frozen=True)
class Cost:
    """What a step of nets that are trained one after the other costs, beside one of plain distillation."""

    arm: str
    nets: tuple[Net, ...]
    plain: Net
    seeds: int = field(default=1, compare=False)

    @property
    def seed(self) -> int:
        """The last net's."""
        return self.nets[-1].seed


def teacher(settings: VariantsSettings, shape: Shape | None = None, share: float = 1.0) -> Net:
    """The teacher of a bench, or one of another shape, or one that is trained for a share of the epochs."""
    recipe = settings.teacher.recipe
    if share != 1:
        recipe = recipe.model_copy(update={"epochs": share * recipe.epochs})
    return Net("teacher", shape or settings.teacher.shape, recipe, 0)


Run = Net | Ensemble | Cost
