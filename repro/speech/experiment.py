"""Sections 4 and 6, top to bottom: what is trained, in which order.

The ensemble first, then the nets distilled from it (Table 1), the paper's 3% of the data (Table 5), words, other
shares of the data, and what the paper did not show. The temperature of what follows Table 1 is chosen on the validation
frames.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from repro.speech.runner import SpeechRunner
from repro.speech.runs import Ensemble, Net, Rounding, Words
from repro.speech.settings import Part, SpeechSettings

Records = list[dict[str, Any]]
PAPERS_SHARE = 0.03  # section 6; carried out before other shares


def run(settings: SpeechSettings, runner: SpeechRunner, headline: Callable[[Records], None]) -> None:
    """All of it. ``headline`` is called with the records so far once Table 1's frames stand, and with its words."""
    runner.expect([*ensemble_nets(settings), *distilled_nets(settings)])
    runner.execute(ensemble_nets(settings))
    runner.execute(means(settings))
    runner.execute(distilled_nets(settings))
    headline(list(runner.finished.values()))
    temperature = best_temperature(settings, runner)
    if temperature is None:
        return
    geometric = replace(everyone(settings), mean="geometric")
    runner.execute(
        [Rounding("soft targets, rounding", geometric, distilled_nets(settings)[0], settings.distilled.temperatures)]
    )
    few = few_data(settings, temperature)
    runner.expect(few)
    runner.execute([net for net in few if net.share == PAPERS_SHARE])
    if settings.words is not None:
        runner.execute(decodings(settings, temperature))
        headline(list(runner.finished.values()))
    later = (sizes(settings, temperature), widths(settings, temperature))
    for stage in later:
        runner.expect(stage)
    for stage in (few, *later):
        runner.execute(stage)
    untranscribed(settings, runner, temperature)
    for stage in (longer(settings), [arithmetic(settings, temperature)]):
        runner.expect(stage)
        runner.execute(stage)


def ensemble_nets(settings: SpeechSettings) -> list[Net]:
    """Nets that differ in their initial weights alone; each is a baseline, too."""
    count = settings.ensemble
    return [Net("single net", settings.hidden, settings.recipe, seed, seeds=count) for seed in range(count)]


def everyone(settings: SpeechSettings) -> Ensemble:
    """All of them, averaged."""
    return Ensemble("ensemble", tuple(ensemble_nets(settings)))


def means(settings: SpeechSettings) -> list[Ensemble]:
    """Ensembles of one net up to all, and the geometric mean of all."""
    whole = everyone(settings)
    return [whole.first(k) for k in range(1, len(whole.nets) + 1)] + [replace(whole, mean="geometric")]


def student(settings: SpeechSettings, arm: str, temperature: float, seed: int, **changed: Any) -> Net:
    """A net distilled from the ensemble; from the geometric mean of its probabilities unless told otherwise."""
    own, teacher = settings.distilled, replace(everyone(settings), mean="geometric")
    net = Net(arm, settings.hidden, own.recipe, seed, temperature, own.hard_label_weight, teacher, seeds=own.seeds)
    return replace(net, **changed)


def student_seeds(settings: SpeechSettings) -> range:
    """Of the students of the ensemble: no teacher's."""
    return range(settings.ensemble, settings.ensemble + settings.distilled.seeds)


def distilled_nets(settings: SpeechSettings) -> list[Net]:
    """Table 1: every temperature, every seed."""
    temperatures, seeds = settings.distilled.temperatures, student_seeds(settings)
    return [student(settings, "distilled", t, seed) for t in temperatures for seed in seeds]


def best_temperature(settings: SpeechSettings, runner: SpeechRunner) -> float | None:
    """The temperature whose students have most validation frames right; None while they are not finished."""
    nets = distilled_nets(settings)
    if not all(runner.is_finished(net) for net in nets):
        return None
    right: dict[float, list[int]] = {t: [] for t in settings.distilled.temperatures}
    for net, record in zip(nets, runner.execute(nets), strict=True):
        right[net.temperature].append(record["metrics"]["validation_right"])
    return max(right, key=lambda t: float(np.mean(right[t])))


def decodings(settings: SpeechSettings, temperature: float) -> list[Words]:
    """Words from single nets, the ensemble, students of every temperature, and the decoder's own model."""
    students = distilled_nets(settings)
    first = min(net.seed for net in students)
    chosen = [net for net in students if net.temperature == temperature]
    chosen += [net for net in students if net.temperature != temperature and net.seed == first]
    several = {temperature: len({net.seed for net in students})}
    return [
        *(Words("words: single net", net, None, net.seed, settings.decoding.nets)
          for net in ensemble_nets(settings)[: settings.decoding.nets]),
        Words("words: ensemble", everyone(settings)),
        *(Words("words: distilled", net, net.temperature, net.seed, several.get(net.temperature, 1)) for net in chosen),
        Words("words: decoder's own acoustic model", None),
    ]  # fmt: skip


