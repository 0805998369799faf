"""Records of finished runs, one JSON line each: the only input of all reports."""

import json
from pathlib import Path
from typing import Any

from repro.engine.files import results_lock, write
from repro.errors import UserError

Record = dict[str, Any]
NEEDED = (
    "experiment", "arm", "params", "group", "seed", "settings", "metrics", "curve", "wall_seconds", "machine", "commit",
    "profile", "overrides", "config",
)  # fmt: skip


def path(folder: Path, experiment: str, dataset: str, name: str = "records.jsonl") -> Path:
    """Return the path of a file of an experiment's results on one data set."""
    return folder / "results" / experiment / folder_name(experiment, dataset) / name


def folder_name(experiment: str, dataset: str) -> str:
    """Return the name of a data set's folder: the data set's, or ``paper`` where the experiment has that name."""
    return "paper" if dataset == experiment else dataset


def datasets(folder: Path, experiment: str) -> list[str]:
    """Return the data sets that an experiment has records of."""
    names = sorted(file.parent.name for file in (folder / "results" / experiment).glob("*/records.jsonl"))
    return [experiment if name == folder_name(experiment, experiment) else name for name in names]


def save(
    folder: Path, experiment: str, dataset: str, records: list[Record], shown: dict[str, Any] | None = None
) -> None:
    """Replace the records of a data set by those of a whole run of the experiment.

    Raises:
        UserError: there are none; the earlier records stay.
    """
    if not records:
        raise UserError(
            f"{experiment}: no run is complete for all seeds, so no report was made; train without --report-only"
        )
    lines = [json.dumps({"dataset": dataset} | record) for record in sorted(records, key=_order)]
    with results_lock(folder):
        write(path(folder, experiment, dataset), "".join(f"{line}\n" for line in lines).encode())
        examples = path(folder, experiment, dataset, "shown.json")
        if shown is None:
            examples.unlink(missing_ok=True)  # those of earlier records
        else:
            write(examples, (json.dumps(shown) + "\n").encode())


def load(folder: Path, experiment: str, dataset: str) -> list[Record]:
    """Return the records of a data set; an empty list where there are none.

    Raises:
        UserError: a line is not a record, or some seeds are missing.
    """
    file = path(folder, experiment, dataset)
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
    """Return the records of runs that are complete for all seeds."""
    missing = _missing_seeds(records)
    return [record for record in records if not missing[_kind(record)]]


def _whole(file: Path, records: list[Record]) -> None:
    """Refuse records that lack some seeds, as in a truncated file."""
    for (arm, _), missing in _missing_seeds(records).items():
        if missing:
            raise UserError(f"{file}: {arm}: {missing} are missing; run the experiment again")


def _missing_seeds(records: list[Record]) -> dict[tuple[str, str], str]:
    """Return the missing seeds of each kind of run, in words.

    A record may say how many seeds its kind has; otherwise every kind has all seeds of the experiment.
    """
    seeds: dict[tuple[str, str], set[int]] = {}
    counts: dict[tuple[str, str], int] = {}
    for record in records:
        seeds.setdefault(_kind(record), set()).add(record["seed"])
        if "seeds" in record:
            counts[_kind(record)] = record["seeds"]
    everything = set().union(*(present for kind, present in seeds.items() if kind not in counts))
    return {
        kind: _lack(len(present), counts[kind]) if kind in counts else _names(everything - present)
        for kind, present in seeds.items()
    }


def _lack(count: int, wanted: int) -> str:
    return "" if count >= wanted else f"{wanted - count} of {wanted} seeds"


def _names(seeds: set[int]) -> str:
    return f"seeds {sorted(seeds)}" if seeds else ""


def _kind(record: Record) -> tuple[str, str]:
    """Return arm and group, which runs share that differ only in their seeds."""
    return record["arm"], record["group"]


def load_shown(folder: Path, experiment: str, dataset: str) -> dict[str, Any] | None:
    """Return examples that figures show, such as test images; None where there are none.

    Raises:
        UserError: the file is damaged.
    """
    file = path(folder, experiment, dataset, "shown.json")
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: is damaged; run the experiment again") from error


def _order(record: Record) -> tuple:
    return (*_kind(record), record["seed"], json.dumps(record["settings"]))
