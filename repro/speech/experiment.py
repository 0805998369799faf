"""Sections 4 and 6, top to bottom: what is trained, in which order.

``repro speech`` gives on synthetic speech, in test frame accuracy: single models 29.23 (paper, on its own data: 58.9),
ensemble of ten 31.97 (61.1), distilled model 31.72 (60.8), 0.91 of the gain transferred (0.86); on 3% of the data soft
targets recover 0.58 of what hard targets lack (0.87). ``repro speech --profile speechocean762``: 33.63, 34.76, 34.52,
0.78 and 0.89; word error rates of the three 67.75, 66.70 and 66.29 (10.9, 10.7, 10.7). See results/speech; tables,
figures and verdicts are made from the records by ``repro.report``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from repro.config_search import ends_after_search
from repro.speech import search
from repro.speech.decoding.choice import ScaleAndWords, best_decoder, word_error_rates
from repro.speech.runner import SpeechRunner
from repro.speech.runs import Arm, DecodingRun, EnsembleRun, NetRun, ScaleRun, TargetPrecisionRun
from repro.speech.settings import DataFraction, Decoding, SpeechSettings
from repro.speech.table1 import (
    distilled_nets,
    ensemble_nets,
    further_students,
    means,
    student,
    student_seeds,
    teacher_of_students,
    whole_ensemble,
)

Records = list[dict[str, Any]]
PAPER_FRACTION = 0.03  # section 6; trained before the other fractions


def run(settings: SpeechSettings, runner: SpeechRunner, headline: Callable[[Records], None]) -> None:
    """Train and decode all of sections 4 and 6.

    ``headline`` is called with the records so far when Table 1's frame accuracies are complete, and again with its
    word error rates. Where the profile has a search, recipes are first chosen on validation (``search.py``); the
    temperature of everything after Table 1 is chosen there, too.
    """
    chosen = search.choose(settings, runner)
    if chosen is None or ends_after_search(settings):
        return
    settings = chosen
    # Table 1: the ensemble, and the models distilled from it.
    runner.expect([*ensemble_nets(settings), *means(settings), *distilled_nets(settings)])
    runner.execute(ensemble_nets(settings))
    runner.execute(means(settings))
    runner.execute(distilled_nets(settings))
    headline(list(runner.finished.values()))
    temperature = best_temperature(settings, runner)
    if temperature is None:
        return
    runner.expect(further_students(settings, temperature))
    runner.execute(further_students(settings, temperature))
    runner.execute([target_precision(settings)])
    # Table 5: the paper's 3% of the data. Then word error rates.
    fractions = data_fraction_nets(settings, temperature)
    runner.expect(fractions)
    runner.execute([net for net in fractions if net.fraction == PAPER_FRACTION])
    if settings.decoding is not None:
        decoder = choose_decoder(settings, settings.decoding, runner)
        if decoder is not None:
            runs = decodings(settings, settings.decoding.num_models, temperature, decoder)
            runner.expect(runs)
            runner.execute(runs)
        headline(list(runner.finished.values()))
    # The other fractions, and ablations beyond the paper.
    ablations = (smaller_ensembles(settings, temperature), narrower_students(settings, temperature))
    for stage in ablations:
        runner.expect(stage)
    for stage in (fractions, *ablations):
        runner.execute(stage)
    untranscribed_speech(settings, runner, temperature)
    arithmetic = [arithmetic_mean_student(settings, temperature)]
    runner.expect(arithmetic)
    runner.execute(arithmetic)


def best_temperature(settings: SpeechSettings, runner: SpeechRunner) -> float | None:
    """Return the temperature with the most correct validation frames; None while students are unfinished."""
    nets = distilled_nets(settings)
    if not all(runner.is_finished(net) for net in nets):
        return None
    right: dict[float, list[int]] = {t: [] for t in settings.distilled.temperatures}
    for net, record in zip(nets, runner.execute(nets), strict=True):
        right[net.temperature].append(record["metrics"]["validation_right"])
    return max(right, key=lambda t: float(np.mean(right[t])))


def target_precision(settings: SpeechSettings) -> TargetPrecisionRun:
    """Return the measurement of what inexact storage of the soft targets changes."""
    temperatures, seed = settings.distilled.temperatures, student_seeds(settings)[0]
    lowest = student(settings, Arm.DISTILLED, min(temperatures), seed)
    return TargetPrecisionRun(Arm.TARGET_PRECISION, teacher_of_students(settings), lowest, temperatures)


def choose_decoder(settings: SpeechSettings, decoding: Decoding, runner: SpeechRunner) -> ScaleAndWords | None:
    """Return acoustic scale and vocabulary of all decodings, chosen on validation one by one; None while unknown."""
    scales, (first, *others) = decoding.acoustic_scales, decoding.general_words
    if len(scales) == 1 and not others:
        return scales[0], first
    nets = tuple(ensemble_nets(settings)[: decoding.scale_models])

    def compare(scales: Sequence[float], vocabularies: Sequence[int]) -> Records | None:
        runs = [ScaleRun(Arm.ACOUSTIC_SCALE, (net,), (scale,), words, seed=net.seed, seeds=len(nets))
                for words in vocabularies for scale in scales for net in nets]  # fmt: skip
        runner.expect(runs)
        records = runner.execute(runs)
        return records if len(records) == len(runs) else None

    records = compare(scales, [first])
    if records is None:
        return None
    scale, _ = best_decoder(word_error_rates(records))
    more = compare([scale], others)
    return None if more is None else best_decoder(word_error_rates([*records, *more]))


def decodings(
    settings: SpeechSettings, num_models: int, temperature: float, decoder: ScaleAndWords
) -> list[DecodingRun]:
    """Return the decodings with single models, the ensemble, students and pocketsphinx's own acoustic model.

    All students of ``temperature`` are decoded, and the first of every other temperature.
    """
    students, (first, *_) = distilled_nets(settings), student_seeds(settings)
    best = [net for net in students if net.temperature == temperature] + further_students(settings, temperature)
    others = [net for net in students if net.temperature != temperature and net.seed == first]

    def decoding(system: str, net: NetRun | EnsembleRun | None, **fields: Any) -> DecodingRun:
        return DecodingRun(Arm.DECODE, net, *decoder, params=(("system", system),), **fields)

    return [
        *(decoding("single", net, seed=net.seed, seeds=num_models) for net in ensemble_nets(settings)[:num_models]),
        decoding("ensemble", whole_ensemble(settings)),
        *(decoding("distilled", net, temperature=net.temperature, seed=net.seed, seeds=len(best)) for net in best),
        *(decoding("distilled", net, temperature=net.temperature, seed=net.seed) for net in others),
        decoding("stock", None),
    ]  # fmt: skip


def data_fraction_nets(settings: SpeechSettings, temperature: float) -> list[NetRun]:
    """Return the models of section 6, Table 5: on fractions of the utterances, hard targets beside soft ones."""
    return [net for entry in settings.data_fractions for seed in range(entry.seeds)
            for net in fraction_nets(settings, entry, temperature, seed)]  # fmt: skip


def fraction_nets(settings: SpeechSettings, entry: DataFraction, temperature: float, seed: int) -> list[NetRun]:
    """Return models on hard targets, one for each length of training, and one on soft targets.

    They have the same utterances and the same initial weights, which no teacher has. All are evaluated on validation
    as they train, so that each can be reported as early stopping leaves it. Early stopping leaves a model in the
    middle of its schedule, where the learning rate is still high; hence the shorter schedules of hard targets.
    """
    shared: dict[str, Any] = {
        "fraction": entry.fraction, "data_seed": 1 + seed, "early_stopping": True, "num_evals": settings.num_evals,
        "seeds": entry.seeds,
    }  # fmt: skip
    arm, initial = Arm.DATA_FRACTION, settings.ensemble_size + seed
    params = (("targets", "hard"),)
    hard = [NetRun(arm, settings.hidden_units, entry.recipe.model_copy(update={"epochs": epochs}), initial,
                   params=params, **shared)
            for epochs in sorted({*entry.hard_epochs, entry.recipe.epochs})]  # fmt: skip
    soft = student(
        settings, arm, temperature, initial, recipe=entry.recipe, hard_label_weight=entry.hard_label_weight,
        params=(("targets", "soft"),), **shared,
    )  # fmt: skip
    return [*hard, soft]


def smaller_ensembles(settings: SpeechSettings, temperature: float) -> list[NetRun]:
    """Return students of smaller ensembles."""
    whole = teacher_of_students(settings)
    return [student(settings, Arm.SMALLER_ENSEMBLE, temperature, seed, teacher=whole.first(k))
            for k in settings.ablations.ensemble_sizes for seed in student_seeds(settings)]  # fmt: skip


def narrower_students(settings: SpeechSettings, temperature: float) -> list[NetRun]:
    """Return narrower students, and models of the same width on hard targets."""
    nets = []
    for fraction in settings.ablations.width_fractions:
        hidden = tuple(max(1, round(fraction * units)) for units in settings.hidden_units)
        for seed in student_seeds(settings):
            hard_arm, seeds = Arm.STUDENT_WIDTH_HARD_TARGETS, settings.distilled.seeds
            nets.append(NetRun(hard_arm, hidden, settings.recipe, seed, seeds=seeds))
            nets.append(student(settings, Arm.STUDENT_WIDTH_KD, temperature, seed, hidden_units=hidden))
    return nets


def arithmetic_mean_student(settings: SpeechSettings, temperature: float) -> NetRun:
    """Return a student of the arithmetic mean, the most expensive target: all models' probabilities at each step."""
    first = student_seeds(settings)[0]
    teacher = whole_ensemble(settings)
    return student(settings, Arm.DISTILLED_ARITHMETIC_MEAN, temperature, first, teacher=teacher, seeds=1)


