"""Sections 5, 6.1 and 8, top to bottom: what is trained, in which order, for each seed of the whole pipeline.

Where the profile has a search, recipes are first chosen on the validation images (``search.py``). A generalist and its
specialists come next for every seed (Tables 3 and 4), then the controls of equal cost, generalist and specialists
distilled into one network (section 8), full-softmax specialists with soft targets (section 6.1), and ablations.

Committed results (``results/claims.csv``), test accuracy in percent, mean of 10 seeds with 95% CI:

* letters: generalist 52.26, with specialists 62.11: relative gain +19.10% [16.28, 21.91] (paper: +4.4%)
* icons: generalist 45.43, with specialists 47.63: relative gain +4.84% [4.34, 5.33]
* icons, subsets of 2%: the same generalist, with specialists 46.64: relative gain +2.66% [2.24, 3.09]
* cifar100: generalist 39.41, with specialists 43.23: relative gain +9.70% [9.41, 9.99]
* cifar100, subsets of 2%: the same generalist, with specialists 41.69: relative gain +5.79% [5.27, 6.31]
"""

from collections.abc import Callable
from itertools import product
from typing import Any

from repro.config_search import ends_after_search
from repro.errors import UserError
from repro.specialists import search
from repro.specialists.pipeline import (
    combined_runs,
    extra_generalists,
    generalist_run,
    longer_runs,
    redistilled_runs,
    specialist_runs,
)
from repro.specialists.runner import SpecialistsRunner, check
from repro.specialists.runs import (
    OF_ALL_SEEDS,
    OF_THE_SEARCH,
    Arm,
    CombinedRun,
    EnsembleRun,
    NetRun,
    SpecialistRun,
    Variation,
)
from repro.specialists.settings import SpecialistsSettings
from repro.specialists.specialist import Kind

Records = list[dict[str, Any]]
FULL_SOFTMAX: tuple[Kind, ...] = ("full softmax, hard targets", "full softmax, soft targets")


def run(settings: SpecialistsSettings, runner: SpecialistsRunner, headline: Callable[[Records], None]) -> None:
    """Train and evaluate everything.

    Args:
        headline: called with the records so far after the first seeds, as many as are trained side by side, and after
            the last.
    """
    check(settings, len(runner.data.classes))
    check_earlier(settings, runner)
    chosen = search.choose(settings, runner)
    if chosen is None or ends_after_search(settings):
        return
    settings, start = chosen, runner.first_seed
    seeds, few = range(start, chosen.seeds), range(start, chosen.num_ablation_seeds)
    runner.expect([generalist_run(settings, seed) for seed in seeds])
    runner.expect([net for seed in few for net in other_generalists(settings, seed)])
    first = runner.executor.max_in_flight  # as many as are trained side by side
    for batch in (seeds[:first], seeds[first:]):
        runner.execute([generalist_run(settings, seed) for seed in batch])
        for seed in batch:
            runner.expect(runs_from_generalist(settings, runner, seed))
        for seed in batch:
            execute_combined(runner, main_runs(settings, runner, seed))
        if batch:
            headline(list(runner.finished.values()))
    runner.execute([net for seed in seeds for net in longer_runs(settings, seed)])
    execute_ensembles(settings, runner, few)
    runner.execute([net for seed in few for net in section_8_runs(settings, runner, seed)])
    for seed in few:
        execute_combined(runner, kind_runs(settings, runner, seed))
    for seed in few:
        execute_combined(runner, [*clustering_runs(settings, runner, seed), *size_runs(settings, runner, seed)])
    execute_widths(settings, runner, few)


def check_earlier(settings: SpecialistsSettings, runner: SpecialistsRunner) -> None:
    """Check that the seeds to be trained can join those of earlier records, before hours of training.

    Raises:
        UserError: there is no further seed; or the earlier generalists have another key, which means other settings,
            data, code or precision; or the ablations would skip a seed.
    """
    first, count = runner.first_seed, settings.num_ablation_seeds
    if first >= settings.seeds:
        raise UserError(f"--first-seed {first}: must be less than seeds, which is {settings.seeds}")
    if first and runner.key(generalist_run(settings, 0)) not in {record["key"] for record in runner.earlier}:
        raise UserError(
            f"--first-seed {first}: the generalists of the earlier seeds have other settings, data, code or precision; "
            "check out the commit that their records name, or train all seeds"
        )
    of_ablations = {r["seeds"] for r in runner.earlier if r["arm"] not in {*OF_ALL_SEEDS, *OF_THE_SEARCH}}
    if first and not of_ablations:
        of_ablations = {0}
    if any(count != earlier and not count > earlier == first for earlier in of_ablations):
        raise UserError(f"--first-seed {first}: ablation_seeds must be {max(of_ablations)}, that of earlier records")


