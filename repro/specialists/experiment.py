"""Sections 5, 6.1 and 8, top to bottom: what is trained, in which order, for each seed of the whole pipeline.

A generalist and its specialists come first for every seed (Tables 3 and 4), then full-softmax specialists with soft
targets (section 6.1), then generalist and specialists distilled into one network (section 8), then ensembles of equal
compute, then the other ablations.

Committed results (``results/claims.csv``), test accuracy in percent, mean of 3 seeds with 95% CI:

* icons: generalist 45.75, with specialists 47.90: relative gain +4.71% [1.63, 7.79] (paper: +4.4%)
* cifar100: generalist 39.24, with specialists 43.26: relative gain +10.25% [9.12, 11.37]
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from repro.specialists.runner import SpecialistsRunner, check
from repro.specialists.runs import Arm, CombinedRun, EnsembleRun, NetRun, SpecialistRun, Variation
from repro.specialists.settings import SpecialistsSettings
from repro.specialists.specialist import Kind

Records = list[dict[str, Any]]
FULL_SOFTMAX: tuple[Kind, ...] = ("full softmax, hard targets", "full softmax, soft targets")


def run(settings: SpecialistsSettings, runner: SpecialistsRunner, headline: Callable[[Records], None]) -> None:
    """Train and evaluate everything.

    Args:
        headline: called with the records so far after the first seed and after the last.
    """
    check(settings, len(runner.data.classes))
    seeds = range(settings.seeds)
    runner.expect([net for seed in seeds for net in all_generalists(settings, seed)])
    for seed in seeds:
        runner.execute([generalist_run(settings, seed)])
        runner.expect(runs_from_generalist(settings, runner, seed))
        execute_combined(runner, main_runs(settings, runner, seed))
        if seed in (0, settings.seeds - 1):
            headline(list(runner.finished.values()))
    for seed in seeds:
        execute_combined(runner, kind_runs(settings, runner, seed))
    for seed in seeds:
        runner.execute(redistilled_runs(settings, runner, seed))
    for seed in seeds:
        execute_ensembles(settings, runner, seed)
    for seed in seeds:
        execute_combined(runner, [*clustering_runs(settings, runner, seed), *size_runs(settings, runner, seed)])
    for seed in seeds:
        execute_widths(settings, runner, seed)


def generalist_run(settings: SpecialistsSettings, seed: int, width: int | None = None) -> NetRun:
    """Return the generalist of a seed, of the settings' width or, in the ablation, of another."""
    recipe = settings.generalist.recipe
    if width is None:
        return NetRun(Arm.GENERALIST, settings.generalist.channels, recipe, seed)
    return NetRun(Arm.ABLATION_GENERALIST, width, recipe, seed, params=(("width", width),))


def extra_generalists(settings: SpecialistsSettings, seed: int) -> list[NetRun]:
    """Return the extra generalists of a seed, which differ in initial weights and batch order."""
    return [
        replace(generalist_run(settings, seed), arm=Arm.EXTRA_GENERALIST, number=number, params=(("number", number),))
        for number in range(1, settings.extra_generalists + 1)
    ]


def all_generalists(settings: SpecialistsSettings, seed: int) -> list[NetRun]:
    """Return the generalist of a seed, the extra ones of its ensembles, and those of other widths."""
    other_widths = [generalist_run(settings, seed, width) for width in settings.ablations.generalist_widths]
    return [generalist_run(settings, seed), *extra_generalists(settings, seed), *other_widths]


def specialist_runs(
    settings: SpecialistsSettings,
    runner: SpecialistsRunner,
    seed: int,
    count: int | None = None,
    variation: Variation | None = None,
) -> list[SpecialistRun]:
    """Return the specialists of a seed's generalist, or the first ``count`` of them.

    The list is empty where nothing may be trained and the generalist is not finished.
    """
    changed, config, soft = variation or Variation(), settings.specialists, settings.soft_targets
    generalist = generalist_run(settings, seed, changed.width)
    if runner.report_only and not runner.is_finished(generalist):
        return []
    arm = Arm.SPECIALIST if variation is None else Arm.ABLATION_SPECIALIST
    kind, clustering = changed.kind or "dustbin", changed.clustering or config.clustering
    size = changed.subset_size or config.classes_per_specialist
    subsets = runner.subsets(generalist, clustering, config.count, size)
    targets = (soft.temperature, soft.hard_label_weight) if kind == "full softmax, soft targets" else (1.0, 1.0)
    return [
        SpecialistRun(
            arm, number, generalist, subset, clustering, kind, config.recipe, config.special_fraction, *targets,
            params=changed.params,
        )
        for number, subset in enumerate(subsets[: count or config.count])
    ]  # fmt: skip


