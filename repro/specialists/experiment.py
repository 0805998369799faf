"""Sections 5 and 6.1, top to bottom: what is trained, in which order, for each seed of the whole pipeline.

The headline, a generalist and its specialists, comes first for every seed; then what is varied, one thing
at a time; then what the paper left open: distilling generalist and specialists back into one net.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from repro.specialists import specialist
from repro.specialists.runner import SpecialistsRunner, check
from repro.specialists.runs import Combined, Ensemble, Net, Specialist
from repro.specialists.settings import Method, SpecialistsSettings

Records = list[dict[str, Any]]
MAIN = "with specialists"


def run(settings: SpecialistsSettings, runner: SpecialistsRunner, headline: Callable[[Records], None]) -> None:
    """All of it. ``headline`` is called with the records so far after the first seed and after the last."""
    check(settings, len(runner.data.classes))
    seeds = range(settings.seeds)
    runner.progress.expect(total_flops(settings, runner))
    for seed in seeds:
        runner.execute([generalist_run(settings, seed)])
        specialists = specialist_runs(settings, runner, seed)
        runner.execute(specialists)
        runner.execute(combined_runs(settings, specialists))
        if seed in (0, settings.seeds - 1):
            headline(list(runner.finished.values()))
    for study in (soft_targets, distilled_back, ensembles, methods, sizes, widths):
        for seed in seeds:
            study(settings, runner, seed)


def generalist_run(settings: SpecialistsSettings, seed: int, width: int | None = None) -> Net:
    """The net that knows all classes; of the settings' width, or of another."""
    arm = "generalist" if width is None else f"generalist, width: {width}"
    return Net(arm, settings.generalist.width if width is None else width, settings.generalist.recipe, seed)


def specialist_runs(
    settings: SpecialistsSettings,
    runner: SpecialistsRunner,
    seed: int,
    count: int | None = None,
    arm: str = "specialist",
    width: int | None = None,
    method: Method | None = None,
    size: int | None = None,
    kind: specialist.Kind = "dustbin",
) -> list[Specialist]:
    """The specialists of a generalist, or the first ``count`` of them; one thing may differ from the settings.

    None where only what is finished counts and the generalist is not.
    """
    own, soft = settings.specialists, settings.soft_targets
    generalist = generalist_run(settings, seed, width)
    if runner.report_only and not runner.is_finished(generalist):
        return []
    method = method or own.method
    subsets = runner.subsets(generalist, method, own.count, size or own.size)
    learned = (soft.temperature, soft.hard_label_weight) if kind == "full softmax, soft targets" else (1.0, 1.0)
    return [
        Specialist(arm, number, generalist, subset, method, kind, own.recipe, own.special_share, *learned)
        for number, subset in enumerate(subsets[: count or own.count])
    ]


def combined_runs(settings: SpecialistsSettings, specialists: list[Specialist]) -> list[Combined]:
    """Table 3, then other numbers of active classes, then fewer specialists."""
    if not specialists:
        return []
    generalist, everyone, studies = specialists[0].generalist, tuple(specialists), settings.studies
    active = settings.specialists.active
    counts = sorted({min(count, len(everyone)) for count in (studies.count, *studies.counts)})
    return [
        Combined(MAIN, generalist, everyone, active),
        *(Combined(f"{MAIN}, active", generalist, everyone, n) for n in studies.active if n != active),
        *(Combined(f"{MAIN}, count", generalist, everyone[:count], active) for count in counts),
    ]


def _study(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int, name: str, **changed: Any) -> None:
    """The first few specialists with one thing changed, and their combination with the generalist."""
    count = settings.studies.count
    specialists = specialist_runs(settings, runner, seed, count, f"specialist, {name}", **changed)
    if not specialists:
        return
    runner.execute(specialists)
    generalist, active = specialists[0].generalist, settings.specialists.active
    runner.execute([Combined(f"{MAIN}, {name}", generalist, tuple(specialists), active)])


def soft_targets(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> None:
    """Section 6.1: full softmax with and without the generalist's soft targets.

    The dustbin kind stands beside them as that many of the main specialists.
    """
    for kind in ("full softmax, hard targets", "full softmax, soft targets"):
        _study(settings, runner, seed, f"kind: {kind}", kind=kind)


def methods(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> None:
    """Other ways to choose subsets, random ones as the control."""
    for method in settings.studies.methods:
        _study(settings, runner, seed, f"method: {method}", method=method)


def sizes(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> None:
    """Smaller and larger subsets."""
    for size in settings.studies.sizes:
        _study(settings, runner, seed, f"size: {size}", size=size)


def widths(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> None:
    """Narrower and wider generalists, with specialists of their own width."""
    for width in settings.studies.widths:
        runner.execute([generalist_run(settings, seed, width)])
        _study(settings, runner, seed, f"width: {width}", width=width)


def distilled_back(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> None:
    """Section 8: the generalist trained further, on what it and its specialists say together, on what it says
    itself, and on hard targets alone."""
    back, width = settings.distilled_back, settings.generalist.width
    specialists = specialist_runs(settings, runner, seed)
    if not specialists:
        return
    generalist = specialists[0].generalist
    everyone = Combined(MAIN, generalist, tuple(specialists), settings.specialists.active)
    learned: dict[str, Any] = {
        "temperature": back.temperature,
        "hard_label_weight": back.hard_label_weight,
        "start": generalist,
    }
    runner.execute(
        [
            Net("distilled from generalist and specialists", width, back.recipe, seed, everyone, **learned),
            Net("distilled from the generalist", width, back.recipe, seed, generalist, **learned),
            Net("hard targets, longer", width, back.recipe, seed, start=generalist),
        ]
    )


def ensembles(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> None:
    """Generalists alone, averaged: up to as many as cost what the specialists cost."""
    first = generalist_run(settings, seed)
    more = [
        replace(first, arm="further generalist", number=number) for number in range(1, settings.more_generalists + 1)
    ]
    runner.execute(more)
    if all(runner.is_finished(net) for net in (first, *more)):
        runner.execute([Ensemble("ensemble of generalists", (first, *more[:k])) for k in range(1, len(more) + 1)])


def total_flops(settings: SpecialistsSettings, runner: SpecialistsRunner) -> float:
    """The work ahead, for the progress bar, with every specialist of average size."""
    flops, own = runner.flops, settings.specialists

    def specialists(count: int, width: int, size: int) -> float:
        share = min(1.0, size / len(runner.data.classes)) / own.special_share
        net = Net("", width, own.recipe, 0)
        return count * flops(net) * share

    width, few = settings.generalist.width, settings.studies.count
    seeds, studies = settings.seeds, settings.studies
    one = flops(generalist_run(settings, 0)) + specialists(own.count, width, own.size)
    one += specialists(few, width, own.size) * (2 + len(studies.methods))
    one += sum(specialists(few, width, size) for size in studies.sizes)
    one += sum(specialists(few, w, own.size) + flops(generalist_run(settings, 0, w)) for w in studies.widths)
    one += 3 * flops(Net("", width, settings.distilled_back.recipe, 0))
    return seeds * (one + settings.more_generalists * flops(generalist_run(settings, 0)))
