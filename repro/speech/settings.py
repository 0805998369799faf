"""Settings of sections 4 and 6; ``paper_configs/speech/*.toml`` hold their values."""

from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from repro.config import Fraction, Settings, Temperature
from repro.config_search import SearchedSettings, SearchSettings, Stage, combinations
from repro.data.speech.sources import CorpusSource
from repro.training.recipe import Recipe

HiddenUnits = Annotated[tuple[Annotated[int, Field(ge=1, le=20_000)], ...], Field(min_length=1, max_length=20)]


class FrameRecipe(Recipe):
    """The recipe of acoustic models: without dropout, without translations and always to the last step.

    Early stopping is applied afterwards, by choosing the best evaluated step.
    """

    unused = ("input_dropout", "hidden_dropout", "max_translation", "initial_weight_sd")
    nets = "acoustic models"


class Distilled(Settings):
    """Students of the ensemble (Table 1)."""

    temperatures: tuple[Temperature, ...] = Field(
        min_length=1, max_length=20, description="Temperatures of the soft targets; students are trained at each."
    )
    hard_label_weight: float = Field(ge=0, le=1, description="Weight w in (1 - w) T^2 KL(soft) + w CE(hard).")
    seeds: int = Field(ge=1, le=100, description="Number of students at each temperature.")
    best_temperature_seeds: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Number of students at the temperature that is best on validation; the first of them choose it. "
        "Default: as many as at the others.",
    )
    recipe: FrameRecipe = Field(description="How students are trained.")

    @model_validator(mode="after")
    def _more_at_best(self) -> "Distilled":
        if self.best_temperature_seeds is not None and self.best_temperature_seeds < self.seeds:
            raise ValueError("best_temperature_seeds must be at least seeds")
        return self


class DataFraction(Settings):
    """A fraction of the transcribed utterances, and how models are trained on it (section 6, Table 5)."""

    renamed: ClassVar[dict[str, str]] = {"share": "fraction"}
    fraction: Fraction = Field(description="Fraction of the training utterances, above 0 and at most 1.")
    seeds: int = Field(ge=1, le=100, description="Number of seeds; each draws other utterances.")
    hard_label_weight: float = Field(
        0.0, ge=0, le=1, description="Weight of the hard labels in the students' loss. Default: 0, soft targets only."
    )
    recipe: FrameRecipe = Field(description="How models are trained on the fraction, with hard and with soft targets.")
    hard_epochs: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = Field(
        (),
        description="Lengths in epochs of further, shorter schedules with hard targets; the best on validation is "
        "reported. Default: none.",
    )

    @model_validator(mode="after")
    def _shorter(self) -> "DataFraction":
        if any(epochs > self.recipe.epochs for epochs in self.hard_epochs):
            raise ValueError("hard_epochs must be at most the recipe's epochs, the length with soft targets")
        return self


class Ablations(Settings):
    """Experiments beyond the paper: size of the ensemble, width of the student, transcripts."""

    renamed: ClassVar[dict[str, str]] = {
        "sizes": "ensemble_sizes", "widths": "width_fractions", "transcribed": "transcribed_fraction",
        "teachers": "transcribed_ensemble_size",
    }  # fmt: skip
    ensemble_sizes: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        (), description="Sizes of smaller ensembles to distill from. Default: none."
    )
    width_fractions: tuple[Fraction, ...] = Field(
        (), description="Widths of narrower students, as fractions of the teachers' width. Default: none."
    )
    transcribed_fraction: Fraction = Field(
        0.3, description="Fraction of the utterances whose transcripts the teachers see. Default: 0.3."
    )
    transcribed_ensemble_size: int = Field(
        0, ge=0, le=100, description="Number of teachers that see that fraction only. Default: 0, no such experiment."
    )


class Decoding(Settings):
    """Settings of the decoding that measures word error rates."""

    renamed: ClassVar[dict[str, str]] = {
        "scales": "acoustic_scales", "most_active": "max_active_hmms", "nets": "num_models",
    }  # fmt: skip
    utterances: int = Field(ge=1, description="Number of test utterances to decode, taken from each speaker in turn.")
    validation_utterances: int = Field(
        ge=1, description="Number of validation utterances on which acoustic scale and vocabulary are chosen."
    )
    acoustic_scales: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(
        min_length=1,
        description="Acoustic scales to choose from, one for all systems; with a single one nothing is chosen.",
    )
    general_words: tuple[Annotated[int, Field(ge=0, le=100_000)], ...] = Field(
        (0,),
        min_length=1,
        description="Numbers of words of general English, the most frequent, that join those of the training "
        "transcripts in the vocabulary; to choose from after the scale. Default: 0.",
    )
    scale_models: int = Field(
        1, ge=1, description="Number of single models whose mean validation word error rate chooses both. Default: 1."
    )
    max_active_hmms: int = Field(
        5000, ge=100, description="Largest number of HMMs that the search keeps active in a frame. Default: 5000."
    )
    num_models: int = Field(
        1, ge=1, description="Number of single models to decode; the table shows their average. Default: 1."
    )


