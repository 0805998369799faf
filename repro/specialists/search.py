"""Choice of recipes on the validation images, stage by stage, with seeds that nothing else uses.

Each stage varies some settings of one section. Specialists are judged by the validation errors of the generalist with
the first few of them; those of section 6.1, with their soft targets; redistilled networks, by their own. The values
with the fewest errors, in the mean over the seeds, hold from the next stage on.
"""

from dataclasses import replace

from repro.config_search import FIRST_SEARCH_SEED, Params, Stage, best_of_stages
from repro.errors import UserError
from repro.specialists.evaluate import validation_errors
from repro.specialists.pipeline import generalist_run, specialist_runs, student_of
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.runs import Arm, CombinedRun, NetRun, SpecialistRun, Variation
from repro.specialists.settings import SpecialistsSettings, searched_section


def choose(settings: SpecialistsSettings, runner: SpecialistsRunner) -> SpecialistsSettings | None:
    """Return the settings with the best values found; as they are without a search, None if it is not finished.

    Candidates that diverge are skipped.

    Raises:
        UserError: the generalist or all candidates of a stage diverge.
    """
    if settings.search is None:
        return settings
    count = settings.search.num_specialists
    seeds = range(FIRST_SEARCH_SEED, FIRST_SEARCH_SEED + settings.search.seeds)
    generalists = [replace(generalist_run(settings, seed), arm=Arm.SEARCH_GENERALIST) for seed in seeds]
    runner.expect(generalists)
    trained = runner.execute(generalists)
    if len(trained) < len(generalists):
        return None
    if any("diverged" in record["metrics"] for record in trained):
        raise UserError("search: the generalist diverged; lower generalist.recipe.learning_rate")

    def judge(
        stage: Stage, best: SpecialistsSettings, tried: dict[Params, SpecialistsSettings]
    ) -> dict[Params, float] | None:
        errors: dict[Params, float] = {}
        runs = {params: judged_runs(other, runner, generalists, params, count) for params, other in tried.items()}
        runner.expect([part for several in runs.values() for run in several for part in (*specialists_of(run), run)])
        for params, several in runs.items():
            members = list(dict.fromkeys(part for run in several for part in specialists_of(run)))
            trained = runner.execute(members)
            if len(trained) < len(members):
                return None
            if any("diverged" in record["metrics"] for record in trained):
                continue
            records = runner.execute(several)
            if len(records) < len(generalists):
                return None
            if not any("diverged" in record["metrics"] for record in records):
                errors[params] = validation_errors(records)
        return errors

    return best_of_stages(settings, settings.search.stages, judge)


def judged_runs(
    settings: SpecialistsSettings,
    runner: SpecialistsRunner,
    generalists: list[NetRun],
    params: Params,
    count: int,
) -> list[CombinedRun | NetRun]:
    """Return the run of each seed by which a candidate is judged."""
    section = searched_section(dict(params[1:]))
    runs: list[CombinedRun | NetRun] = []
    for generalist in generalists:
        variation = Variation(kind="full softmax, soft targets") if section == "soft_targets" else None
        number = None if section == "redistill" else count
        specialists = specialist_runs(settings, runner, generalist, number, variation, Arm.SEARCH_SPECIALIST)
        if specialists:
            combined = CombinedRun(Arm.SEARCH, generalist, tuple(specialists), settings.specialists.top_n, params)
            student = replace(student_of(settings, Arm.SEARCH, generalist, combined), params=params)
            runs.append(student if section == "redistill" else combined)
    return runs


def specialists_of(run: CombinedRun | NetRun) -> tuple[SpecialistRun, ...]:
    """Return the specialists that must be trained before a judged run."""
    combined = run.teacher if isinstance(run, NetRun) else run
    return combined.specialists if isinstance(combined, CombinedRun) else ()
