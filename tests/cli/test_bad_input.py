"""Malformed settings, image folders and corpora: one line that names the problem, exit code 2, nothing lost."""

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repro import __main__, config, config_help
from repro.config import Settings
from repro.errors import UserError

SMOKE = {"mnist": "smoke", "specialists": "smoke", "speech": "smoke", "variants": "smoke_icons"}


def model_of(experiment: str) -> type[Settings]:
    """Return the settings class of an experiment."""
    module, name, _ = config_help.MODELS[experiment]
    return getattr(importlib.import_module(module), name)


@pytest.fixture
def error_of(tmp_path, monkeypatch, capfd):
    """Return a function that runs a command in an empty folder, where it must fail, and returns its error line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPRO_DATA", raising=False)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["repro", *words])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        lines = [line for line in capfd.readouterr().err.strip().splitlines() if not line.startswith("warning: ")]
        assert end.value.code == 2, lines
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], lines  # before it: progress
        assert not any("Traceback" in line for line in lines), lines
        return lines[-1]

    return run


@pytest.mark.parametrize("experiment", SMOKE)
def test_every_setting_refuses_a_date_and_a_huge_negative_number(experiment):
    model, path = model_of(experiment), config.profile_path(experiment, SMOKE[experiment])
    for setting in config_help.settings_of(model, [config.load(model, path)]):
        if "[]" in setting.key or not setting.values:
            continue
        wrong = ["1979-05-27"] + ["-10000000"] * setting.kind.startswith(("integer", "number"))
        for value in wrong:
            with pytest.raises(UserError) as error:
                config.load(model, path, [f"{setting.key}={value}"])
            assert setting.key in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("experiment", "change", "message"),
    [
        ("mnist", "seeds", "must look like NAME=VALUE"),
        ("mnist", "seeds.more=3", "seeds is a single setting"),
        ("mnist", "sedes=3", "did you mean seeds"),
        ("mnist", "teacher.recipe.epoch=3", "did you mean epochs"),
        ("mnist", "teacher.recipe.epochs=true", "teacher.recipe.epochs: must be a number, not True"),
        ("mnist", "teacher.recipe.optimizer='adam'", "teacher.recipe.optimizer: must be 'adamw' or 'sgd'"),
        ("mnist", "distilled.temperature=0", "distilled.temperature: must be greater than 0"),
        ("mnist", "teacher.hidden=[0]", "teacher.hidden"),
        ("mnist", "seeds=" + "[" * 5000, "seeds"),
        ("mnist", "seeds=" + "9" * 5000, "seeds"),
        ("specialists", "generalist.recipe.hidden_dropout=0.5", "hidden_dropout"),
        ("specialists", "data.source='imagenet'", "data.source"),
        ("specialists", "data.source='folder'", "data.folder"),
        ("specialists", "data.folder=2024", "data.folder: must be a path in quotes, not 2024"),
        ("speech", "data.corpus='timit'", "synth, librispeech, or kaldi:PATH"),
        ("speech", "data.corpus='kaldi:'", "kaldi:PATH"),
        ("speech", "recipe.max_translation=2", "max_translation"),
        ("speech", "data.synth.train_hours=0", "data.synth.train_hours: must be greater than 0"),
        ("variants", "student.shape='transformer:3'", "student.shape"),
        ("variants", "methods=[]", "methods"),
    ],
)
def test_a_malformed_setting_is_named(error_of, experiment, change, message):
    assert message in error_of(experiment, "--profile", "smoke", "--set", change)


@pytest.mark.parametrize(
    ("experiment", "change", "message"),
    [
        ("mnist", "temperature_sweep.temperatures=[1, 0]", "temperature_sweep.temperatures"),
        ("mnist", "temperature_sweep.temperatures=[4, 4]", "no two temperatures"),
        ("mnist", "without_3.transfer_classes=[11]", "must be digits 0 to 9"),
        ("mnist", "without_3.bias_shift.min=9", "without_3.bias_shift.min"),
        ("mnist", "data_fractions.fractions=[{ fraction = 2.0, epochs = 1 }]", "data_fractions.fractions.0.fraction"),
        ("mnist", "no3.kept=[3]", "no3"),
        ("specialists", "specialists.classes_per_specialist=1", "specialists.classes_per_specialist"),
        ("specialists", "specialists.clustering='meanshift'", "k-means"),
        ("specialists", "specialists.special_fraction=0.999", "special_fraction must"),
        ("specialists", "ablations.num_specialists=100000", "ablations.num_specialists"),
        ("specialists", "ablations.generalist_widths=[100000]", "ablations.generalist_widths"),
        ("specialists", "specialists.size=20", "is now called specialists.classes_per_specialist"),
        ("speech", "ensemble_size=1", "ensemble_size"),
        ("speech", "data.validation_speaker_fraction=1", "data.validation_speaker_fraction"),
        ("speech", "decoding.acoustic_scales=[]", "decoding.acoustic_scales"),
        ("speech", "ablations.ensemble_sizes=[100]", "ablations.ensemble_sizes must be at most ensemble_size"),
        ("speech", "ensemble=3", "is now called ensemble_size"),
        ("variants", "ablation_seeds=0", "ablation_seeds"),
        ("variants", "temperature_sweep.temperatures=[0]", "temperature_sweep.temperatures"),
        ("variants", "capacity_gap.early_stopped_fractions=[2]", "capacity_gap.early_stopped_fractions"),
        ("variants", "sequential.assistants=[[]]", "sequential.assistants"),
        ("variants", "sequential.assistants=[[{kind='conv',width=8}],[{kind='conv',width=8}]]", "same"),
        ("variants", "study_seeds=3", "is now called ablation_seeds"),
    ],
)
def test_a_rule_of_an_experiment_is_named(experiment, change, message):
    with pytest.raises(UserError) as error:
        config.load(model_of(experiment), config.profile_path(experiment, SMOKE[experiment]), [change])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seeds = ", "not valid TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "is missing"),
        (b"seeds = 1\nseeds = 2", "not valid TOML"),
        (b"seeds = " + b"[" * 5000, "not valid TOML"),
        (b"seeds = " + b"9" * 5000, "not valid TOML"),
    ],
)
def test_a_malformed_profile_is_named(error_of, tmp_path, content, message):
    (tmp_path / "mine.toml").write_bytes(content)
    assert message in error_of("mnist", "--profile", "mine.toml")


def write_image(path: Path, side: int = 16) -> None:
    """Write a square image of random colors, always the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)


