"""Search of a method's settings on validation images."""

from functools import partial

import pytest

from repro import config
from repro.errors import UserError
from repro.variants import experiment
from repro.variants.runner import VariantsRunner
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
