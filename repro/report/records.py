"""The records file of an experiment: one line for each finished run, the only input of all reports."""

import json
from pathlib import Path
from typing import Any

from repro.core.store import write
from repro.errors import UserError

Record = dict[str, Any]
NEEDED = ("experiment", "role", "seed", "settings", "metrics", "curve", "wall_seconds", "machine", "commit",
          "profile", "overrides", "config")  # fmt: skip

# Settings that name other runs, or were derived from them: they differ from seed to seed.
OF_A_SEED = ("teacher", "start", "generalist", "subset", "specialists", "nets")


def path(folder: Path, experiment: str, setting: str, name: str = "records.jsonl") -> Path:
    """Where an experiment's files stand for one setting (data and scale)."""
    return folder / "results" / experiment / setting / name


def save(
    folder: Path, experiment: str, setting: str, records: list[Record], shown: dict[str, Any] | None = None
) -> None:
    """Replace the records of a setting by those of a whole run of the experiment."""
    lines = [json.dumps({"setting": setting} | record) for record in sorted(records, key=_order)]
    write(path(folder, experiment, setting), "".join(f"{line}\n" for line in lines).encode())
    if shown is not None:
        write(path(folder, experiment, setting, "shown.json"), (json.dumps(shown) + "\n").encode())


def load(folder: Path, experiment: str, setting: str) -> list[Record]:
    """The records of a setting; an empty list where it was never run.

    Raises:
        UserError: a line is not a record, or some seeds are missing.
    """
    file = path(folder, experiment, setting)
    if not file.exists():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as text") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
            missing = [name for name in NEEDED if name not in records[-1]]
        except (ValueError, TypeError) as error:
            raise UserError(f"{file}: line {number} is not a record") from error
        if missing:
            raise UserError(f"{file}: line {number} is not a record; it lacks {missing[0]}")
    _whole(file, records)
    return records


def complete(records: list[Record]) -> list[Record]:
    """The records of those kinds of runs of which every seed is there."""
    seeds, everything = _seeds_by_kind(records)
    return [record for record in records if seeds[_kind(record)] == everything]


def _whole(file: Path, records: list[Record]) -> None:
    """Refuse records of which some seeds are missing, as in a file that was cut."""
    seeds, everything = _seeds_by_kind(records)
    for (role, _), found in seeds.items():
        if found != everything:
            raise UserError(f"{file}: {role}: seeds {sorted(everything - found)} are missing; run the experiment again")


def _seeds_by_kind(records: list[Record]) -> tuple[dict[tuple[str, str], set[int]], set[int]]:
    """The seeds of each kind of run, and all seeds of the experiment."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for record in records:
        seeds.setdefault(_kind(record), set()).add(record["seed"])
    return seeds, set().union(*seeds.values())


def _kind(record: Record) -> tuple[str, str]:
    """What two runs share that differ in their seed alone, and so in what they were made from."""
    settings = {name: value for name, value in record["settings"].items() if name not in OF_A_SEED}
    settings |= {name: record["metrics"].get(name) for name in ("count", "nets")}
    return record["role"], json.dumps(settings)


def load_shown(folder: Path, experiment: str, setting: str) -> dict[str, Any] | None:
    """What was kept to be shown in figures, such as test images; None where there is nothing.

    Raises:
        UserError: the file is damaged.
    """
    file = path(folder, experiment, setting, "shown.json")
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: is damaged; run the experiment again") from error


def _order(record: Record) -> tuple:
    return (*_kind(record), record["seed"], json.dumps(record["settings"]))