def untranscribed_speech(settings: SpeechSettings, runner: SpeechRunner, temperature: float) -> None:
    """Train teachers on a fraction of the transcripts, students on the same utterances, and students on all.

    The students see no transcripts.
    """
    ablations = settings.ablations
    count = ablations.transcribed_ensemble_size
    if not count:
        return
    part: dict[str, Any] = {"fraction": ablations.transcribed_fraction, "data_seed": 0}
    arm = Arm.SINGLE_MODEL_FEW_TRANSCRIPTS
    teachers = [NetRun(arm, settings.hidden_units, settings.recipe, seed, seeds=count, **part)
                for seed in range(count)]  # fmt: skip
    ensemble = EnsembleRun(Arm.ENSEMBLE_FEW_TRANSCRIPTS, tuple(teachers))
    soft_only = {"teacher": replace(ensemble, mean="geometric"), "hard_label_weight": 0.0}
    seeds = range(count, count + settings.distilled.seeds)
    same = [student(settings, Arm.KD_TRANSCRIBED_ONLY, temperature, seed, **soft_only, **part) for seed in seeds]
    more = [student(settings, Arm.KD_WITH_UNTRANSCRIBED, temperature, seed, **soft_only) for seed in seeds]
    runner.expect([*teachers, ensemble, *same, *more])
    for stage in (teachers, [ensemble], same, more):
        runner.execute(stage)