def write_images(root: Path) -> None:
    """Write a valid data set of two classes with three images each in train and test, no two files alike."""
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            for number in range(3):
                path = root / part / name / f"{number}.png"
                write_image(path)
                with path.open("ab") as file:
                    file.write(bytes([label, number, part == "test"]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: shutil.rmtree(root / "test"), "has no folder 'test'"),
        (lambda root: shutil.rmtree(root / "train" / "dog"), "two or more classes"),
        (lambda root: write_image(root / "test" / "bird" / "0.png"), "bird"),
        (lambda root: [file.unlink() for file in (root / "train" / "cat").iterdir()], "the class is empty"),
        (lambda root: (root / "train" / "cat" / "0.png").write_bytes(b"no picture"), "cannot be read"),
        (lambda root: write_image(root / "train" / "cat" / "9.png", 20), "images must be of one size"),
        (lambda root: write_image(root / "train" / "cat" / "9.png", 4), "set resize"),
    ],
)
def test_a_malformed_folder_of_images_is_named(error_of, tmp_path, damage: Callable, message):
    write_images(tmp_path / "pets")
    damage(tmp_path / "pets")
    changes = ["--set", "data.source='folder'", "--set", "data.folder='pets'"]
    assert message in error_of("specialists", "--profile", "smoke", *changes)


def write_corpus(root: Path) -> None:
    """Write a valid corpus of noise: two speakers in each part, with one utterance each."""
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
        (root / "audio").mkdir(exist_ok=True)
        ids = [f"{part}{number}" for number in range(2)]
        for id in ids:
            noise = np.random.default_rng(len(id)).normal(0, 0.1, 16_000)
            soundfile.write(root / "audio" / f"{id}.wav", noise, 16_000)
        for name, line in (("wav.scp", "{0} audio/{0}.wav"), ("text", "{0} HELLO WORLD"), ("utt2spk", "{0} s{0}")):
            (root / part / name).write_text("".join(f"{line.format(id)}\n" for id in ids))