def combined_runs(settings: SpecialistsSettings, specialists: list[SpecialistRun]) -> list[CombinedRun]:
    """Return Table 3's combination, then other numbers n of most probable classes, then fewer specialists."""
    if not specialists:
        return []
    generalist, every, ablations = specialists[0].generalist, tuple(specialists), settings.ablations
    top_n = settings.specialists.top_n
    counts = sorted({min(count, len(every)) for count in (ablations.num_specialists, *ablations.specialist_counts)})
    return [
        CombinedRun(Arm.COMBINED, generalist, every, top_n),
        *(CombinedRun(Arm.TOP_N, generalist, every, n, (("top_n", n),)) for n in ablations.top_n if n != top_n),
        *(CombinedRun(Arm.COUNT, generalist, every[:count], top_n, (("count", count),)) for count in counts),
    ]


def main_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> list[CombinedRun]:
    """Return the combinations of the main specialists of a seed."""
    return combined_runs(settings, specialist_runs(settings, runner, seed))


def ablation(
    settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int, arm: Arm, variation: Variation
) -> list[CombinedRun]:
    """Return the combination of the first few specialists with one thing changed; nothing without a generalist."""
    specialists = specialist_runs(settings, runner, seed, settings.ablations.num_specialists, variation)
    if not specialists:
        return []
    top_n = settings.specialists.top_n
    return [CombinedRun(arm, specialists[0].generalist, tuple(specialists), top_n, variation.params)]


def kind_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> list[CombinedRun]:
    """Return full-softmax specialists with and without the generalist's soft targets (section 6.1).

    They are compared with as many of the main specialists, which have a dustbin.
    """
    return [run for kind in FULL_SOFTMAX for run in ablation(settings, runner, seed, Arm.KIND, Variation(kind=kind))]


def clustering_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> list[CombinedRun]:
    """Return specialists on classes that another algorithm chose; random classes are the control."""
    return [
        run
        for name in settings.ablations.clusterings
        for run in ablation(settings, runner, seed, Arm.CLUSTERING, Variation(clustering=name))
    ]


def size_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> list[CombinedRun]:
    """Return specialists on fewer and on more classes."""
    return [
        run
        for size in settings.ablations.subset_sizes
        for run in ablation(settings, runner, seed, Arm.SUBSET_SIZE, Variation(subset_size=size))
    ]


def redistilled_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> list[NetRun]:
    """Return the generalist trained further in three ways (section 8).

    The targets are the combined predictions of generalist and specialists, the generalist's own, or labels alone.
    """
    combined = main_runs(settings, runner, seed)
    if not combined:
        return []
    config, width, generalist = settings.redistill, settings.generalist.channels, combined[0].generalist
    soft: dict[str, Any] = {
        "temperature": config.temperature,
        "hard_label_weight": config.hard_label_weight,
        "start": generalist,
    }
    return [
        NetRun(Arm.REDISTILLED, width, config.recipe, seed, combined[0], **soft),
        NetRun(Arm.SELF_DISTILLED, width, config.recipe, seed, generalist, **soft),
        NetRun(Arm.LONGER, width, config.recipe, seed, start=generalist),
    ]


def runs_from_generalist(
    settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int
) -> list[SpecialistRun | NetRun]:
    """Return what is trained from a seed's generalist; its classes are known once the generalist is trained."""
    combined = [
        *main_runs(settings, runner, seed), *kind_runs(settings, runner, seed),
        *clustering_runs(settings, runner, seed), *size_runs(settings, runner, seed),
    ]  # fmt: skip
    specialists = [specialist_run for run in combined for specialist_run in run.specialists]
    return [*specialists, *redistilled_runs(settings, runner, seed)]


def execute_combined(runner: SpecialistsRunner, runs: list[CombinedRun]) -> None:
    """Train the specialists of ``runs``, then evaluate the combinations."""
    runner.execute(list(dict.fromkeys(specialist_run for run in runs for specialist_run in run.specialists)))
    runner.execute(runs)


def execute_ensembles(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> None:
    """Train extra generalists and average them, up to as many as cost as much as the specialists."""
    nets = (generalist_run(settings, seed), *extra_generalists(settings, seed))
    runner.execute(nets[1:])
    if all(runner.is_finished(net) for net in nets):
        sizes = range(2, len(nets) + 1)
        runner.execute([EnsembleRun(Arm.ENSEMBLE, nets[:size], (("num_models", size),)) for size in sizes])


def execute_widths(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> None:
    """Train narrower and wider generalists and specialists of the same width."""
    for width in settings.ablations.generalist_widths:
        runner.execute([generalist_run(settings, seed, width)])
        runs = ablation(settings, runner, seed, Arm.WIDTH, Variation(width=width))
        runner.expect([specialist_run for run in runs for specialist_run in run.specialists])
        execute_combined(runner, runs)
