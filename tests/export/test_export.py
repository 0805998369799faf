"""Exported networks: loaded without this package, they give the logits that they gave here."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import make_runner
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file, save_file

from repro import config, export
from repro.__main__ import main
from repro.engine.runner import Runner
from repro.errors import UserError
from repro.mnist import experiment
from repro.mnist.settings import MnistSettings
from repro.specialists.experiment import generalist_run
from repro.specialists.pipeline import specialist_runs
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.settings import SpecialistsSettings
from repro.variants.models import Shape
from repro.variants.runner import VariantsRunner
from repro.variants.runs import teacher_run
from repro.variants.settings import VariantsSettings

# Loads the network in a process that cannot import this package.
ELSEWHERE = """
import sys
sys.modules["repro"] = None
from safetensors.torch import load_file, save_file
from model import load
save_file({"logits": load()(load_file("inputs.safetensors")["inputs"]).detach()}, "logits.safetensors")
"""


def compare(
    runner: Runner, name: str, run, inputs: torch.Tensor, expected: torch.Tensor, out: Path, named: bool = False
) -> None:
    """Export a run and compare logits in PyTorch, in a process of its own, and as ONNX."""
    runner.execute([run])
    files = export.export(name, run.arm, run.seed, {}, runner.store.folder.parent, out, side=16)
    architecture = ["architecture.py"] if named else []
    wanted = ["weights.safetensors", "model.py", *architecture, "model.onnx", "README.md"]
    assert [file.name for file in files] == wanted
    save_file({"inputs": inputs}, out / "inputs.safetensors")
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=out, check=True)
    torch.testing.assert_close(load_file(out / "logits.safetensors")["logits"], expected(), rtol=1e-4, atol=1e-4)
    flat = inputs if named or name == "specialists" else inputs.flatten(1)
    (logits,) = ReferenceEvaluator(str(out / "model.onnx")).run(None, {"inputs": flat.float().numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected(), rtol=1e-4, atol=1e-4)
    text = (out / "README.md").read_text()
    assert f"seed {run.seed}" in text and export.INPUTS[name] in text


# Loads two networks in a process that cannot import this package.
TOGETHER = """
import sys
sys.modules["repro"] = None
import torch
from first.model import load as load_first
from exports.second.model import load as load_second
images = torch.zeros(2, 1, 16, 16)
assert load_first()(images).shape == load_second()(images).shape == (2, 20)
"""


def first_logits(net, images: torch.Tensor) -> torch.Tensor:
    return net.logits(images)[0]


@pytest.fixture
def mnist(toy, tmp_path) -> Runner:
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke"))
    (tmp_path / "runs").mkdir()
    return make_runner(tmp_path / "runs" / "mnist", settings, toy)


def test_a_student_of_mnist_that_was_trained_beside_others(mnist, toy, tmp_path):
    teacher, _, *students = experiment.headline_runs(mnist.settings, 0)
    mnist.execute([teacher, *students])
    images = toy.test.images[:7]
    for run in students:
        expected = partial(first_logits, mnist.weights_of(run), images)
        compare(mnist, "mnist", run, images, expected, tmp_path / run.arm)


def test_a_convolutional_network(stripy, tmp_path, monkeypatch):
    settings = config.load(SpecialistsSettings, config.profile_path("specialists", "smoke"))
    few = settings.specialists.model_copy(update={"classes_per_specialist": 3, "count": 2})
    settings = settings.model_copy(update={"specialists": few})
    (tmp_path / "runs").mkdir()
    runner = make_runner(tmp_path / "runs" / "specialists", settings, stripy, SpecialistsRunner)
    run, images = generalist_run(settings, 0), stripy.test.images[:5]
    compare(runner, "specialists", run, images, lambda: runner.net_of(run).logits(images)[0], tmp_path / "net")

    def too_small(images):
        raise RuntimeError("Calculated output size: (256x0x0). Output size is too small")

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"^--side 16: .* images of 16x16 pixels; .*small"),
    ):
        patch.setattr(export, "_load", lambda folder: too_small)
        export.export("specialists", run.arm, 0, {}, tmp_path / "runs", tmp_path / "small", side=16)
    assert not list((tmp_path / "small").iterdir())
    (specialist,) = specialist_runs(settings, runner, run, 1)
    runner.execute([specialist])
    export.export("specialists", specialist.arm, 0, {}, tmp_path / "runs", tmp_path / "specialist", side=16)
    text = (tmp_path / "specialist" / "README.md").read_text()
    assert f"| subset | {list(specialist.subset)} |" in text and "is the dustbin" in text
    assert f"Outputs: {len(specialist.subset) + 1} logits." in text
    assert f"| recipe.epochs | {specialist.recipe.epochs} |" in text


def test_a_network_of_the_variants_on_bytes(stripy, tmp_path):
    settings = config.load(VariantsSettings, config.profile_path("variants", "smoke_mnist"))
    (tmp_path / "runs").mkdir()
    runner = make_runner(tmp_path / "runs" / "variants", settings, stripy, VariantsRunner)
    run, images = teacher_run(settings), stripy.test.images[:5]
    compare(runner, "variants", run, images.float(), lambda: runner.net_of(run).logits(images)[0], tmp_path / "net")


@pytest.mark.parametrize(
    "shape",
    [
        "resnet:resnet8x4",
        {"kind": "torchvision", "name": "resnet18", "small_images": True},
        "torchvision:mobilenet_v3_small",
    ],
    ids=str,
)
def test_a_network_with_a_name(stripy, tmp_path, shape):
    settings = config.load(VariantsSettings, config.profile_path("variants", "smoke_resnet"))
    recipe = settings.teacher.recipe.model_copy(update={"epochs": 0.1})
    teacher = settings.teacher.model_copy(update={"shape": Shape.model_validate(shape), "recipe": recipe})
    settings = settings.model_copy(update={"teacher": teacher})
    (tmp_path / "runs").mkdir()
    runner = make_runner(tmp_path / "runs" / "variants", settings, stripy, VariantsRunner)
    run, images = teacher_run(settings), stripy.test.images[:5]
    compare(
        runner,
        "variants",
        run,
        images.float(),
        lambda: runner.net_of(run).logits(images)[0],
        tmp_path / "net",
        named=True,
    )
    for name in ("first", "exports/second"):
        shutil.copytree(tmp_path / "net", tmp_path / name, ignore=shutil.ignore_patterns("*.onnx"))
    subprocess.run([sys.executable, "-c", TOGETHER], cwd=tmp_path, check=True)


def test_what_cannot_be_exported_is_named(mnist, tmp_path, monkeypatch):
    teacher, *_ = experiment.headline_runs(mnist.settings, 0)
    *_, other, _ = experiment.temperature_runs(mnist.settings, 0)
    mnist.execute([teacher, *experiment.temperature_runs(mnist.settings, 0)])
    for arm, seed, params, message in (
        ("pupil", 0, {}, r"^pupil: there is no such arm in .*; there are: teacher, temperature_sweep"),
        ("teacher", 3, {}, "^--seed 3: teacher was trained with seeds 0$"),
        (other.arm, 0, {}, "^--param: must choose one run of temperature_sweep: .*temperature=3.0; .*temperature=40.0"),
        ("teacher", 0, {"temperatur": "4"}, "^--param temperatur: there is no such .*; did you mean temperature"),
        ("teacher", 0, {"profile": "quick"}, "^--param: teacher, seed 0, was trained with profile=test$"),
    ):
        with pytest.raises(UserError, match=message):
            export.export("mnist", arm, seed, params, tmp_path / "runs", tmp_path / "out")
    with pytest.raises(UserError, match="must choose one run of temperature_sweep: hidden=") as refused:
        export.export("mnist", other.arm, 0, {"temperature": "3"}, tmp_path / "runs", tmp_path / "out")
    widths = re.findall(r"hidden=(\S+)", str(refused.value))
    assert len(widths) == 2
    wider = export.find(mnist.store, other.arm, 0, {"temperature": "3", "hidden": widths[1]})
    assert widths[1] == json.dumps(wider["settings"]["hidden"], separators=(",", ":"))
    in_words = {"temperature": "3.0", "hidden": widths[1], "recipe.optimizer": "adamw", "recipe.epochs": "1"}
    assert export.find(mnist.store, other.arm, 0, in_words) == wider
    with pytest.raises(UserError, match="there are no runs of speech"):
        export.export("speech", "single_model", 0, {}, tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [("icons teacher", "icons: must be one of mnist"), ("mnist teacher --param T", "--param T: must be NAME=VALUE")],
)
def test_a_wrong_command_is_one_line(words, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["repro", "export", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert message in capsys.readouterr().err


def test_without_onnx_the_other_files_are_written(mnist, tmp_path, monkeypatch):
    teacher, *_ = experiment.headline_runs(mnist.settings, 0)
    mnist.execute([teacher])
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    files = export.export("mnist", "teacher", 0, {}, tmp_path / "runs", tmp_path / "out")
    assert {file.name for file in files} == {"weights.safetensors", "model.py", "README.md"}
    assert "onnx" not in (tmp_path / "out" / "README.md").read_text()