def change_lines(path: Path, change: Callable[[str], str]) -> None:
    """Rewrite a text file line by line."""
    path.write_text("".join(f"{change(line)}\n" for line in path.read_text().splitlines()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root), "there is no folder"),
        (lambda root: shutil.rmtree(root / "test"), "holds train/ and test/"),
        (lambda root: (root / "train" / "text").unlink(), "no such file"),
        (lambda root: (root / "train" / "wav.scp").write_text(""), "is empty"),
        (lambda root: (root / "train" / "wav.scp").write_bytes(b"\xff\xfe"), "is not text"),
        (lambda root: change_lines(root / "train" / "wav.scp", lambda line: f"{line} |"), "is a command"),
        (
            lambda root: change_lines(root / "train" / "wav.scp", lambda line: "train0 audio/train0.wav"),
            "duplicate key train0",
        ),
        (lambda root: change_lines(root / "train" / "text", lambda line: line.split()[0]), "holds no usable utterance"),
        (lambda root: shutil.rmtree(root / "audio"), "holds no usable utterance"),
        (lambda root: change_lines(root / "train" / "utt2spk", lambda line: f"x{line}"), "holds no usable utterance"),
        (lambda root: (root / "lexicon.txt").write_text("HELLO\n"), "HELLO has no phones"),
        (lambda root: [file.write_bytes(b"RIFF") for file in (root / "audio").iterdir()], "train"),
        (lambda root: change_lines(root / "train" / "utt2spk", lambda line: f"{line.split()[0]} stest0"), "train"),
    ],
)
def test_a_malformed_corpus_is_named(error_of, tmp_path, damage: Callable, message):
    write_corpus(tmp_path / "mine")
    damage(tmp_path / "mine")
    assert message in error_of("speech", "--profile", "smoke", "--set", "data.corpus='kaldi:mine'")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mnist --profile nowhere", "profile: must be one of"),
        ("mnist --device tpu", "--device"),
        ("mnist --device cuda", "no CUDA device is there"),
        ("mnist --precision fp8", "--precision"),
        ("mnist --profile smoke --data file", "file"),
        ("mnist --profile smoke --runs file", "file"),
        ("mnist --profile smoke --runs file/runs", "file/runs"),
        ("mnist --profile smoke --out file", "file"),
        ("mnist --profile smoke --out file/out", "file/out"),
        ("mnist --sed 3", "--sed"),
        ("specialists --profile nowhere", "cifar100, paper, quick, smoke"),
        ("specialists --profile smoke --set data.source=folder --set data.folder=nowhere", "nowhere"),
        ("specialists --profile smoke --set specialists.count=5000", "specialists.count"),
        ("specialists --profile smoke --set specialists.classes_per_specialist=5000", "specialists.classes_per_"),
        ("config mnst", "EXPERIMENT: must be one of mnist, mnist-choice"),
        ("config mnist --profile nowhere", "profile: must be one of"),
        ("mnsit", "mnsit"),
        ("report", "no records"),
        ("bench --repeats 0", "repeats"),
    ],
)
def test_a_malformed_command_line_is_named(error_of, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "file").write_text("")
    assert message in error_of(*words.split())


@settings(max_examples=300, deadline=None)
@given(
    experiment=st.sampled_from(sorted(SMOKE)),
    name=st.one_of(
        st.text(max_size=30),
        st.sampled_from(["seeds", "data", "recipe.epochs", "hidden", "methods", "words", "teacher.recipe"]),
    ),
    value=st.one_of(
        st.text(max_size=60), st.integers().map(str), st.floats().map(str),
        st.recursive(st.sampled_from(["1", "'x'", "true", "1979-05-27"]), lambda inner: st.lists(inner, max_size=3).map(
            lambda parts: f"[{', '.join(parts)}]") | inner.map(lambda value: f"{{ a = {value} }}")),
    ),
)  # fmt: skip
def test_any_override_is_read_or_refused_in_one_line(experiment, name, value):
    try:
        config.load(model_of(experiment), config.profile_path(experiment, SMOKE[experiment]), [f"{name}={value}"])
    except UserError as error:
        assert str(error) and "Traceback" not in str(error)


@settings(max_examples=200, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_profile_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "any.toml"
    path.write_bytes(content)
    with pytest.raises(UserError):
        config.load(model_of("mnist"), path)
