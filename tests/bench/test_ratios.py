"""The sides of the speed ratios do the work they say, and the plain loops learn what ours do."""

import json

import pytest
import torch
from torch.utils.data import DataLoader

from repro import config
from repro.bench import growth
from repro.bench import measure as bench
from repro.bench import mnist as mnist_bench
from repro.bench import specialists as specialists_bench
from repro.bench import speech as speech_bench
from repro.bench.timing import Steps
from repro.errors import UserError
from repro.specialists.settings import SpecialistsSettings
from repro.speech.features import BANKS, pack
from repro.speech.preparation import Prepared
from repro.speech.settings import SpeechSettings
from repro.training import compute
from repro.training.mlp import TransferSet

CPU = compute.choose("cpu", "fp32")


@pytest.fixture
def settings() -> SpecialistsSettings:
    changes = [
        "specialists.classes_per_specialist=5",
        "ablations.subset_sizes=[]",
        "generalist.recipe.batch_size=32",
        "generalist.recipe.max_translation=0",
    ]
    return config.load(SpecialistsSettings, config.profile_path("specialists", "smoke"), changes)


@pytest.mark.parametrize(("peer", "rel"), [("plain", 1e-3), ("tensor_loop_fp32", 1e-3), ("tensor_loop_bf16", 0.02)])
def test_a_plain_loop_has_the_same_start_and_the_same_losses(stripy, settings, monkeypatch, peer, rel):
    monkeypatch.setattr(specialists_bench, "STEPS", 8)
    plain, ours = specialists_bench.ratios(settings, stripy, CPU)[f"specialists.conv_vs_{peer}"]
    assert all(torch.equal(a, b) for a, b in zip(plain.net.parameters(), ours.training.net.parameters(), strict=True))
    assert plain() > 0 and ours() > 0
    assert plain.losses[0] == pytest.approx(ours.losses[0], rel=rel)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_loop_on_tensors_learns_mnist_as_ours_does(toy, autocast, monkeypatch):
    monkeypatch.setattr(mnist_bench, "LOADER_STEPS", 10)
    monkeypatch.setattr(mnist_bench, "TEACHER", (784, 60, 60, 10))
    ours = Steps(mnist_bench.trainer(TransferSet(toy.train.images, toy.train.labels), mnist_bench.RECIPE, CPU), 10)
    loop = mnist_bench.tensor_loop(toy, ours.training, autocast)
    assert loop() > 0 and ours() > 0
    assert loop.losses[0] == pytest.approx(ours.losses[0], rel=0.1), "translations and dropout are drawn separately"


def test_timed_steps_do_not_outlast_the_recipe():
    """The learning rates of a CUDA graph are those of the recipe's steps."""
    assert mnist_bench.RECIPE.steps(60_000) >= 50 * mnist_bench.LOADER_STEPS


def test_equation_5_is_timed_at_equal_objective(stripy, settings):
    timed = specialists_bench.Equation5(stripy, settings, CPU)
    least = timed._value(timed._em(1000))
    assert timed._value(timed._descend(timed.steps)) - least < specialists_bench.EQUAL
    assert timed._value(timed._em(timed.em_steps)) - least < specialists_bench.EQUAL
    assert all(side() > 0 for side in timed.sides())


def test_a_plain_loop_over_windows_has_the_same_start_and_the_same_losses(monkeypatch):
    monkeypatch.setattr(speech_bench, "STEPS", 6)
    draw = torch.Generator().manual_seed(0)
    states = torch.randint(9, (400,), generator=draw)
    banks = torch.randn(400, BANKS, generator=draw) + 3 * torch.eye(9, BANKS)[states]
    frames = pack([(f"u{n}", "s", banks[at], states[at].short()) for n, at in enumerate(torch.arange(400).split(80))])
    data = Prepared("toy", False, frames, frames, frames, "toy")
    settings = config.load(SpeechSettings, config.profile_path("speech", "smoke"), ["recipe.batch_size=64"])
    ours = Steps(speech_bench.training(settings, data, CPU, settings.recipe, 1), speech_bench.STEPS)
    plain = speech_bench.plain(frames, ours.training)
    inputs, _ = next(iter(DataLoader(plain.dataset, batch_size=400)))
    torch.testing.assert_close(inputs, ours.training.inputs[torch.arange(400)])
    torch.testing.assert_close(plain.net(inputs), ours.training.net(inputs)[0])
    assert plain() > 0 and ours() > 0
    assert plain.losses[0] == pytest.approx(ours.losses[0], rel=0.03)
    for autocast in (False, True):
        ours = Steps(speech_bench.training(settings, data, CPU, settings.recipe, 1), speech_bench.STEPS)
        loop = speech_bench.tensor_loop(frames, ours.training, autocast)
        torch.testing.assert_close(loop.batch(torch.arange(400))[0], inputs)
        assert loop() > 0 and ours() > 0
        assert loop.losses[0] == pytest.approx(ours.losses[0], rel=0.03)


def test_step_times_grow_with_what_is_varied(toy, monkeypatch):
    monkeypatch.setattr(growth, "VARIED", {"width": (8, 600), "batch_size": (8, 400), "networks": (1, 6)})
    lines, threads = [], torch.get_num_threads()
    curves = growth.curves(toy, CPU, 3, lines.append)
    assert set(curves) == {"width", "batch_size", "networks", "threads"} and len(lines) == 4
    for name in ("width", "batch_size", "networks"):
        small, large = curves[name]
        assert 0 < small["step_ms"] < large["step_ms"] and 0 < small["products_ms"] < large["products_ms"], name
    assert curves["threads"][-1]["at"] == threads == torch.get_num_threads()


def test_loops_with_different_losses_give_no_ratio(tmp_path, toy, monkeypatch):
    monkeypatch.setattr(bench.mnist_data, "load", lambda folder: toy)
    monkeypatch.setattr(bench.growth, "curves", lambda *_: {"threads": []})
    lines = []

    class Side:
        def __init__(self, loss):
            self.losses = [loss]

        def __call__(self):
            return 2.0 + self.losses[0]

    monkeypatch.setattr(bench, "_sides", lambda mnist, data, chosen: {"mnist.vs_dataloader": (Side(2.0), Side(0.0))})
    with pytest.raises(UserError, match="do not learn alike"):
        bench.measure(tmp_path, tmp_path / "bench.json", CPU, 1, "none", lines.append)
    monkeypatch.setattr(bench, "_sides", lambda mnist, data, chosen: {"mnist.vs_dataloader": (Side(0.02), Side(0.0))})
    bench.measure(tmp_path, tmp_path / "bench.json", CPU, 3, "none", lines.append)
    ratio = json.loads((tmp_path / "bench.json").read_text())["ratios"]["mnist.vs_dataloader"]
    assert lines[0].startswith("mnist.vs_dataloader") and lines[-1].startswith("written to")
    assert ratio == {"value": 1.01, "low": 1.01, "high": 1.01, "runs": 3}
