"""Runs of sections 4 and 6: models, ensembles, decodings, the acoustic scale, the precision of soft targets."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from repro.speech.ensemble_targets import Mean
from repro.training.recipe import Recipe

Params = tuple[tuple[str, Any], ...]


class Arm(StrEnum):
    """Experimental arms of sections 4 and 6."""

    SEARCH = "search"
    SINGLE_MODEL = "single_model"
    ENSEMBLE = "ensemble"
    DISTILLED = "distilled"
    DISTILLED_ARITHMETIC_MEAN = "distilled_arithmetic_mean"
    TARGET_PRECISION = "target_precision"
    DATA_FRACTION = "data_fraction"
    DECODE = "decode"
    ACOUSTIC_SCALE = "acoustic_scale"
    SMALLER_ENSEMBLE = "smaller_ensemble"
    STUDENT_WIDTH_HARD_TARGETS = "student_width_hard_targets"
    STUDENT_WIDTH_KD = "student_width_kd"
    SINGLE_MODEL_FEW_TRANSCRIPTS = "single_model_few_transcripts"
    ENSEMBLE_FEW_TRANSCRIPTS = "ensemble_few_transcripts"
    KD_TRANSCRIBED_ONLY = "kd_transcribed_only"
    KD_WITH_UNTRANSCRIBED = "kd_with_untranscribed"


@dataclass(frozen=True)
class NetRun:
    """One acoustic model, trained on a fraction of the training utterances.

    ``seed`` draws the initial weights and nothing else; ``data_seed`` draws the utterances of the fraction and the
    order of the batches. Soft targets come from ``teacher``. ``params`` tells runs of one arm apart and ``seeds``
    counts the runs that differ in their seed alone; neither enters the run's key.
    """

    arm: Arm
    hidden_units: tuple[int, ...]
    recipe: Recipe
    seed: int
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    teacher: "EnsembleRun | None" = None
    fraction: float = 1.0
    data_seed: int = 0
    early_stopping: bool = False
    num_evals: int = 1
    seeds: int = field(default=1, compare=False)
    params: Params = field(default=(), compare=False)

    def batch_key(self) -> tuple:
        """Key of the runs that see the same batches in the same steps and are trained together."""
        teacher = None if self.teacher is None else self.teacher.nets
        recipe = self.recipe.model_dump_json()
        return self.hidden_units, recipe, teacher, self.fraction, self.data_seed, self.early_stopping, self.num_evals


@dataclass(frozen=True)
class EnsembleRun:
    """The evaluation of the mean of several models' predictions."""

    arm: Arm
    nets: tuple[NetRun, ...]
    mean: Mean = "arithmetic"
    seed: int = 0
    seeds: int = field(default=1, compare=False)

    def first(self, count: int) -> "EnsembleRun":
        """Return the ensemble of the first ``count`` models."""
        return replace(self, nets=self.nets[:count])


@dataclass(frozen=True)
class DecodingRun:
    """The decoding of test utterances with one system's scores.

    ``system`` is None for pocketsphinx's own acoustic model, which has a scale of its own.
    """

    arm: Arm
    system: NetRun | EnsembleRun | None
    scale: float
    general_words: int = 0
    temperature: float | None = None
    seed: int = 0
    seeds: int = field(default=1, compare=False)
    params: Params = field(default=(), compare=False)


@dataclass(frozen=True)
class ScaleRun:
    """The decoding of validation utterances with some models at some acoustic scales, to choose one for all systems."""

    arm: Arm
    nets: tuple[NetRun, ...]
    scales: tuple[float, ...]
    general_words: int = 0
    seed: int = 0
    seeds: int = field(default=1, compare=False)


@dataclass(frozen=True)
class TargetPrecisionRun:
    """The errors of a student's loss and gradient when soft targets are stored inexactly; nothing is trained."""

    arm: Arm
    ensemble: EnsembleRun
    student: NetRun
    temperatures: tuple[float, ...]
    seed: int = 0
    seeds: int = field(default=1, compare=False)


Run = NetRun | EnsembleRun | DecodingRun | ScaleRun | TargetPrecisionRun
