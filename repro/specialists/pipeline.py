"""The runs of one seed: generalist, specialists, both combined, controls, and what is distilled from them."""

from dataclasses import replace

from repro.specialists.runner import SpecialistsRunner
from repro.specialists.runs import (
    NEAR,
    AllClassesRun,
    Arm,
    CombinedRun,
    EnsembleRun,
    NetRun,
    SameViewRun,
    SpecialistRun,
    Variation,
)
from repro.specialists.settings import SpecialistsSettings


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


def longer_runs(settings: SpecialistsSettings, seed: int) -> list[NetRun]:
    """Return the generalist of a seed trained longer on labels, for each number of epochs."""
    generalist, controls = generalist_run(settings, seed), settings.controls
    return [
        NetRun(
            Arm.LONGER, generalist.width, controls.recipe.model_copy(update={"epochs": epochs}), seed, start=generalist,
            params=(("epochs", epochs),),
        )
        for epochs in controls.longer_epochs
    ]  # fmt: skip


def specialist_runs(
    settings: SpecialistsSettings,
    runner: SpecialistsRunner,
    generalist: NetRun,
    count: int | None = None,
    variation: Variation | None = None,
    arm: Arm = Arm.SPECIALIST,
) -> list[SpecialistRun]:
    """Return the specialists of a generalist, or the first ``count`` of them.

    The list is empty where nothing may be trained and the generalist is not finished.
    """
    changed, config, soft = variation or Variation(), settings.specialists, settings.soft_targets
    if runner.report_only and not (runner.is_finished(generalist) and runner.store.has_weights(runner.key(generalist))):
        return []
    kind, clustering = changed.kind or "dustbin", changed.clustering or config.clustering
    size = changed.subset_size or config.classes_per_specialist
    subsets = runner.subsets(generalist, clustering, config.count, size)
    targets = (soft.temperature, soft.hard_label_weight) if kind == "full softmax, soft targets" else (1.0, 1.0)
    return [
        SpecialistRun(
            arm, number, generalist, subset, clustering, kind, config.recipe, config.special_fraction, *targets,
            dustbin_init=config.dustbin_init, fraction=changed.fraction or 1.0, num_evals=config.num_evals,
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


def equal_cost_ensemble(
    settings: SpecialistsSettings, runner: SpecialistsRunner, combined: CombinedRun
) -> EnsembleRun | None:
    """Return the ensemble of generalists whose training costs about as much as ``combined``; None without one."""
    generalist = combined.generalist
    cost = 1 + sum(map(runner.flops, combined.specialists)) / runner.flops(generalist)
    nets = (generalist, *extra_generalists(settings, generalist.seed))
    sizes = [size for size in range(2, len(nets) + 1) if abs(size - cost) <= NEAR * cost]
    if not sizes:
        return None
    size = min(sizes, key=lambda size: abs(size - cost))
    return EnsembleRun(Arm.ENSEMBLE, nets[:size], (("num_models", size),))


def student_of(settings: SpecialistsSettings, arm: Arm, generalist: NetRun, teacher: AllClassesRun | None) -> NetRun:
    """Return a network distilled from ``teacher``, or trained on labels alone if that is None (section 8)."""
    config = settings.redistill
    is_same = teacher is not None and config.view == "same"
    student = (SameViewRun if is_same else NetRun)(arm, generalist.width, config.recipe, generalist.seed, teacher)
    if config.start == "generalist":
        student = replace(student, start=generalist)
    if teacher is None:
        return student
    return replace(student, temperature=config.temperature, hard_label_weight=config.hard_label_weight)


def redistilled_runs(settings: SpecialistsSettings, runner: SpecialistsRunner, combined: CombinedRun) -> list[NetRun]:
    """Return the networks of section 8, which differ in their targets alone.

    The targets are the combined predictions of generalist and specialists, the generalist's own, those of an ensemble
    that costs as much as the specialists, or labels alone.
    """
    generalist = combined.generalist
    teachers: list[tuple[Arm, AllClassesRun | None]] = [
        (Arm.REDISTILLED, combined), (Arm.SELF_DISTILLED, generalist), (Arm.ON_LABELS, None)
    ]  # fmt: skip
    ensemble = equal_cost_ensemble(settings, runner, combined)
    if ensemble is not None:
        teachers.append((Arm.ENSEMBLE_DISTILLED, ensemble))
    return [student_of(settings, arm, generalist, teacher) for arm, teacher in teachers]
