"""Search of a method's settings on validation images."""

from functools import partial

import pytest

from repro import config
from repro.engine.jobs import serial_executor
from repro.errors import UserError
from repro.variants import experiment
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Arm
from repro.variants.settings import VariantsSettings


def test_a_grid_is_judged_by_the_mean_over_the_seeds_of_the_search(runner_for, stripy, monkeypatch):
    settings = config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), ["search_seeds=2"])
    method, runner = settings.baseline, partial(runner_for, kind=VariantsRunner)(settings, stripy)
    entries, nets = experiment.grid(method, None), experiment.search_runs(settings, method, None)
    assert [net.options for net in nets] == [entry for entry in entries for _ in range(2)]
    assert {net.seeds for net in nets} == {2} and len({net.seed for net in nets}) == 2
    assert min(net.seed for net in nets) > settings.seeds
    errors = [10.0, 30.0, 19.0, 19.5, *[40.0] * (2 * len(entries) - 4)]
    metrics = [{"validation_errors": count, "validation_nll": 1.0} for count in errors]
    monkeypatch.setattr(runner, "execute", lambda runs: [{"metrics": each} for each in metrics])
    assert experiment.choose(settings, runner, method, None) == entries[1]
    metrics[2] = {"diverged": True}
    assert experiment.choose(settings, runner, method, None) == entries[0]
    metrics[::2] = [{"diverged": True}] * len(entries)
    with pytest.raises(UserError, match="every entry of its grid diverged"):
        experiment.choose(settings, runner, method, None)


@pytest.fixture
def executed(runner_for, stripy):
    """Return a function that runs ``train_methods`` without training, which returns settings and the runs of each call.

    All entries of a grid score the same.
    """

    def run(workers):
        settings = config.load(VariantsSettings, config.profile_path("variants", "icons_long"))
        runner = runner_for(settings, stripy, f"runs-{workers}", kind=VariantsRunner)
        calls, expected, execute = [], [], runner.execute

        def make(net):
            metrics = {"validation_errors": 1, "validation_nll": 1.0}
            runner.store.add(runner.key(net), [runner.record(net, metrics, [], 0.0)], {})

        runner.make, runner.progress.expect = make, expected.append
        runner.execute = lambda nets: calls.append(runner.plan(nets)) or execute(nets)
        runner.executor = partial(serial_executor)
        runner.executor.max_in_flight = workers
        rows = experiment.train_methods(settings, runner, "{}")
        assert set(rows) == {method.name for method in settings.methods}
        assert sum(expected) == pytest.approx(sum(job.flops for jobs in calls for job in jobs))
        return settings, [[job.runs[0] for job in jobs] for jobs in calls if jobs]

    return run


def test_methods_are_searched_before_their_students_and_a_few_at_a_time(executed):
    settings, calls = executed(workers=2)
    searched, finished = set(), set()
    for nets in calls:
        names = {arm: {dict(net.params)["name"] for net in nets if net.arm == arm} for arm in Arm}
        assert names[Arm.METHOD] <= searched | {"KD", "no KD"} and not names[Arm.SEARCH] & searched
        assert len(names[Arm.SEARCH]) <= 1 and not names[Arm.METHOD] & finished
        searched, finished = searched | names[Arm.SEARCH], finished | names[Arm.METHOD]
    assert finished == {method.name for method in settings.methods} == searched | {"KD", "no KD"}
    assert {dict(net.params)["name"] for net in calls[0] if net.arm == Arm.METHOD} == {"KD"}


def test_with_many_workers_all_methods_are_searched_together(executed):
    _, calls = executed(workers=1000)
    assert len(calls) == 2 and {net.arm for net in calls[1]} == {Arm.METHOD}
