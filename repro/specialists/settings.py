"""Settings of the specialists experiment; ``paper_configs/specialists/*.toml`` hold their values."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from repro.config import Fraction, ResultsSuffix, Settings, Temperature
from repro.config_search import RESULTS_SUFFIX, SearchedSettings, SearchSettings, combinations
from repro.data.sources import ImageSource
from repro.training.recipe import Recipe

Clustering = Literal["k-means", "spectral", "random"]
DustbinInit = Literal["log count", "mean", "zeros"]
Start = Literal["generalist", "new weights"]
TeacherView = Literal["fixed", "same"]
Positive = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, Field(ge=1, le=1024)]
Epochs = Annotated[float, Field(gt=0, le=10_000)]
TopN = Annotated[int, Field(ge=1, le=10)]


class ConvRecipe(Recipe):
    """A training recipe for convolutional networks, which have neither dropout nor a bound on weight norms."""

    unused = ("max_norm", "input_dropout", "hidden_dropout", "initial_weight_sd", "weight_averaging_fraction")
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
    dustbin_init: DustbinInit = Field(
        "log count",
        description="Initial weights of the dustbin: the mean of the generalist's rows of its classes, with the log of"
        " their number added to the bias (log count) or not (mean), or zeros. Default: log count.",
    )
    num_evals: int = Field(
        1, ge=1, le=100, description="Number of evaluations while a specialist is trained, evenly spaced. Default: 1."
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

    temperature: Temperature = Field(description="Temperature T of the soft targets of the other classes.")
    hard_label_weight: float = Field(
        ge=0, le=1, description="Weight w in (1 - w) T^2 KL(soft targets, other classes) + w CE(labels, all classes)."
    )
    fractions: tuple[Fraction, ...] = Field(
        (1.0,), description="Fractions of the training images that the specialists are trained on. Default: 1."
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


class Controls(Settings):
    """The generalist trained longer on labels, the control of every gain."""

    longer_epochs: tuple[Epochs, ...] = Field(
        min_length=1, description="Numbers of epochs for which the generalist is trained further, each on its own."
    )
    recipe: ConvRecipe = Field(description="Training recipe; longer_epochs replace its epochs.")


class Redistill(Settings):
    """Section 8: generalist and specialists distilled into one network."""

    temperature: Temperature = Field(description="Temperature of the distillation.")
    hard_label_weight: float = Field(
        ge=0, le=1, description="Weight of the cross-entropy with the labels; that of the soft targets is 1 minus it."
    )
    start: Start = Field(
        "generalist", description="Initial weights: those of the generalist, or new ones. Default: generalist."
    )
    view: TeacherView = Field(
        "fixed",
        description="Images that the teacher sees: the original ones, or those of the student, translated and flipped."
        " Default: fixed.",
    )
    recipe: ConvRecipe = Field(
        description="Training recipe of the distilled networks and of their control, which is trained on labels alone."
    )


# Sections whose settings a search may vary; each has runs of its own by which they are judged.
Searched = Literal["specialists", "soft_targets", "redistill"]


def searched_section(stage: dict[str, Any]) -> Searched:
    """Return the section that all settings of a stage of the search are in.

    Raises:
        ValueError: they are in several sections, or in one that is not searched.
    """
    sections = [section for section in get_args(Searched) if any(name.startswith(f"{section}.") for name in stage)]
    if len(sections) != 1 or not all(name.startswith(f"{sections[0]}.") for name in stage):
        raise ValueError(f"the settings of a stage must all be in one of {', '.join(get_args(Searched))}")
    return sections[0]


class Search(SearchSettings):
    """Search on the validation images before anything else, with seeds of its own; the best values are used."""

    num_specialists: int = Field(ge=1, description="Number of specialists that are trained with each value.")
    stages: tuple[dict[str, tuple[int | float | str, ...]], ...] = Field(
        min_length=1,
        description="In each stage, settings that are varied together and the values tried, such as"
        ' { "specialists.recipe.epochs" = [6, 12] }. All combinations are tried, and the values so far.',
    )

    @field_validator("stages")
    @classmethod
    def _of_one_section(cls, stages: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for stage in stages:
            searched_section(stage)
        return stages


class SpecialistsSettings(SearchedSettings):
    """Settings of sections 5, 6.1 and 8."""

    renamed: ClassVar[dict[str, str]] = {
        "train_cases": "max_train_examples",
        "studies": "ablations",
        "distilled_back": "redistill",
        "more_generalists": "extra_generalists",
    }

    seeds: int = Field(ge=1, le=100, description="Number of seeds of generalist, specialists, and longer training.")
    ablation_seeds: int | None = Field(
        None, ge=0, le=100, description="Number of seeds of all else, at most seeds; 0 for none. Default: all seeds."
    )
    results_suffix: ResultsSuffix = ""
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
    controls: Controls = Field(description="The generalist trained longer.")
    redistill: Redistill = Field(description="Distillation of generalist and specialists into one network.")
    search: Search | None = Field(None, description="Search on the validation images. Default: none.")
    extra_generalists: int = Field(
        ge=0, le=100, description="Number of extra generalists of each seed, for the ensembles of equal compute."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SpecialistsSettings":
        for count in (self.ablations.num_specialists, *self.ablations.specialist_counts):
            if not 1 <= count <= self.specialists.count:
                raise ValueError(
                    "ablations.num_specialists and ablations.specialist_counts must be at most specialists.count"
                )
        if self.ablation_seeds is not None and self.ablation_seeds > self.seeds:
            raise ValueError("ablation_seeds must be at most seeds")
        if self.results_suffix.endswith(RESULTS_SUFFIX):
            raise ValueError(f"results_suffix must not end with {RESULTS_SUFFIX}, the suffix of searches")
        if self.search is not None:
            if self.search.num_specialists > self.specialists.count:
                raise ValueError("search.num_specialists must be at most specialists.count")
            for stage in self.search.stages:
                for values in combinations(stage):
                    self.changed(values)
        return self

    @property
    def num_ablation_seeds(self) -> int:
        """Number of seeds of all but generalist, specialists and longer training."""
        return self.seeds if self.ablation_seeds is None else self.ablation_seeds
