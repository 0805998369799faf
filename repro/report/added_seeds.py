"""Earlier records that a command adds to: those of other seeds (``--first-seed``) or runs (``--reuse-records``)."""

from pathlib import Path

from repro.config_search import FIRST_SEARCH_SEED
from repro.errors import UserError
from repro.report import records
from repro.report.records import Record, kind


def earlier(folder: Path, experiment: str, dataset: str, first_seed: int) -> list[Record]:
    """Return the records of the seeds below ``first_seed``, to which a command adds seeds; none for the first seed 0.

    Raises:
        UserError: there are none, they have other seeds, or a file is damaged.
    """
    if not first_seed:
        return []
    option = f"--first-seed {first_seed}"
    known, file = _load(option, folder, experiment, dataset), records.path(folder, experiment, dataset)
    seeds = _seeds(known)
    if seeds != set(range(first_seed)):
        raise UserError(f"{option}: must be {len(seeds)}, the number of seeds in {file}")
    return known


def reusable(folder: Path, experiment: str, dataset: str) -> list[Record]:
    """Return the records whose runs a command with ``--reuse-records`` need not make again.

    Raises:
        UserError: there are none, or a file is damaged.
    """
    known = _load("--reuse-records", folder, experiment, dataset)
    return [{name: value for name, value in record.items() if name != "dataset"} for record in known]


def _load(option: str, folder: Path, experiment: str, dataset: str) -> list[Record]:
    """Return the records that an option adds to."""
    known = records.load(folder, experiment, dataset)
    if not known:
        file = records.path(folder, experiment, dataset)
        raise UserError(f"{option}: {file} does not exist; name the folder above results/ with --out")
    return known


def lost(reused: list[Record], complete: list[Record]) -> list[Record]:
    """Return the reused records of runs that the present ones do not have."""
    keys = {record["key"] for record in complete}
    return [record for record in reused if record["key"] not in keys]


def joined(before: list[Record], later: list[Record]) -> list[Record]:
    """Return the records of earlier and later seeds as those of one experiment.

    A kind of run that has later seeds also has their number of seeds; the others keep theirs. Of a run in both, such as
    one of a search, the later record is kept.
    """
    counts = {kind(record): {"seeds": record["seeds"]} for record in later if "seeds" in record}
    again = {_place(record) for record in later}
    return [record | counts.get(kind(record), {}) for record in before if _place(record) not in again] + later


def check(before: list[Record], complete: list[Record]) -> None:
    """Check that no record of the earlier seeds is lost.

    Raises:
        UserError: a kind of run is not complete for the seeds that it now must have.
    """
    present = {_place(record) for record in complete}
    lost = sorted({record["arm"] for record in before if _place(record) not in present})
    if before and (lost or _seeds(before) == _seeds(complete)):
        problem = f"{', '.join(lost)} would not be complete" if lost else "no further seed is complete"
        raise UserError(
            f"--first-seed: {problem}, so the records stay as they are. Further seeds must have the settings of the "
            "earlier ones, and all of them must be finished"
        )


def _seeds(known: list[Record]) -> set[int]:
    """Return the seeds of records, but for those of a search."""
    return {record["seed"] for record in known if record["seed"] < FIRST_SEARCH_SEED}


def _place(record: Record) -> tuple[str, str, int, str]:
    """Return what no two records of an experiment have in common."""
    return (*kind(record), record["seed"], str(record["params"]))
