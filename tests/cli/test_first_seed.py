"""``--first-seed``: seeds added to the records of an earlier command."""

import json
from pathlib import Path

import pytest
from commands import words
from conftest import write_pets
from typer.testing import CliRunner

from repro.cli import app
from repro.errors import UserError
from repro.report import added_seeds
from repro.specialists.runs import OF_ALL_SEEDS

FEW = (
    "--set", "soft_targets.fractions=[1.0]", "--set", "ablations.clusterings=[]", "--set", "extra_generalists=0",
)  # fmt: skip
RECORDS = Path("first-out/results/specialists/pets/records.jsonl")


def specialists(runs: str, here: Path, *more: str, out: str = "first-out"):
    command = [*words("specialists", runs, here), *FEW, "--out", out]
    return CliRunner().invoke(app, [*command, *(word for text in more for word in text.split())])


def results(file: Path) -> list[dict]:
    """Return the deterministic part of the records."""
    names = ("key", "group", "arm", "params", "seed", "seeds", "metrics", "curve")
    return [{name: record[name] for name in names} for record in map(json.loads, file.read_text().splitlines())]


@pytest.mark.timeout(200)
def test_seeds_added_by_a_second_command_equal_those_of_one(tmp_path, monkeypatch, figures_are_stubs):
    write_pets(tmp_path)
    monkeypatch.chdir(tmp_path)
    few = "--set ablation_seeds=1"
    assert specialists("at-once", tmp_path, "--set seeds=2", few, out="once").exit_code == 0
    assert specialists("first", tmp_path, "--set seeds=1", few).exit_code == 0
    before, shown = RECORDS.read_bytes(), RECORDS.with_name("shown.json").read_bytes()
    for more, message in (
        ("--set seeds=1 --first-seed 1", "must be less than seeds, which is 1"),
        ("--set seeds=3 --first-seed 2", "must be 1, the number of seeds in"),
        ("--set seeds=2 --first-seed 1 --set generalist.channels=5", "have other settings, data, code or precision"),
        ("--set seeds=2 --first-seed 1 --set max_train_examples=100", "have other settings, data, code or precision"),
        ("--set seeds=2 --first-seed 1 --report-only", "no further seed is complete, so the records stay"),
    ):
        result = specialists("second", tmp_path, more, few)
        assert result.exit_code != 0 and message in str(result.exception)
    assert RECORDS.read_bytes() == before
    # Another runs folder, as on another machine.
    result = specialists("second", tmp_path, "--set seeds=2 --first-seed 1", few)
    assert result.exit_code == 0, result.output
    assert results(RECORDS) == results(Path("once/results/specialists/pets/records.jsonl"))
    assert RECORDS.with_name("shown.json").read_bytes() == shown

    result = specialists("third", tmp_path, "--set seeds=4 --first-seed 2 --set ablation_seeds=3")
    assert result.exit_code != 0 and "ablation_seeds must be 1, that of earlier records" in str(result.exception)

    none = [line for line in RECORDS.read_text().splitlines() if json.loads(line)["arm"] in OF_ALL_SEEDS]
    RECORDS.write_text("".join(f"{line}\n" for line in none))
    result = specialists("third", tmp_path, "--set seeds=4 --first-seed 2 --set ablation_seeds=1")
    assert result.exit_code != 0 and "ablation_seeds must be 0, that of earlier records" in str(result.exception)


@pytest.mark.parametrize(
    ("experiment", "message"), [("mnist", "mnist cannot add seeds"), ("specialists", "name the folder above results/")]
)
def test_without_earlier_seeds_none_are_added(tmp_path, monkeypatch, experiment, message):
    write_pets(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*words(experiment, "runs", tmp_path), "--first-seed", "1"])
    assert result.exit_code != 0 and message in str(result.exception)


def record(arm: str, group: str, seed: int, seeds: int) -> dict:
    return {"arm": arm, "group": group, "seed": seed, "seeds": seeds, "params": {}}


def test_records_of_other_settings_do_not_join():
    before = [record("generalist", "a", 0, 1), record("search", "s", 900, 1)]
    for later, message in (
        ([record("generalist", "b", 1, 2)], "no further seed is complete"),
        ([record("generalist", "a", 2, 3), record("search", "s", 900, 1)], "generalist would not be complete"),
    ):
        with pytest.raises(UserError, match=message):
            added_seeds.check(before, added_seeds.records.complete(added_seeds.joined(before, later)))
    whole = added_seeds.joined(before, [record("generalist", "a", 1, 2), record("search", "s", 900, 1)])
    added_seeds.check(before, added_seeds.records.complete(whole))
    assert [(r["arm"], r["seed"], r["seeds"]) for r in whole] == [
        ("generalist", 0, 2), ("generalist", 1, 2), ("search", 900, 1)
    ]  # fmt: skip
