"""The settings of the specialists experiment; ``paper_configs/specialists/*.toml`` hold their values."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from repro.config import Settings
from repro.data.sources import ImageSource
from repro.training.recipe import Recipe

Method = Literal["k-means", "spectral", "random"]
Positive = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, Field(ge=1, le=1024)]
Few = Annotated[int, Field(ge=1, le=10)]


class ConvRecipe(Recipe):
    """A recipe for convolutional nets, which have neither dropout nor a bound on norms, and train to the end."""

    unused = ("max_norm", "input_dropout", "hidden_dropout")
    nets = "convolutional nets"


class Generalist(Settings):
    """The net that knows all classes."""

    width: Width = Field(description="channels in the first stage; the last has four times as many")
    recipe: ConvRecipe


class Specialists(Settings):
    """How many, on how many classes each, and how they are trained."""

    count: int = Field(ge=1, le=10_000)
    size: int = Field(ge=2, le=100_000, description="classes of a specialist; the others are its dustbin")
    method: Method = "k-means"
    special_share: float = Field(0.5, gt=0, lt=1, description="share of a batch from the special classes")
    active: int = Field(1, ge=1, le=10, description="n: the generalist's most probable classes that call specialists")
    recipe: ConvRecipe = Field(description="a pass is every special case once, with the others that go with it")

    @model_validator(mode="after")
    def _both_kinds(self) -> "Specialists":
        if not 0 < round(self.recipe.batch_size * self.special_share) < self.recipe.batch_size:
            raise ValueError("special_share should leave special cases and others in a batch of recipe.batch_size")
        return self


class SoftTargets(Settings):
    """Section 6.1: full-softmax specialists, with the generalist's soft targets for the other classes."""

    temperature: float = Field(gt=0, allow_inf_nan=False)
    hard_label_weight: float = Field(ge=0, le=1, description="w in (1 - w) T^2 KL(soft, other classes) + w CE(hard)")


class Studies(Settings):
    """What is varied, one thing at a time; all but ``active`` and ``counts`` use the first ``count`` subsets."""

    count: int = Field(ge=1)
    active: tuple[Few, ...] = (1, 2, 3)
    counts: tuple[Positive, ...] = Field((), description="with so many of the specialists")
    sizes: tuple[Positive, ...] = ()
    methods: tuple[Method, ...] = ()
    widths: tuple[Width, ...] = Field((), description="other widths of the generalist, with its recipe")


class DistilledBack(Settings):
    """Generalist and specialists distilled into one net of the generalist's size, which starts as the generalist."""

    temperature: float = Field(gt=0, allow_inf_nan=False)
    hard_label_weight: float = Field(ge=0, le=1)
    recipe: ConvRecipe = Field(description="of the distilled nets, and of their control on hard targets alone")


class SpecialistsSettings(Settings):
    """Sections 5 and 6.1."""

    seeds: int = Field(ge=1, le=100)
    data: ImageSource = ImageSource()
    train_cases: int | None = Field(None, ge=100, description="fewer training images, for a quick look only")
    num_evals: int = Field(10, ge=1, le=1000)
    generalist: Generalist
    specialists: Specialists
    soft_targets: SoftTargets
    studies: Studies
    distilled_back: DistilledBack
    more_generalists: int = Field(ge=0, le=100, description="of each seed, trained for the ensembles of equal cost")

    @model_validator(mode="after")
    def _consistent(self) -> "SpecialistsSettings":
        for count in (self.studies.count, *self.studies.counts):
            if not 1 <= count <= self.specialists.count:
                raise ValueError("studies.count and studies.counts should be at most specialists.count")
        return self
