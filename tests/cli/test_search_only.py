"""Profiles that end after their search."""

import pandas as pd
import pytest
from commands import words
from conftest import write_pets
from typer.testing import CliRunner

from repro.cli import app
from repro.report.searches import search_table


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("experiment", "dataset"), [("specialists", "pets"), ("speech", "synth")])
def test_a_profile_that_ends_after_its_search_has_results_of_its_own(tmp_path, monkeypatch, experiment, dataset):
    write_pets(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*words(experiment, "runs", tmp_path), "--set", "search.only=true"])
    assert result.exit_code == 0, result.output
    assert "chosen" in result.output and "figures" not in result.output
    results = tmp_path / "runs-out" / "results"
    assert [path.name for path in (results / experiment).glob(f"{dataset}-search/*.csv")] == ["search.csv"]
    searched = pd.read_csv(results / experiment / f"{dataset}-search" / "search.csv")
    assert (searched["chosen"] == "yes").sum() == searched["stage"].nunique() > 1
    assert pd.read_csv(results / "claims.csv").empty
    assert not (results / experiment / dataset).exists()
    assert f"recipe search on {dataset}" in (tmp_path / "runs-out" / "REPRODUCE.md").read_text()


def test_candidates_stand_in_the_order_of_their_values():
    def runs(stage, name, value, errors):
        return [{"params": {"stage": stage, name: value}, "metrics": {"errors": errors}}]

    records = [
        *runs(2, "hidden_units", "64, 64", 5), *runs(2, "hidden_units", "192", 6),
        *runs(1, "epochs", 4.0, 8), *runs(1, "epochs", 12.0, 7), *runs(1, "epochs", 2, 9),
    ]  # fmt: skip
    table = search_table(records, lambda group: group[0]["metrics"]["errors"], lambda group: [0.0])
    assert list(table["settings"]) == [
        "epochs = 2", "epochs = 4.0", "epochs = 12.0", "hidden_units = 192", "hidden_units = 64, 64"
    ]  # fmt: skip
    assert list(table["chosen"]) == ["", "", "yes", "", "yes"]
