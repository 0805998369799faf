"""The settings of the speech experiments; ``paper_configs/speech/*.toml`` hold their values."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from repro.config import Settings
from repro.data.speech.synth import SynthSettings
from repro.training.recipe import Recipe

# Corpora that have a name of their own.
CORPORA = ("synth", "librispeech")
Share = Annotated[float, Field(gt=0, le=1)]
Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Layers = Annotated[tuple[Annotated[int, Field(ge=1, le=20_000)], ...], Field(min_length=1, max_length=20)]


class FrameRecipe(Recipe):
    """A recipe for acoustic models, which have no dropout, whose windows are not shifted, and which train to the end:
    where hard targets would have been stopped early is found afterwards."""

    unused = ("input_dropout", "hidden_dropout", "max_translation", "initial_weight_sd")
    nets = "acoustic models"


class Data(Settings):
    """Which speech."""

    corpus: str = Field("synth", description="synth, librispeech, or kaldi:PATH, a folder that holds train/ and test/")
    synth: SynthSettings = Field(SynthSettings(), description="how much synthetic speech of how many speakers")
    train_set: str = Field("dev-clean", description="of librispeech, by torchaudio's name")
    test_set: str = Field("test-clean", description="of librispeech, by torchaudio's name")
    held_out: float = Field(0.1, gt=0, lt=1, description="share of train's speakers that are validation")

    @field_validator("corpus")
    @classmethod
    def _known(cls, corpus: str) -> str:
        if corpus not in CORPORA and not (corpus.startswith("kaldi:") and corpus != "kaldi:"):
            raise ValueError(f"should be {', '.join(CORPORA)}, or kaldi:PATH")
        return corpus

    @property
    def folder(self) -> Path | None:
        """The folder of a Kaldi corpus."""
        return Path(self.corpus.removeprefix("kaldi:")) if self.corpus.startswith("kaldi:") else None


class Distilled(Settings):
    """The nets that learn from the ensemble."""

    temperatures: tuple[Temperature, ...] = Field(min_length=1, max_length=20)
    hard_label_weight: float = Field(ge=0, le=1)
    seeds: int = Field(ge=1, le=100)
    recipe: FrameRecipe


class Part(Settings):
    """A share of the transcribed utterances, and how nets are trained on it, by hard targets and by soft ones."""

    share: Share
    seeds: int = Field(ge=1, le=100, description="each has utterances of its own")
    recipe: FrameRecipe


class Subsets(Settings):
    """Section 6: few data."""

    hard_label_weight: float = Field(0.0, ge=0, le=1)
    num_evals: int = Field(10, ge=1, le=1000, description="how often a run is looked at, on its way")
    parts: tuple[Part, ...]

    @model_validator(mode="after")
    def _distinct(self) -> "Subsets":
        shares = [part.share for part in self.parts]
        if len(set(shares)) != len(shares):
            raise ValueError("no two parts should have the same share")
        return self


class Longer(Settings):
    """Students, and nets on hard targets, that see the data more often than Table 1's."""

    epochs: float = Field(gt=0, le=1000)
    temperatures: tuple[Temperature, ...] = Field(min_length=1, max_length=20)


class Studies(Settings):
    """What the paper did not show."""

    sizes: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field((), description="of ensembles to learn from")
    widths: tuple[Share, ...] = Field((), description="of students, as shares of the teachers' width")
    longer: Longer | None = Field(None, description="training of more passes; None: the study is left out")
    transcribed: Share = Field(0.3, description="share of the utterances whose transcripts the teachers see")
    teachers: int = Field(0, ge=0, le=100, description="that see so many transcripts; 0: the study is left out")


class Words(Settings):
    """Decoding."""

    utterances: int = Field(ge=1, description="of test, the first of each speaker in turn")
    validation_utterances: int = Field(ge=1, description="on which the acoustic scale is chosen")
    scales: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(min_length=1)
    most_active: int = Field(5000, ge=100, description="HMMs in a frame that the search goes on with")
    nets: int = Field(1, ge=1, description="single nets that are decoded; their mean is the row")


class SpeechSettings(Settings):
    """Sections 4 and 6."""

    data: Data = Data()
    hidden: Layers
    ensemble: int = Field(ge=2, le=100)
    recipe: FrameRecipe = Field(description="of the nets of the ensemble")
    distilled: Distilled
    subsets: Subsets
    studies: Studies
    words: Words | None = None
    curve_frames: int = Field(20_000, ge=100, description="of each part, looked at while training")
    every: int = Field(1, ge=1, le=100, description="of validation's and test's frames, every so manyth is counted")

    @property
    def decoding(self) -> Words:
        """How words are decoded, where they are."""
        assert self.words is not None, "only what is decoded asks for it"
        return self.words

    @model_validator(mode="after")
    def _consistent(self) -> "SpeechSettings":
        if self.words is not None and self.words.nets > self.ensemble:
            raise ValueError("words.nets should be at most ensemble")
        if any(size > self.ensemble for size in self.studies.sizes):
            raise ValueError("studies.sizes should be at most ensemble")
        return self
