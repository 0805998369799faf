"""The runs of the specialists experiment: what determines each."""

from dataclasses import dataclass

from repro.specialists.settings import Method
from repro.specialists.specialist import Kind
from repro.training.recipe import Recipe


@dataclass(frozen=True)
class Net:
    """A net over all classes: a generalist, or a student of ``teacher``.

    It starts from new weights drawn from its seed, or from those of ``start``. ``number`` tells further
    nets of one seed of the pipeline apart: they differ in initial weights and order.
    """

    arm: str
    width: int
    recipe: Recipe
    seed: int
    teacher: "Net | Combined | None" = None
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    start: "Net | None" = None
    number: int = 0

    @property
    def draw(self) -> int:
        """What its initial weights and its order of cases are drawn from."""
        return self.seed + 1000 * self.number


@dataclass(frozen=True)
class Specialist:
    """A net on the special classes ``subset``, started from the generalist; the ``number``-th of its ``method``."""

    arm: str
    number: int
    generalist: Net
    subset: tuple[int, ...]
    method: Method
    kind: Kind
    recipe: Recipe
    special_share: float
    temperature: float = 1.0
    hard_label_weight: float = 1.0

    @property
    def seed(self) -> int:
        """The generalist's."""
        return self.generalist.seed

    @property
    def special_in_batch(self) -> int:
        """Special cases in each batch."""
        return round(self.recipe.batch_size * self.special_share)

    @property
    def width(self) -> int:
        """The generalist's."""
        return self.generalist.width


@dataclass(frozen=True)
class Combined:
    """Generalist and specialists at test time (section 5.4), nothing trained; ``active`` is the paper's n."""

    arm: str
    generalist: Net
    specialists: tuple[Specialist, ...]
    active: int = 1

    @property
    def seed(self) -> int:
        """The generalist's."""
        return self.generalist.seed


@dataclass(frozen=True)
class Ensemble:
    """The arithmetic mean of nets over all classes."""

    arm: str
    nets: tuple[Net, ...]

    @property
    def seed(self) -> int:
        """The first net's."""
        return self.nets[0].seed


# What says something of all classes.
Whole = Net | Combined | Ensemble
Run = Whole | Specialist