def other_generalists(settings: SpecialistsSettings, seed: int) -> list[NetRun]:
    """Return the extra generalists of a seed's ensembles, and those of other widths."""
    other_widths = [generalist_run(settings, seed, width) for width in settings.ablations.generalist_widths]
    return [*extra_generalists(settings, seed), *other_widths]


def main_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> list[CombinedRun]:
    """Return the combinations of the main specialists of a seed."""
    return combined_runs(settings, specialist_runs(settings, runner, generalist_run(settings, seed)))


def ablation(
    settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int, arm: Arm, variation: Variation
) -> list[CombinedRun]:
    """Return the combination of the first few specialists with one thing changed; nothing without a generalist."""
    generalist, count = generalist_run(settings, seed, variation.width), settings.ablations.num_specialists
    specialists = specialist_runs(settings, runner, generalist, count, variation, Arm.ABLATION_SPECIALIST)
    if not specialists:
        return []
    return [CombinedRun(arm, generalist, tuple(specialists), settings.specialists.top_n, variation.params)]


def kind_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> list[CombinedRun]:
    """Return full-softmax specialists with and without the generalist's soft targets (section 6.1).

    They are compared with as many specialists that have a dustbin, on the same fractions of the training images; on all
    of them these are the main ones.
    """
    return [
        run
        for fraction in settings.soft_targets.fractions
        for kind in (*(("dustbin",) if fraction < 1 else ()), *FULL_SOFTMAX)
        for run in ablation(settings, runner, seed, Arm.KIND, Variation(kind=kind, fraction=fraction))
    ]


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


def section_8_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int) -> list[NetRun]:
    """Return the networks distilled from generalist and specialists, with controls; nothing without a generalist."""
    combined = main_runs(settings, runner, seed)
    return redistilled_runs(settings, runner, combined[0]) if combined else []


def runs_from_generalist(
    settings: SpecialistsSettings, runner: SpecialistsRunner, seed: int
) -> list[SpecialistRun | NetRun]:
    """Return what is trained from a seed's generalist; its classes are known once the generalist is trained."""
    combined, nets = main_runs(settings, runner, seed), longer_runs(settings, seed)
    if seed < settings.num_ablation_seeds:
        combined += [
            *kind_runs(settings, runner, seed), *clustering_runs(settings, runner, seed),
            *size_runs(settings, runner, seed),
        ]  # fmt: skip
        nets += section_8_runs(settings, runner, seed)
    return [*(specialist_run for run in combined for specialist_run in run.specialists), *nets]


def execute_combined(runner: SpecialistsRunner, runs: list[CombinedRun]) -> None:
    """Train the specialists of ``runs``, then evaluate the combinations."""
    runner.execute(list(dict.fromkeys(specialist_run for run in runs for specialist_run in run.specialists)))
    runner.execute(runs)


def execute_ensembles(settings: SpecialistsSettings, runner: SpecialistsRunner, seeds: range) -> None:
    """Train extra generalists and average them, up to as many as cost as much as the specialists."""
    runner.execute([net for seed in seeds for net in extra_generalists(settings, seed)])
    for seed in seeds:
        nets = (generalist_run(settings, seed), *extra_generalists(settings, seed))
        if all(runner.is_finished(net) for net in nets):
            sizes = range(2, len(nets) + 1)
            runner.execute([EnsembleRun(Arm.ENSEMBLE, nets[:size], (("num_models", size),)) for size in sizes])


def execute_widths(settings: SpecialistsSettings, runner: SpecialistsRunner, seeds: range) -> None:
    """Train narrower and wider generalists and specialists of the same width."""
    widths = settings.ablations.generalist_widths
    runner.execute([generalist_run(settings, seed, width) for width in widths for seed in seeds])
    for width, seed in product(widths, seeds):
        runs = ablation(settings, runner, seed, Arm.WIDTH, Variation(width=width))
        runner.expect([specialist_run for run in runs for specialist_run in run.specialists])
        execute_combined(runner, runs)