class Search(SearchSettings):
    """Search on the validation speakers before anything else, with seeds of its own; the best values are used."""

    temperature: Temperature = Field(2.0, description="Temperature of its students. Default: 2.")
    stages: tuple[dict[str, tuple[int | float | str | tuple[int, ...], ...]], ...] = Field(
        min_length=1,
        description="In each stage, settings that are varied together and the values tried, such as"
        ' { "recipe.epochs" = [3, 6] }. All combinations are tried, and the values so far.',
    )

    @field_validator("stages")
    @classmethod
    def _students_last(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        of_students = [is_of_students(stage) for stage in stages]
        if of_students != sorted(of_students):
            raise ValueError("stages of distilled must come after those of recipe and hidden_units")
        return stages


def is_of_students(stage: Stage) -> bool:
    """Return whether a stage of the search varies the students; otherwise it varies the models of the ensemble.

    Raises:
        ValueError: it varies settings of both, or others.
    """
    if stage and all(name.startswith("distilled.") for name in stage):
        return True
    if stage and all(name.startswith("recipe.") or name == "hidden_units" for name in stage):
        return False
    raise ValueError("the settings of a stage must all be in distilled, or all in recipe and hidden_units")


class SpeechSettings(SearchedSettings):
    """Settings of sections 4 and 6."""

    renamed: ClassVar[dict[str, str]] = {
        "hidden": "hidden_units", "ensemble": "ensemble_size", "every": "eval_frame_stride",
        "curve_frames": "curve_eval_frames", "subsets": "data_fractions", "studies": "ablations", "words": "decoding",
    }  # fmt: skip
    data: CorpusSource = Field(CorpusSource(), description="The corpus.")
    hidden_units: HiddenUnits = Field(description="Units of each hidden layer of the acoustic models.")
    ensemble_size: int = Field(ge=2, le=100, description="Number of acoustic models in the ensemble.")
    recipe: FrameRecipe = Field(description="How the models of the ensemble are trained.")
    distilled: Distilled = Field(description="Students of the ensemble.")
    num_evals: int = Field(
        10, ge=1, le=1000, description="Number of evaluations during training on a data fraction. Default: 10."
    )
    data_fractions: tuple[DataFraction, ...] = Field(description="Fractions of the training data, each listed once.")
    ablations: Ablations = Field(description="Experiments beyond the paper.")
    search: Search | None = Field(None, description="Search on the validation speakers. Default: none.")
    decoding: Decoding | None = Field(None, description="How words are decoded. Default: no decoding.")
    soft_target_cache_gb: float = Field(
        3.0,
        ge=0,
        le=10_000,
        description="GB of memory up to which soft targets are computed once and cached, if the machine has 4 GB more; "
        "larger ones are computed for each batch. Default: 3.",
    )
    curve_eval_frames: int = Field(
        20_000, ge=100, description="Frames of each part of the data evaluated during training. Default: 20000."
    )
    eval_frame_stride: int = Field(
        1, ge=1, le=100, description="Evaluate every n-th frame of validation and test. Default: 1, all frames."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SpeechSettings":
        if self.decoding is not None and self.decoding.num_models > self.ensemble_size:
            raise ValueError("decoding.num_models must be at most ensemble_size")
        if self.decoding is not None and self.decoding.scale_models > self.ensemble_size:
            raise ValueError("decoding.scale_models must be at most ensemble_size")
        if any(size > self.ensemble_size for size in self.ablations.ensemble_sizes):
            raise ValueError("ablations.ensemble_sizes must be at most ensemble_size")
        fractions = [entry.fraction for entry in self.data_fractions]
        if len(set(fractions)) != len(fractions):
            raise ValueError("data_fractions must not list a fraction twice")
        for stage in self.search.stages if self.search else ():
            for values in combinations(stage):
                self.changed(values)
        return self
