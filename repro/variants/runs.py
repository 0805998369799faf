"""The runs of the variants: what determines each."""

from dataclasses import dataclass, field

from repro.core.recipe import Recipe
from repro.variants.nets import Shape
from repro.variants.training import View


@dataclass(frozen=True)
class Net:
    """A net trained by a method; ``options`` are the method's settings as JSON. ``role`` is the row it belongs to.

    ``seeds`` is how many nets of its kind there are, which says nothing of the net.
    """

    role: str
    shape: Shape
    recipe: Recipe
    seed: int
    method: str = "none"
    options: str = "{}"
    teacher: "Net | None" = None
    view: View = "same"
    seeds: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Ensemble:
    """The arithmetic mean of nets' probabilities."""

    role: str
    nets: tuple[Net, ...]
    seeds: int = field(default=1, compare=False)

    @property
    def seed(self) -> int:
        """The first net's."""
        return self.nets[0].seed


@dataclass(frozen=True)
class Cost:
    """How long a method's steps take, and how much they keep in memory, beside those of plain distillation."""

    role: str
    net: Net
    plain: Net
    seeds: int = field(default=1, compare=False)

    @property
    def seed(self) -> int:
        """The net's."""
        return self.net.seed


Run = Net | Ensemble | Cost
