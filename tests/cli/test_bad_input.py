"""What is wrong with settings, folders of images and corpora: one line that names it, exit code 2, nothing lost."""

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

from repro import __main__, config
from repro.errors import UserError
from repro.mnist.settings import MnistSettings
from repro.specialists.settings import SpecialistsSettings
from repro.speech.settings import SpeechSettings
from repro.variants.settings import VariantsSettings

MODELS = {
    "mnist": MnistSettings, "specialists": SpecialistsSettings, "speech": SpeechSettings, "variants": VariantsSettings,
}  # fmt: skip


@pytest.fixture
def told(tmp_path, monkeypatch, capfd):
    """Runs a command line in an empty folder; what it said, after it failed as it should."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPRO_DATA", raising=False)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["repro", *words])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        said = [line for line in capfd.readouterr().err.strip().splitlines() if not line.startswith("warning: ")]
        assert end.value.code == 2, said
        assert [line for line in said if line.startswith("error: ")] == said[-1:], said  # what went before is progress
        assert not any("Traceback" in line for line in said), said
        return said[-1]

    return run


@pytest.mark.parametrize(
    ("experiment", "change", "said"),
    [
        ("mnist", "seeds", "must look like section.name=value"),
        ("mnist", "=3", "must look like section.name=value"),
        ("mnist", "seeds.more=3", "seeds is a single setting"),
        ("mnist", "sedes=3", "did you mean seeds"),
        ("mnist", "teacher.recipe.epoch=3", "did you mean epochs"),
        ("mnist", "teacher.recipe.epochs=nan", "teacher.recipe.epochs"),
        ("mnist", "teacher.recipe.batch_size=2.5", "teacher.recipe.batch_size"),
        ("mnist", "teacher.recipe.learning_rate=-1", "teacher.recipe.learning_rate"),
        ("mnist", "teacher.recipe.optimizer='adam'", "adamw"),
        ("mnist", "distilled.temperature=0", "distilled.temperature"),
        ("mnist", "distilled.hard_label_weight=2", "distilled.hard_label_weight"),
        ("mnist", "teacher.recipe.patience=2", "patience should be left out"),
        ("mnist", "seeds=" + "[" * 5000, "seeds"),
        ("mnist", "seeds=" + "9" * 5000, "seeds"),
        ("specialists", "specialists.size=1", "specialists.size"),
        ("specialists", "specialists.method='meanshift'", "k-means"),
        ("specialists", "generalist.recipe.hidden_dropout=0.5", "hidden_dropout should be left out"),
        ("specialists", "studies.count=100000", "studies.count"),
        ("specialists", "studies.widths=[100000]", "studies.widths"),
        ("specialists", "data.source='imagenet'", "data.source"),
        ("specialists", "data.source='folder'", "data.folder"),
        ("speech", "data.corpus='timit'", "should be synth, librispeech, or kaldi:PATH"),
        ("speech", "data.corpus='kaldi:'", "kaldi:PATH"),
        ("speech", "data.held_out=1", "data.held_out"),
        ("speech", "recipe.max_translation=2", "jitter should be left out"),
        ("speech", "recipe.patience=2", "patience should be left out"),
        ("speech", "ensemble=1", "ensemble"),
        ("speech", "words.scales=[]", "words.scales"),
        ("speech", "hidden=[]", "hidden"),
        ("speech", "data.synth.train_hours=0", "data.synth.train_hours"),
        ("variants", "student.shape.kind='transformer'", "student.shape.kind"),
        ("variants", "methods=[]", "methods"),
        ("variants", "ablation_seeds=0", "ablation_seeds"),
        ("variants", "temperature_sweep.temperatures=[0]", "temperature_sweep.temperatures"),
        ("variants", "capacity_gap.early_stopped_fractions=[2]", "capacity_gap.early_stopped_fractions"),
        ("variants", "sequential.assistants=[[]]", "sequential.assistants"),
        ("variants", "sequential.assistants=[['conv:8'],['conv:8']]", "same"),
    ],
)
def test_a_wrong_setting_is_named(told, experiment, change, said):
    assert said in told(experiment, "--profile", "smoke", "--set", change)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seeds = ", "not valid TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "is missing"),
        (b"seeds = 1\nseeds = 2", "not valid TOML"),
        (b"seeds = " + b"[" * 5000, "not valid TOML"),
        (b"seeds = " + b"9" * 5000, "not valid TOML"),
    ],
)
def test_a_wrong_profile_is_named(told, tmp_path, content, said):
    (tmp_path / "mine.toml").write_bytes(content)
    assert said in told("mnist", "--profile", "mine.toml")


def picture(path: Path, side: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)


def pets(root: Path) -> None:
    """Two classes, all as it should be."""
    for part in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            for one in range(3):
                picture(root / part / name / f"{one}.png")
                with (root / part / name / f"{one}.png").open("ab") as file:
                    file.write(bytes([number, one, part == "test"]))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: shutil.rmtree(root / "test"), "has no folder 'test'"),
        (lambda root: shutil.rmtree(root / "train" / "dog"), "two or more classes"),
        (lambda root: picture(root / "test" / "bird" / "0.png"), "bird"),
        (lambda root: [file.unlink() for file in (root / "train" / "cat").iterdir()], "the class is empty"),
        (lambda root: (root / "train" / "cat" / "0.png").write_bytes(b"no picture"), "cannot be read"),
        (lambda root: picture(root / "train" / "cat" / "9.png", 20), "images must be of one size"),
        (lambda root: picture(root / "train" / "cat" / "9.png", 4), "set resize"),
    ],
)
def test_a_wrong_folder_of_images_is_named(told, tmp_path, spoil: Callable, said):
    pets(tmp_path / "pets")
    spoil(tmp_path / "pets")
    changes = ["--set", "data.source='folder'", "--set", "data.folder='pets'"]
    assert said in told("specialists", "--profile", "smoke", *changes)


def corpus(root: Path) -> None:
    """Two speakers a part, an utterance each, all as it should be but that it is noise."""
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
        (root / "audio").mkdir(exist_ok=True)
        ids = [f"{part}{number}" for number in range(2)]
        for one in ids:
            noise = np.random.default_rng(len(one)).normal(0, 0.1, 16_000)
            soundfile.write(root / "audio" / f"{one}.wav", noise, 16_000)
        for name, line in (("wav.scp", "{0} audio/{0}.wav"), ("text", "{0} HELLO WORLD"), ("utt2spk", "{0} s{0}")):
            (root / part / name).write_text("".join(f"{line.format(one)}\n" for one in ids))


def lines(path: Path, change: Callable[[str], str]) -> None:
    path.write_text("".join(f"{change(line)}\n" for line in path.read_text().splitlines()))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: shutil.rmtree(root), "there is no folder"),
        (lambda root: shutil.rmtree(root / "test"), "holds train/ and test/"),
        (lambda root: (root / "train" / "text").unlink(), "no such file"),
        (lambda root: (root / "train" / "wav.scp").write_text(""), "is empty"),
        (lambda root: (root / "train" / "wav.scp").write_bytes(b"\xff\xfe"), "is not text"),
        (lambda root: lines(root / "train" / "wav.scp", lambda line: f"{line} |"), "is a command"),
        (lambda root: lines(root / "train" / "wav.scp", lambda line: "train0 audio/train0.wav"), "stands there twice"),
        (lambda root: lines(root / "train" / "text", lambda line: line.split()[0]), "holds no usable utterance"),
        (lambda root: shutil.rmtree(root / "audio"), "holds no usable utterance"),
        (lambda root: lines(root / "train" / "utt2spk", lambda line: f"x{line}"), "holds no usable utterance"),
        (lambda root: (root / "lexicon.txt").write_text("HELLO\n"), "HELLO has no phones"),
        (lambda root: [file.write_bytes(b"RIFF") for file in (root / "audio").iterdir()], "train"),
        (lambda root: lines(root / "train" / "utt2spk", lambda line: f"{line.split()[0]} stest0"), "train"),
    ],
)
def test_a_wrong_corpus_is_named(told, tmp_path, spoil: Callable, said):
    corpus(tmp_path / "mine")
    spoil(tmp_path / "mine")
    assert said in told("speech", "--profile", "smoke", "--set", "data.corpus='kaldi:mine'")


@pytest.mark.parametrize(
    ("words", "said"),
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
        ("specialists --profile smoke --set specialists.size=5000", "specialists.size"),
        ("specialists --profile smoke --set specialists.count=5000", "specialists.count"),
        ("mnsit", "mnsit"),
        ("report", "no records"),
        ("bench --repeats 0", "repeats"),
    ],
)
def test_a_wrong_command_line_is_named(told, tmp_path, monkeypatch, words, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "file").write_text("")
    assert said in told(*words.split())


@settings(max_examples=300, deadline=None)
@given(
    experiment=st.sampled_from(sorted(MODELS)),
    name=st.one_of(
        st.text(max_size=30),
        st.sampled_from(["seeds", "data", "recipe.epochs", "hidden", "methods", "words", "teacher.recipe"]),
    ),
    value=st.one_of(
        st.text(max_size=60), st.integers().map(str), st.floats().map(str),
        st.recursive(st.sampled_from(["1", "'x'", "true", "1979-05-27"]), lambda inner: st.lists(inner, max_size=3).map(
            lambda parts: f"[{', '.join(parts)}]") | inner.map(lambda one: f"{{ a = {one} }}")),
    ),
)  # fmt: skip
def test_whatever_is_set_is_read_or_told_in_one_line(experiment, name, value):
    path = config.profile_path(experiment, "smoke" if experiment != "variants" else "smoke_icons")
    try:
        config.load(MODELS[experiment], path, [f"{name}={value}"])
    except UserError as error:
        assert str(error) and "Traceback" not in str(error)


@settings(max_examples=200, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_whatever_a_profile_holds_is_read_or_told_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "any.toml"
    path.write_bytes(content)
    with pytest.raises(UserError):
        config.load(MnistSettings, path)