def few_data(settings: SpeechSettings, temperature: float) -> list[Net]:
    """Section 6, Table 5: on shares of the utterances, hard targets beside soft ones."""
    return [net for part in settings.subsets.parts for seed in range(part.seeds)
            for net in subset_nets(settings, part, temperature, seed)]  # fmt: skip


def subset_nets(settings: SpeechSettings, part: Part, temperature: float, seed: int) -> list[Net]:
    """One share and draw of utterances: hard targets and soft ones, for equally long and from the same weights,
    which are no teacher's.

    Both are watched on validation, so that either can be reported as early stopping would have left it.
    """
    own = settings.subsets
    shared: dict[str, Any] = {"share": part.share, "draw": 1 + seed, "early_stopping": True, "num_evals": own.num_evals,
              "seeds": part.seeds}  # fmt: skip
    first = settings.ensemble + seed
    hard = Net("few data, hard targets", settings.hidden, part.recipe, first, **shared)
    soft = student(
        settings, "few data, soft targets", temperature, first,
        recipe=part.recipe, hard_label_weight=own.hard_label_weight, **shared,
    )  # fmt: skip
    return [hard, soft]


def sizes(settings: SpeechSettings, temperature: float) -> list[Net]:
    """Students of smaller ensembles."""
    whole = replace(everyone(settings), mean="geometric")
    return [student(settings, "distilled from fewer nets", temperature, seed, teacher=whole.first(k))
            for k in settings.studies.sizes for seed in student_seeds(settings)]  # fmt: skip


def widths(settings: SpeechSettings, temperature: float) -> list[Net]:
    """Narrower students, and the same nets on hard targets."""
    nets = []
    for share in settings.studies.widths:
        hidden = tuple(max(1, round(share * units)) for units in settings.hidden)
        for seed in student_seeds(settings):
            hard = Net("narrower, hard targets", hidden, settings.recipe, seed, seeds=settings.distilled.seeds)
            nets.append(hard)
            nets.append(student(settings, "narrower, distilled", temperature, seed, hidden=hidden))
    return nets


def longer(settings: SpeechSettings) -> list[Net]:
    """Students that see the data more often than Table 1's, and the same nets on hard targets."""
    own, seeds = settings.studies.longer, student_seeds(settings)
    if own is None:
        return []
    recipe = settings.recipe.model_copy(update={"epochs": own.epochs})
    hard = [Net("trained longer, hard targets", settings.hidden, recipe, seed, seeds=len(seeds)) for seed in seeds]
    recipe = settings.distilled.recipe.model_copy(update={"epochs": own.epochs})
    return hard + [student(settings, "trained longer, distilled", t, seed, recipe=recipe)
                   for t in own.temperatures for seed in seeds]  # fmt: skip


def arithmetic(settings: SpeechSettings, temperature: float) -> Net:
    """A student of the arithmetic mean, which is the dearest to learn from: all nets' probabilities, at each step."""
    arm, first = "distilled, arithmetic mean", student_seeds(settings)[0]
    return student(settings, arm, temperature, first, teacher=everyone(settings), seeds=1)


def untranscribed(settings: SpeechSettings, runner: SpeechRunner, temperature: float) -> None:
    """Teachers that saw few transcripts; a student of the same utterances, and one of all, transcripts hidden."""
    own = settings.studies
    if not own.teachers:
        return
    part: dict[str, Any] = {"share": own.transcribed, "draw": 0}
    teachers = [Net("single net, few transcripts", settings.hidden, settings.recipe, seed, seeds=own.teachers, **part)
                for seed in range(own.teachers)]  # fmt: skip
    whole = Ensemble("ensemble, few transcripts", tuple(teachers))
    learned = {"teacher": replace(whole, mean="geometric"), "hard_label_weight": 0.0}
    seeds = range(own.teachers, own.teachers + settings.distilled.seeds)
    same = [student(settings, "distilled, same speech", temperature, s, **learned, **part) for s in seeds]
    more = [student(settings, "distilled, with untranscribed speech", temperature, s, **learned) for s in seeds]
    runner.expect([*teachers, *same, *more])
    for stage in (teachers, [whole], same, more):
        runner.execute(stage)
