"""The sides of the speed ratios do the work they say, and the plain loops learn what ours do."""

import json

import pytest
import torch

from repro import bench, config
from repro.core import compute
from repro.errors import UserError
from repro.specialists import bench as specialists_bench
from repro.specialists.settings import SpecialistsSettings

CPU = compute.choose("cpu", "fp32")


@pytest.fixture
def settings() -> SpecialistsSettings:
    changes = ["specialists.size=5", "studies.sizes=[]", "generalist.recipe.batch=32"]
    return config.load(SpecialistsSettings, config.profile_path("specialists", "smoke"), changes)


def test_a_plain_loop_starts_where_ours_does_and_learns_alike(stripy, settings, monkeypatch):
    monkeypatch.setattr(specialists_bench, "STEPS", 8)
    plain, ours = specialists_bench.ratios(settings, stripy, CPU)["specialists.conv_vs_plain"]
    assert all(torch.equal(a, b) for a, b in zip(plain.net.parameters(), ours.training.net.parameters(), strict=True))
    assert plain() > 0 and ours() > 0
    assert plain.losses[0] == pytest.approx(ours.losses[0], abs=0.3)


def test_equation_5_is_timed_at_equal_objective(stripy, settings):
    timed = specialists_bench.Equation5(stripy, settings, CPU)
    least = timed._value(timed._em(1000))
    assert timed._value(timed._descend(timed.steps)) - least < specialists_bench.EQUAL
    assert timed._value(timed._em(timed.em_steps)) - least < specialists_bench.EQUAL
    assert all(side() > 0 for side in timed.sides())


def test_loops_that_do_not_learn_alike_give_no_ratio(tmp_path, monkeypatch):
    class Side:
        def __init__(self, loss):
            self.losses = [loss]

        def __call__(self):
            return 2.0 + self.losses[0]

    monkeypatch.setattr(bench, "_sides", lambda data, chosen: {"mnist.vs_dataloader": (Side(2.0), Side(0.0))})
    with pytest.raises(UserError, match="do not learn alike"):
        bench.measure(tmp_path, tmp_path / "bench.json", CPU, 1, "none")
    monkeypatch.setattr(bench, "_sides", lambda data, chosen: {"mnist.vs_dataloader": (Side(0.02), Side(0.0))})
    bench.measure(tmp_path, tmp_path / "bench.json", CPU, 3, "none")
    ratio = json.loads((tmp_path / "bench.json").read_text())["ratios"]["mnist.vs_dataloader"]
    assert ratio == {"value": 1.01, "low": 1.01, "high": 1.01, "runs": 3}
