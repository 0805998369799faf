"""Choice of recipes on the validation speakers, stage by stage, with seeds that nothing else uses.

Stages of ``recipe`` and ``hidden_units`` come first; they are judged by single models on hard targets. Those of
``distilled`` are judged by students of the ensemble that the first stages lead to. The values with the most correct
validation frames, in the mean over the seeds, hold from the next stage on.
"""

from dataclasses import replace

import numpy as np

from repro.config_search import FIRST_SEARCH_SEED, Params, Stage, best_of_stages
from repro.speech.runner import SpeechRunner
from repro.speech.runs import Arm, NetRun
from repro.speech.settings import Search, SpeechSettings, is_of_students
from repro.speech.table1 import ensemble_nets, student, teacher_of_students


def choose(settings: SpeechSettings, runner: SpeechRunner) -> SpeechSettings | None:
    """Return the settings with the best values found; as they are without a search, None if it is not finished.

    Candidates that diverge are skipped.

    Raises:
        UserError: all candidates of a stage diverge.
    """
    search = settings.search
    if search is None:
        return settings

    def judge(stage: Stage, best: SpeechSettings, tried: dict[Params, SpeechSettings]) -> dict[Params, float] | None:
        of_students = is_of_students(stage)
        runs = {params: judged_nets(other, search, params, of_students) for params, other in tried.items()}
        if of_students:
            runner.expect([*ensemble_nets(best), teacher_of_students(best)])
            if len(runner.execute(ensemble_nets(best))) < best.ensemble_size:
                return None
            runner.execute([teacher_of_students(best)])  # its record says what the students can reach
        everything = [net for nets in runs.values() for net in nets]
        runner.expect(everything)
        if len(runner.execute(everything)) < len(everything):
            return None
        errors = {}
        for params, nets in runs.items():
            measured = [record["metrics"] for record in runner.execute(nets)]
            if not any("diverged" in metrics for metrics in measured):
                errors[params] = float(np.mean([m["validation_cases"] - m["validation_right"] for m in measured]))
        return errors

    return best_of_stages(settings, search.stages, judge)


def judged_nets(settings: SpeechSettings, search: Search, params: Params, of_students: bool) -> list[NetRun]:
    """Return the models by which a candidate is judged, one for each seed."""
    seeds = range(FIRST_SEARCH_SEED, FIRST_SEARCH_SEED + search.seeds)
    if of_students:
        nets = [student(settings, Arm.SEARCH, search.temperature, seed) for seed in seeds]
    else:
        nets = [NetRun(Arm.SEARCH, settings.hidden_units, settings.recipe, seed) for seed in seeds]
    return [replace(net, params=params, seeds=search.seeds) for net in nets]
