"""Damaged files and folders that commands meet: one line that names them before any training, exit code 2."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import filelock
import pytest
from conftest import digits

from repro.data import mnist
from repro.engine import files
from repro.errors import UserError
from repro.mnist import experiment
from repro.mnist import runner as mnist_runner
from repro.report import build, plotting, records

COMMITTED = Path(__file__).parents[2] / "results"
Usage = namedtuple("Usage", "total used free")


def copy_records(out: Path, place: str = "mnist/choice") -> Path:
    """Copy committed records into an output folder and return their file."""
    target = out / "results" / place
    target.mkdir(parents=True)
    for path in (COMMITTED / place).glob("*.json*"):
        shutil.copy(path, target / path.name)
    return target / "records.jsonl"


def change_first(path: Path, **values) -> None:
    """Change fields of the first record."""
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | values), *rest]) + "\n")


RECORDS = {
    "empty": (lambda path: path.write_text(""), "holds no records"),
    "cut": (lambda path: path.write_text(path.read_text()[:-20]), "line 66 is not a record (truncated or altered)"),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), "cannot be read as text"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read as text"),
    "deep": (lambda path: path.write_text("[" * 100_000), "line 1 is not a record"),
    "a list": (lambda path: path.write_text("[1]\n"), "line 1 is not a record; it must be a table"),
    "null": (lambda path: path.write_text("null\n"), "line 1 is not a record; it must be a table"),
    "lacks a field": (
        lambda path: path.write_text('{"experiment": "mnist"}\n'),
        "line 1 is not a record; it lacks key",
    ),
    "wrong type": (
        lambda path: change_first(path, metrics=[1]),
        "line 1 is not a record; metrics is of the wrong type",
    ),
    "true for a seed": (
        lambda path: change_first(path, seed=True),
        "line 1 is not a record; seed is of the wrong type",
    ),
    "missing seeds": (lambda path: change_first(path, seed=1), "1 of 3 seeds are missing"),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_malformed_records_are_named_by_a_report_and_before_training(error_of, tmp_path, kind):
    damage, message = RECORDS[kind]
    path = copy_records(tmp_path)
    damage(path)
    line = error_of("report")
    assert "results/mnist/choice/records.jsonl: " in line and message in line and "or remove the file" in line
    with pytest.raises(UserError) as error:
        build.check(tmp_path, "mnist", "mnist")
    assert message in str(error.value)
    build.check(tmp_path, "mnist", "choice")  # which replaces them
    assert sorted(file.name for file in tmp_path.iterdir()) == ["figures", "results"]
    assert not list((tmp_path / "figures").iterdir())


def test_records_that_cannot_be_reported_are_named_in_one_line(error_of, tmp_path):
    """Records of another version have all fields but other metrics."""
    path = copy_records(tmp_path)
    change_first(path, metrics={})
    line = error_of("report")
    assert "results/mnist: cannot be reported (KeyError: " in line and ".py, line " in line and "remove them" in line


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000])
def test_malformed_examples_are_named(error_of, tmp_path, content):
    path = copy_records(tmp_path)
    (path.parent / "shown.json").write_text(content)
    with pytest.raises(UserError, match=r"choice/shown.json: is damaged; run its experiment again or remove the file"):
        build.check(tmp_path, "mnist", "mnist")


def test_examples_of_another_version_are_named_in_one_line(error_of, tmp_path, figures_are_stubs):
    path = copy_records(tmp_path, "mnist/paper")
    (path.parent / "shown.json").write_text("{}")
    assert "results/mnist/paper: cannot be reported (KeyError" in error_of("report")
    (path.parent / "shown.json").write_text("[]")
    assert "results/mnist/paper/shown.json: is damaged" in error_of("report")


def test_damaged_speed_ratios_are_named(error_of, tmp_path, figures_are_stubs):
    copy_records(tmp_path)
    (tmp_path / "results" / "bench.json").write_text("{")
    assert "results/bench.json: cannot be reported (JSONDecodeError" in error_of("report")


def test_a_readme_that_is_not_text_stays_as_it_is(tmp_path, figures_are_stubs):
    copy_records(tmp_path)
    (tmp_path / "README.md").write_bytes(b"caf\xe9\r\n")
    (tmp_path / "results" / "mnist" / "choice" / "README.md").write_bytes(b"\xff\xfe")
    build.report(tmp_path)
    assert (tmp_path / "README.md").read_bytes() == b"caf\xe9\r\n"


@pytest.fixture
def untrained(monkeypatch):
    """Toy digits, and an experiment that must not begin."""
    monkeypatch.setattr(mnist_runner, "load", lambda folder: digits())
    monkeypatch.setattr(experiment, "run", lambda *_: pytest.fail("training began"))


def raises(error: Exception):
    """Return a function that raises an error."""

    def fail(*_, **__):
        raise error

    return fail


START = {
    "results is a file": (lambda out, patch: (out / "results").write_text(""), "results is a file"),
    "figures is a file": (lambda out, patch: (out / "figures").write_text(""), "figures is a file"),
    "records of another data set": (lambda out, _: copy_records(out).write_text("{"), "choice/records.jsonl: line 1"),
    "full disk": (
        lambda out, patch: patch.setattr(files.shutil, "disk_usage", lambda folder: Usage(0, 0, 150 << 20)),
        "out: its disk has 150 MB free, at least 200 MB are needed",
    ),
    "no fonts": (
        lambda out, patch: patch.setattr(plotting, "subplots", raises(RuntimeError("no font"))),
        "matplotlib: figures cannot be drawn (no font)",
    ),
    "no locks": (
        lambda out, patch: patch.setattr(filelock.FileLock, "acquire", raises(NotImplementedError("no flock here"))),
        "lock: cannot be locked (no flock here)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", START)
def test_what_would_fail_at_the_end_is_refused_before_training(error_of, tmp_path, monkeypatch, untrained, kind):
    damage, message = START[kind]
    (tmp_path / "out").mkdir()
    damage(tmp_path / "out", monkeypatch)
    assert message in error_of("mnist", "--profile", "smoke", "--out", "out")


def test_a_command_that_may_start_leaves_no_trial_behind(tmp_path, figures_are_stubs):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / ".trial.png").write_text("of a command that was killed")
    with files.results_lock(tmp_path):  # another command's report, which ends before ours begins
        build.check(tmp_path, "mnist", "mnist")
    assert not list((tmp_path / "figures").iterdir()) and not records.datasets(tmp_path, "mnist")


def test_a_damaged_file_of_mnist_that_cannot_be_fetched_again_is_named(error_of, tmp_path, monkeypatch):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"cut")

    def unreachable():
        raise RuntimeError("https://mirror.example/" + "a" * 300) from OSError("[Errno -2] Name or service not known")

    monkeypatch.setattr(mnist, "_from_torchvision", unreachable)
    monkeypatch.setattr(mnist, "_from_package", unreachable)
    for words in (["data"], ["mnist", "--profile", "smoke"]):
        line = error_of(*words)
        assert "raw/train-labels-idx1-ubyte is truncated or altered, and MNIST could not be fetched" in line
        assert line.count("[Errno -2] Name or service not known (https://mirror.example/aaa") == 2
    assert (raw / "train-labels-idx1-ubyte").read_bytes() == b"cut"
