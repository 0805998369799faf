"""``--first-seed``: seeds added to the records of an earlier command."""

import json

import pytest
from commands import words
from conftest import write_pets
from typer.testing import CliRunner

from repro.cli import app

SEEDS = (
    "--set", "ablation_seeds=1", "--set", "soft_targets.fractions=[1.0]", "--set", "ablations.clusterings=[]",
    "--set", "extra_generalists=0",
)  # fmt: skip


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def results(folder):
    """Return the deterministic part of the records."""
    lines = (folder / "results" / "specialists" / "pets" / "records.jsonl").read_text().splitlines()
    names = ("key", "group", "arm", "params", "seed", "seeds", "metrics", "curve")
    return [{name: record[name] for name in names} for record in map(json.loads, lines)]


@pytest.mark.timeout(200)
def test_seeds_added_by_a_second_command_equal_those_of_one(tmp_path, monkeypatch, figures_are_stubs):
    write_pets(tmp_path)
    monkeypatch.chdir(tmp_path)
    command = [*words("specialists", "at-once", tmp_path), *SEEDS]
    assert run(*command, "--set", "seeds=2").exit_code == 0
    parts = [*words("specialists", "first", tmp_path), *SEEDS]
    assert run(*parts, "--set", "seeds=1").exit_code == 0
    shown = (tmp_path / "first-out/results/specialists/pets/shown.json").read_bytes()
    parts[parts.index("first")] = "second"  # another runs folder, as on another machine
    result = run(*parts, "--set", "seeds=2", "--first-seed", "1")
    assert result.exit_code == 0, result.output
    assert results(tmp_path / "first-out") == results(tmp_path / "at-once-out")
    assert (tmp_path / "first-out/results/specialists/pets/shown.json").read_bytes() == shown

    for first_seed, message in (("3", "should be 2, the number of seeds in"), ("2", "should be less than seeds, ")):
        result = run(*parts, "--set", "seeds=2", "--first-seed", first_seed)
        assert result.exit_code != 0 and f"--first-seed {first_seed}: {message}" in str(result.exception)


@pytest.mark.parametrize(
    ("experiment", "message"),
    [("mnist", "mnist cannot add seeds"), ("specialists", "should be 0, the number of seeds in")],
)
def test_without_earlier_seeds_none_are_added(tmp_path, monkeypatch, experiment, message):
    write_pets(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = run(*words(experiment, "runs", tmp_path), "--first-seed", "1")
    assert result.exit_code != 0 and message in str(result.exception)
