"""``results_suffix`` and ``ablation_seeds = 0``: a second setting on the same data, without ablations."""

import json
from pathlib import Path

import pytest
from commands import words
from conftest import write_pets
from typer.testing import CliRunner

from repro.cli import app
from repro.specialists.runs import OF_ALL_SEEDS, OF_THE_SEARCH, Arm


@pytest.mark.timeout(200)
def test_a_second_setting_has_results_of_its_own(tmp_path, monkeypatch, figures_are_stubs):
    write_pets(tmp_path)
    monkeypatch.chdir(tmp_path)
    few = ["--set", "seeds=1", "--set", "ablation_seeds=0", "--set", "extra_generalists=1"]
    command = [*words("specialists", "runs", tmp_path), *few, "--out", "out"]
    assert CliRunner().invoke(app, command).exit_code == 0
    first = Path("out/results/specialists/pets/records.jsonl")
    before = first.read_bytes()
    arms = {json.loads(line)["arm"] for line in before.splitlines()}
    assert Arm.COMBINED in arms and Arm.LONGER in arms and arms <= {*OF_ALL_SEEDS, *OF_THE_SEARCH}
    other = [*command, "--set", "results_suffix=-other", "--set", "specialists.classes_per_specialist=2"]
    result = CliRunner().invoke(app, other)
    assert result.exit_code == 0, result.output
    assert first.read_bytes() == before
    lines = Path("out/results/specialists/pets-other/records.jsonl").read_text().splitlines()
    second = [json.loads(line) for line in lines]
    assert {record["dataset"] for record in second} == {"pets-other"}
    generalists = [r["key"] for r in map(json.loads, before.splitlines()) if r["arm"] == Arm.GENERALIST]
    assert generalists == [r["key"] for r in second if r["arm"] == Arm.GENERALIST], "it is trained once"
    assert "pets-other" in Path("out/REPRODUCE.md").read_text()
