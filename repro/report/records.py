"""The records file of an experiment: one line for each finished run, the only input of all reports."""

import json
from pathlib import Path
from typing import Any

from repro.core.store import write
from repro.errors import UserError

Record = dict[str, Any]


def path(folder: Path, experiment: str, setting: str, name: str = "records.jsonl") -> Path:
    """Where an experiment's files stand for one setting (data and scale)."""
    return folder / "results" / experiment / setting / name


def save(
    folder: Path, experiment: str, setting: str, records: list[Record], digits: dict[str, Any] | None = None
) -> None:
    """Replace the records of a setting by those of a whole run of the experiment."""
    lines = [json.dumps({"setting": setting} | record) for record in sorted(records, key=_order)]
    write(path(folder, experiment, setting), ("\n".join(lines) + "\n").encode())
    if digits is not None:
        write(path(folder, experiment, setting, "digits.json"), (json.dumps(digits) + "\n").encode())


def load(folder: Path, experiment: str, setting: str) -> list[Record]:
    """The records of a setting; an empty list where it was never run.

    Raises:
        UserError: a line is not a record.
    """
    file = path(folder, experiment, setting)
    if not file.exists():
        return []
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            records.append(json.loads(line))
            records[-1]["role"], records[-1]["metrics"], records[-1]["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: line {number} is not a record") from error
    return records


def complete(records: list[Record]) -> list[Record]:
    """The records of those kinds of runs of which every seed is there."""
    seeds = _seeds_by_kind(records)
    everything = set().union(*seeds.values())
    return [record for record in records if seeds[_kind(record)] == everything]


def _seeds_by_kind(records: list[Record]) -> dict[tuple[str, str], set[int]]:
    seeds: dict[tuple[str, str], set[int]] = {}
    for record in records:
        seeds.setdefault(_kind(record), set()).add(record["seed"])
    return seeds


def _kind(record: Record) -> tuple[str, str]:
    """What two runs share that differ in their seed alone."""
    settings = {name: value for name, value in record["settings"].items() if name != "teacher"}
    return record["role"], json.dumps(settings)


def load_digits(folder: Path, experiment: str, setting: str) -> dict[str, Any] | None:
    """The test digits kept for the figure of soft targets."""
    file = path(folder, experiment, setting, "digits.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def _order(record: Record) -> tuple:
    settings = record["settings"]
    return (record["role"], settings["hidden"], settings["share"], float(settings["temperature"]), record["seed"])
