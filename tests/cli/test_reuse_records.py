"""``--reuse-records``: a command resumes from committed records where the runs folder is lost."""

import json
from pathlib import Path

import pytest
from commands import words
from conftest import write_pets
from typer.testing import CliRunner

from repro.cli import app
from repro.variants.runs import Arm

RECORDS = Path("out/results/variants/pets/records.jsonl")


def variants(runs: str, here: Path, *more: str):
    return CliRunner().invoke(app, [*words("variants", runs, here), "--out", "out", *more])


def trained(runs: str) -> list[tuple[str, str]]:
    """Return arm and method of what is stored in a runs folder."""
    stored = [json.loads(file.read_text())["records"] for file in Path(runs, "variants").glob("*.json")]
    return sorted((r["arm"], r["settings"].get("method", "")) for records in stored for r in records)


def results(text: str) -> list[dict]:
    """Return the deterministic part of the records."""
    names = ("key", "group", "arm", "params", "seed", "seeds", "metrics", "curve", "dataset")
    parsed = [json.loads(line) for line in text.splitlines()]
    return [{name: record.get(name) for name in names} for record in parsed if record["arm"] != Arm.TIMING]


@pytest.mark.timeout(200)
def test_what_is_recorded_is_not_trained_again(tmp_path, monkeypatch, figures_are_stubs):
    write_pets(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = variants("first", tmp_path, "--reuse-records")
    assert result.exit_code != 0 and "--reuse-records: " in str(result.exception), "there are no records yet"
    assert variants("first", tmp_path).exit_code == 0
    whole = RECORDS.read_text()

    result = variants("lost", tmp_path, "--reuse-records")
    assert result.exit_code == 0, result.output
    assert trained("lost") == [] and RECORDS.read_text() == whole

    # Without the records of KD alone, its students are trained again, and their teacher, whose weights are lost.
    lines = [line for line in whole.splitlines() if json.loads(line)["params"].get("name") != "KD"]
    assert 0 < len(lines) < len(whole.splitlines())
    # A record of the teacher that another machine made, say.
    changed = [json.loads(line) for line in lines]
    for record in changed:
        if record["arm"] == Arm.TEACHER:
            record["metrics"]["test_errors"] += 1
    RECORDS.write_text("".join(f"{json.dumps(record)}\n" for record in changed))
    before = RECORDS.read_bytes()
    # What depends on the best temperature of KD is not known without its search.
    result = variants("other", tmp_path, "--report-only", "--reuse-records")
    assert result.exit_code != 0 and "records would be lost (born_again" in str(result.exception)
    assert RECORDS.read_bytes() == before
    result = variants("other", tmp_path, "--reuse-records")
    assert result.exit_code == 0, result.output
    assert f"records reused: {len(lines)} of {len(lines)}" in result.output
    assert results(RECORDS.read_text()) == results(whole), "the record is that of the teacher trained again"
    assert {pair for pair in trained("other") if pair[0] != Arm.TIMING} == {
        ("teacher", "none"), ("search", "kd"), ("method", "kd")
    }  # fmt: skip
