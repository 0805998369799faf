"""Settings of the specialists experiment; ``paper_configs/specialists/*.toml`` hold their values."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from repro.config import Settings
from repro.data.sources import ImageSource
from repro.training.recipe import Recipe

Clustering = Literal["k-means", "spectral", "random"]
Positive = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, Field(ge=1, le=1024)]
TopN = Annotated[int, Field(ge=1, le=10)]


class ConvRecipe(Recipe):
    """A training recipe for convolutional networks, which have neither dropout nor a bound on weight norms."""

    unused = ("max_norm", "input_dropout", "hidden_dropout")
    nets = "convolutional nets"


class Generalist(Settings):
    """The model that covers all classes."""

    renamed: ClassVar[dict[str, str]] = {"width": "channels"}

    channels: Width = Field(
        description="Number of channels in the first stage of the network; the last stage has four times as many."
    )
    recipe: ConvRecipe = Field(description="Training recipe of the generalist.")


class Specialists(Settings):
    """Number of specialists, the classes of each, and their training."""

    renamed: ClassVar[dict[str, str]] = {
        "size": "classes_per_specialist",
        "method": "clustering",
        "special_share": "special_fraction",
        "active": "top_n",
    }

    count: int = Field(ge=1, le=10_000, description="Number of specialists; at most one for each class.")
    classes_per_specialist: int = Field(
        ge=2, le=100_000, description="Number of special classes of a specialist; all other classes are its dustbin."
    )
    clustering: Clustering = Field(
        "k-means",
        description="Algorithm that assigns classes to specialists; random ignores the generalist's predictions."
        " Default: k-means.",
    )
    special_fraction: float = Field(
        0.5, gt=0, lt=1, description="Fraction of each batch that is drawn from the special classes. Default: 0.5."
    )
    top_n: int = Field(
        1,
        ge=1,
        le=10,
        description="Number n of the generalist's most probable classes; a specialist with one of them is active."
        " Default: 1.",
    )
    recipe: ConvRecipe = Field(
        description="Training recipe of a specialist; an epoch has every special example once, and other examples in"
        " proportion."
    )

    @model_validator(mode="after")
    def _both_parts(self) -> "Specialists":
        if not 0 < round(self.recipe.batch_size * self.special_fraction) < self.recipe.batch_size:
            raise ValueError(
                "special_fraction should leave both special and other examples in a batch of recipe.batch_size"
            )
        return self


class SoftTargets(Settings):
    """Section 6.1: full-softmax specialists with the generalist's soft targets for the other classes."""

    temperature: float = Field(
        gt=0, allow_inf_nan=False, description="Temperature T of the soft targets of the other classes."
    )
    hard_label_weight: float = Field(
        ge=0, le=1, description="Weight w in (1 - w) T^2 KL(soft targets, other classes) + w CE(labels, all classes)."
    )


class Ablations(Settings):
    """Ablations: one thing is varied at a time."""

    renamed: ClassVar[dict[str, str]] = {
        "count": "num_specialists",
        "counts": "specialist_counts",
        "sizes": "subset_sizes",
        "methods": "clusterings",
        "widths": "generalist_widths",
        "active": "top_n",
    }

    num_specialists: int = Field(
        ge=1, description="Number of specialists in the ablations of subset size, clustering, kind and width."
    )
    specialist_counts: tuple[Positive, ...] = Field(
        (), description="Numbers of specialists, the first of the main ones, to combine. Default: none."
    )
    subset_sizes: tuple[Positive, ...] = Field(
        (), description="Other numbers of classes of a specialist to train with. Default: none."
    )
    clusterings: tuple[Clustering, ...] = Field(
        (), description="Other clustering algorithms to choose the classes with. Default: none."
    )
    generalist_widths: tuple[Width, ...] = Field(
        (), description="Other numbers of channels of the generalist, trained with the same recipe. Default: none."
    )
    top_n: tuple[TopN, ...] = Field(
        (1, 2, 3), description="Numbers n of most probable classes to select active specialists by. Default: 1, 2, 3."
    )


class Redistill(Settings):
    """Section 8: generalist and specialists distilled into one network that starts from the generalist's weights."""

    temperature: float = Field(gt=0, allow_inf_nan=False, description="Temperature of the distillation.")
    hard_label_weight: float = Field(
        ge=0, le=1, description="Weight of the cross-entropy with the labels; that of the soft targets is 1 minus it."
    )
    recipe: ConvRecipe = Field(
        description="Training recipe of the distilled networks and of their control, which is trained on labels alone."
    )


class SpecialistsSettings(Settings):
    """Settings of sections 5, 6.1 and 8."""

    renamed: ClassVar[dict[str, str]] = {
        "train_cases": "max_train_examples",
        "studies": "ablations",
        "distilled_back": "redistill",
        "more_generalists": "extra_generalists",
    }

    seeds: int = Field(ge=1, le=100, description="Number of seeds of the whole pipeline.")
    data: ImageSource = Field(ImageSource(), description="Image data set. Default: the icons.")
    max_train_examples: int | None = Field(
        None, ge=100, description="Largest number of training images to use. Default: all of them."
    )
    num_evals: int = Field(
        10, ge=1, le=1000, description="Number of evaluations during training, evenly spaced. Default: 10."
    )
    generalist: Generalist = Field(description="Size and training of the generalist.")
    specialists: Specialists = Field(description="Number, classes and training of the specialists.")
    soft_targets: SoftTargets = Field(description="Soft targets as regularizers of full-softmax specialists.")
    ablations: Ablations = Field(description="Values to vary, one at a time.")
    redistill: Redistill = Field(description="Distillation of generalist and specialists into one network.")
    extra_generalists: int = Field(
        ge=0, le=100, description="Number of further generalists of each seed, for the ensembles of equal compute."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SpecialistsSettings":
        for count in (self.ablations.num_specialists, *self.ablations.specialist_counts):
            if not 1 <= count <= self.specialists.count:
                raise ValueError(
                    "ablations.num_specialists and ablations.specialist_counts must be at most specialists.count"
                )
        return self
