"""A small MNIST report that several test modules change."""

import shutil
from pathlib import Path

import pytest
from conftest import digits, make_runner

from repro import config
from repro.mnist import examples, experiment
from repro.mnist.settings import MnistSettings
from repro.report import build, records


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """The smoke profile on stand-in data, from data to report."""
    folder = tmp_path_factory.mktemp("made")
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke"))
    settings = settings.model_copy(update={"max_train_examples": 1200})
    runner = make_runner(folder / "runs", settings, digits())
    headlines: list[list[dict]] = []
    experiment.run(settings, runner, headlines.append)
    out = folder / "out"
    records.save(out, "mnist", "mnist", list(runner.finished.values()), examples.shown_digits(settings, runner))
    build.report(out)
    assert [len(runs) for runs in headlines] == [4, 8]
    return out


@pytest.fixture
def reported(made, tmp_path) -> Path:
    """A copy of that report, for a test to change."""
    return shutil.copytree(made, tmp_path / "out")


def report_files(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder except locks, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture
def read_files():
    """``report_files``, for test modules."""
    return report_files
