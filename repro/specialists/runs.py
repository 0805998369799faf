"""The runs of the specialists experiment: all that determines each."""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from repro.specialists.settings import Clustering, DustbinInit
from repro.specialists.specialist import Kind
from repro.training.recipe import Recipe

Params = tuple[tuple[str, Any], ...]
# Costs that differ by no more than this fraction are near each other.
NEAR = 0.2


class Arm(StrEnum):
    """The arms of the experiment; records name them by these values. Parameters stand behind each."""

    GENERALIST = "generalist"
    EXTRA_GENERALIST = "extra_generalist"  # number
    ENSEMBLE = "ensemble"  # num_models
    LONGER = "generalist_trained_longer"  # epochs
    SPECIALIST = "specialist"
    COMBINED = "with_specialists"
    TOP_N = "ablation_top_n"  # top_n
    COUNT = "ablation_count"  # count
    KIND = "ablation_kind"  # kind, fraction
    CLUSTERING = "ablation_clustering"  # clustering
    SUBSET_SIZE = "ablation_subset_size"  # subset_size
    WIDTH = "ablation_width"  # width
    ABLATION_GENERALIST = "ablation_generalist"  # width
    ABLATION_SPECIALIST = "ablation_specialist"  # one of kind, clustering, subset_size and width
    REDISTILLED = "redistilled"
    SELF_DISTILLED = "self_distilled"
    ENSEMBLE_DISTILLED = "ensemble_distilled"
    ON_LABELS = "trained_on_labels_as_long"
    SEARCH = "search"  # stage and the settings varied in it
    SEARCH_GENERALIST = "search_generalist"
    SEARCH_SPECIALIST = "search_specialist"


# Arms of all seeds, and those of the search; all others have the seeds of the ablations.
OF_ALL_SEEDS = {Arm.GENERALIST, Arm.LONGER, Arm.SPECIALIST, Arm.COMBINED, Arm.TOP_N, Arm.COUNT}
OF_THE_SEARCH = {Arm.SEARCH, Arm.SEARCH_GENERALIST, Arm.SEARCH_SPECIALIST}


@dataclass(frozen=True)
class NetRun:
    """Training of a network over all classes: a generalist, or a student of ``teacher``.

    It starts from new weights drawn from its seed, or from those of ``start``. ``number`` distinguishes further
    networks of the same seed of the pipeline, which differ in initial weights and batch order.
    """

    arm: str
    width: int
    recipe: Recipe
    seed: int
    teacher: "AllClassesRun | None" = None
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    start: "NetRun | None" = None
    number: int = 0
    params: Params = field(default=(), compare=False)

    @property
    def stream_seed(self) -> int:
        """Seed of the initial weights and the batch order."""
        return self.seed + 1000 * self.number


@dataclass(frozen=True)
class SameViewRun(NetRun):
    """Distillation of a ``teacher`` that sees every image as the student does, translated and flipped."""


@dataclass(frozen=True)
class SpecialistRun:
    """Training of a specialist on the special classes ``subset``, starting from the generalist's weights.

    It sees a ``fraction`` of the training images, the same ones for all specialists of a seed.
    """

    arm: str
    number: int
    generalist: NetRun
    subset: tuple[int, ...]
    clustering: Clustering
    kind: Kind
    recipe: Recipe
    special_fraction: float
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    dustbin_init: DustbinInit = "log count"
    fraction: float = 1.0
    num_evals: int = 1
    params: Params = field(default=(), compare=False)

    @property
    def seed(self) -> int:
        """Seed of the generalist."""
        return self.generalist.seed

    @property
    def special_in_batch(self) -> int:
        """Number of special examples in each batch."""
        return round(self.recipe.batch_size * self.special_fraction)

    @property
    def width(self) -> int:
        """Width of the generalist."""
        return self.generalist.width


@dataclass(frozen=True)
class CombinedRun:
    """Evaluation of a generalist with specialists (section 5.4); nothing is trained. ``top_n`` is the paper's n."""

    arm: str
    generalist: NetRun
    specialists: tuple[SpecialistRun, ...]
    top_n: int = 1
    params: Params = field(default=(), compare=False)

    @property
    def seed(self) -> int:
        """Seed of the generalist."""
        return self.generalist.seed


@dataclass(frozen=True)
class EnsembleRun:
    """Evaluation of the arithmetic mean of several networks over all classes."""

    arm: str
    nets: tuple[NetRun, ...]
    params: Params = field(default=(), compare=False)

    @property
    def seed(self) -> int:
        """Seed of the first network."""
        return self.nets[0].seed


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Values that an ablation changes for the specialists; None leaves the value of the settings."""

    kind: Kind | None = None
    fraction: float | None = None
    clustering: Clustering | None = None
    subset_size: int | None = None
    width: int | None = None

    @property
    def params(self) -> Params:
        """The values that are changed, by name."""
        values = ((option.name, getattr(self, option.name)) for option in fields(self))
        return tuple((name, value) for name, value in values if value is not None)


# Runs that predict probabilities of all classes.
AllClassesRun = NetRun | CombinedRun | EnsembleRun
Run = AllClassesRun | SpecialistRun
