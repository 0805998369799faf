"""``repro doctor``: checks of this machine and of the folders that a command uses, to be pasted into a bug report.

``software``, ``hardware`` and ``storage`` hold the checks. Each check yields findings; one that raises is a finding
itself, and the others follow.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from repro.doctor import hardware, software, storage
from repro.doctor.finding import Finding, Status, isolated

Check = Callable[[], Iterator[Finding]]


def checks(data: Path | None, runs: Path, out: Path) -> dict[str, Check]:
    """Return the checks by name, in the order of the report.

    Args:
        data: the data directory, or None for the default.
        runs: directory of finished runs.
        out: parent directory of results/ and figures/.
    """
    return {
        "versions": software.versions,
        "packages": software.packages,
        "variables": software.variables,
        "terminal": software.terminal,
        "processor": hardware.processor,
        "device": hardware.device,
        "memory": hardware.memory,
        "folders": lambda: storage.folders(data, runs, out),
        "data": lambda: storage.data_sets(data),
        "runs": lambda: storage.stored_runs(runs),
        "records": lambda: storage.records(out),
        "figures": hardware.figures,
        "worker process": hardware.worker_process,
        "time": hardware.times,
    }


def report(named_checks: dict[str, Check], say: Callable[[str], None]) -> int:
    """Execute the checks, print a line for each finding, and return the exit code: 2 if one is an error, else 0."""
    counts = dict.fromkeys(Status, 0)
    for name, check in named_checks.items():
        for finding in isolated(check):
            counts[finding.status] += 1
            advice = f" -> {finding.advice}" if finding.advice else ""
            say(" ".join(f"{finding.status:<7} {name}: {finding.text}{advice}".splitlines()))
    say(f"{counts[Status.ERROR]} errors, {counts[Status.WARNING]} warnings")
    return 2 if counts[Status.ERROR] else 0
