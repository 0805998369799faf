"""Records of finished runs, one JSON line each: the only input of all reports."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from repro.config import COMMITTED
from repro.engine.files import results_lock, write
from repro.errors import UserError

Record = dict[str, Any]
NEEDED: dict[str, type | tuple[type, ...]] = {
    "experiment": str, "key": str, "arm": str, "params": dict, "group": str, "seed": int, "settings": dict,
    "metrics": dict, "curve": list, "wall_seconds": (int, float), "machine": dict, "commit": str, "profile": str,
    "overrides": list, "config": str,
}  # fmt: skip
REMEDY = "run its experiment again or remove the file"


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
        UserError: there is no line, a line is not a record, or some seeds are missing.
    """
    file = path(folder, experiment, dataset)
    if not file.exists():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as text; {REMEDY}") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line, parse_constant=_refuse))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}: line {number} is not a record (truncated or altered); {REMEDY}") from error
        if problem := _problem(records[-1], experiment):
            raise UserError(f"{file}: line {number} is not a record; {problem}; {REMEDY}")
    if not records:
        raise UserError(f"{file}: holds no records; {REMEDY}")
    counts = Counter((record["arm"], str(record["params"]), record["key"]) for record in records)
    (arm, *_), count = counts.most_common(1)[0]
    if count > 1:
        raise UserError(f"{file}: holds a record of {arm} more than once; {REMEDY}")
    _whole(file, records)
    return records


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a result")


def _problem(record: Any, experiment: str) -> str:
    """Return in words why a value is no record of an experiment; empty if it is one."""
    if not isinstance(record, dict):
        return "it must be a table of names and values"
    for name, kind in NEEDED.items():
        if name not in record:
            return f"it lacks {name}"
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            return f"{name} is of the wrong type"
    return "" if record["experiment"] == experiment else f"it is one of {record['experiment']}"


def check(folder: Path, replaced: Path | None = None) -> int:
    """Check that a report can read the records and examples in a folder, before hours of work depend on it.

    Args:
        replaced: the records that the command will replace, which are not read. Default: none.

    Returns:
        The number of records.

    Raises:
        UserError: a file is damaged.
    """
    count = 0
    for experiment in COMMITTED:
        for dataset in datasets(folder, experiment):
            if path(folder, experiment, dataset) != replaced:
                count += len(load(folder, experiment, dataset))
                load_shown(folder, experiment, dataset)
    return count


def complete(records: list[Record]) -> list[Record]:
    """Return the records of runs that are complete for all seeds."""
    missing = _missing_seeds(records)
    return [record for record in records if not missing[kind(record)]]


def _whole(file: Path, records: list[Record]) -> None:
    """Refuse records that lack some seeds, as in a truncated file."""
    for (arm, _), missing in _missing_seeds(records).items():
        if missing:
            raise UserError(f"{file}: {arm}: {missing} are missing; {REMEDY}")


def _missing_seeds(records: list[Record]) -> dict[tuple[str, str], str]:
    """Return the missing seeds of each kind of run, in words.

    A record may say how many seeds its kind has; otherwise every kind has all seeds of the experiment.
    """
    seeds: dict[tuple[str, str], set[int]] = {}
    counts: dict[tuple[str, str], int] = {}
    for record in records:
        seeds.setdefault(kind(record), set()).add(record["seed"])
        if "seeds" in record:
            counts[kind(record)] = max(record["seeds"], counts.get(kind(record), 0))
    everything = set().union(*(present for kind, present in seeds.items() if kind not in counts))
    return {
        kind: _lack(len(present), counts[kind]) if kind in counts else _names(everything - present)
        for kind, present in seeds.items()
    }


def _lack(count: int, wanted: int) -> str:
    return "" if count >= wanted else f"{wanted - count} of {wanted} seeds"


def _names(seeds: set[int]) -> str:
    return f"seeds {sorted(seeds)}" if seeds else ""


def kind(record: Record) -> tuple[str, str]:
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
        shown = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        shown = None
    if not isinstance(shown, dict):
        raise UserError(f"{file}: is damaged; {REMEDY}")
    return shown


def _order(record: Record) -> tuple:
    return (*kind(record), record["seed"], json.dumps(record["settings"]))
