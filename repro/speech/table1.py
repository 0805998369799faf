"""The models of Table 1: those of the ensemble, its means, and its students."""

from dataclasses import replace
from typing import Any

from repro.speech.runs import Arm, EnsembleRun, NetRun
from repro.speech.settings import SpeechSettings


def ensemble_nets(settings: SpeechSettings) -> list[NetRun]:
    """Return the models of the ensemble, which differ in their initial weights only; each is also a baseline."""
    count = settings.ensemble_size
    return [
        NetRun(Arm.SINGLE_MODEL, settings.hidden_units, settings.recipe, seed, seeds=count) for seed in range(count)
    ]


def whole_ensemble(settings: SpeechSettings) -> EnsembleRun:
    """Return the arithmetic mean of all models."""
    return EnsembleRun(Arm.ENSEMBLE, tuple(ensemble_nets(settings)))


def teacher_of_students(settings: SpeechSettings) -> EnsembleRun:
    """Return the geometric mean of all models, which serves every temperature (section 2 allows both means)."""
    return replace(whole_ensemble(settings), mean="geometric")


def means(settings: SpeechSettings) -> list[EnsembleRun]:
    """Return ensembles of one model up to all, and the geometric mean of all."""
    whole = whole_ensemble(settings)
    return [whole.first(k) for k in range(1, len(whole.nets) + 1)] + [teacher_of_students(settings)]


def student(settings: SpeechSettings, arm: Arm, temperature: float, seed: int, **changes: Any) -> NetRun:
    """Return a student of the ensemble, with ``changes`` to its fields."""
    distilled = settings.distilled
    net = NetRun(
        arm, settings.hidden_units, distilled.recipe, seed, temperature, distilled.hard_label_weight,
        teacher_of_students(settings), seeds=distilled.seeds,
    )  # fmt: skip
    return replace(net, **changes)


def student_seeds(settings: SpeechSettings) -> range:
    """Return the seeds of the students, which no teacher has."""
    return range(settings.ensemble_size, settings.ensemble_size + settings.distilled.seeds)


def distilled_nets(settings: SpeechSettings) -> list[NetRun]:
    """Return the students of Table 1 that choose the temperature: every temperature, every seed."""
    temperatures, seeds = settings.distilled.temperatures, student_seeds(settings)
    return [student(settings, Arm.DISTILLED, t, seed) for t in temperatures for seed in seeds]


def further_students(settings: SpeechSettings, temperature: float) -> list[NetRun]:
    """Return further students at the temperature that is best on validation, beside those of ``distilled_nets``."""
    count = settings.distilled.best_temperature_seeds or settings.distilled.seeds
    seeds = range(student_seeds(settings).stop, settings.ensemble_size + count)
    return [student(settings, Arm.DISTILLED, temperature, seed, seeds=count) for seed in seeds]
