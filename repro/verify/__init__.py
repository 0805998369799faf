"""The command ``repro verify``: retrain a few committed runs and compare their records, metric by metric.

It takes the settings of each run from its record, trains what is cheap within a number of minutes, and judges every
number: equal to the last digit, within the spread of the committed seeds, or not reproduced. Nothing is written to
results/.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from repro.data.download import data_folder, report
from repro.engine.files import check_writable, write
from repro.errors import UserError
from repro.names import text_of
from repro.registry import EXPERIMENTS, load_components
from repro.report import records, terminal
from repro.report.records import Record
from repro.session import Options, training_session
from repro.verify.comparison import MACHINE, Metric, Verdict, compare
from repro.verify.plan import Plan, choose, requested_keys, seeds_of
from repro.verify.runs import Pair, rebuild, unchanged

# Data sets that are not fetched to verify something: folders of the data directory, one of which must be there.
USER_DATA = {"cifar100": ("CIFAR100/cifar-100-python", "cifar100/train"), "speechocean762": ("speechocean762",)}


class NothingToCompare(UserError):
    """No run of a data set can be retrained; others may."""


@dataclass(frozen=True)
class Place:
    """The committed records of a command on one data set."""

    command: str
    dataset: str
    records: list[Record]

    @property
    def name(self) -> str:
        """Name in messages and tables."""
        experiment = EXPERIMENTS[self.command].name
        return f"{experiment}/{records.folder_name(experiment, self.dataset)}"

    def missing(self, data: Path | None) -> str:
        """Return in words which data the user has to provide; empty if none are missing."""
        names = [name for name in USER_DATA if self.dataset == name or self.dataset.startswith(f"{name}-")]
        folders = [data_folder(data) / folder for name in names for folder in USER_DATA[name]]
        absent = folders and not any(folder.is_dir() for folder in folders)
        return f"{self.name}: needs the data in {' or '.join(map(str, folders))}" if absent else ""


@dataclass(frozen=True)
class Comparison:
    """A committed record and that of the same run, retrained."""

    place: Place
    committed: Record
    now: Record

    @property
    def other_seeds(self) -> list[Record]:
        """The committed records that differ in their seeds alone."""
        kind = seeds_of(self.committed)
        return [record for record in self.place.records if seeds_of(record) == kind and record is not self.committed]


def verify(folder: Path, command: str, minutes: float, options: Options) -> bool:
    """Retrain runs, display the comparison, and return whether no metric is outside its interval.

    Args:
        folder: parent directory of results/.
        command: an experiment; empty for all.
        minutes: time to train, by the records' own times and by the clock.
        options: as for training; ``out`` is a CSV file of all metrics, or None.

    Raises:
        UserError: there is no such experiment, it has no records, none could be retrained,
            or the CSV file cannot be written.
    """
    places = find(folder, command)
    if options.out is not None:
        check_writable(options.out.parent)
        if options.out.is_dir():
            raise UserError(f"--out {options.out}: is a folder; name a CSV file")
    problems = [missing for place in places if (missing := place.missing(options.data))]
    places = [place for place in places if not place.missing(options.data)]
    pairs: list[Comparison] = []
    deadline = time.monotonic() + 60 * minutes
    for number, place in enumerate(places):
        try:
            pairs += retrain(place, deadline - time.monotonic(), len(places) - number, options)
        except NothingToCompare as problem:
            problems.append(str(problem))
    if not pairs:
        raise UserError(f"nothing was compared: {'; '.join(problems)}")
    for line in problems:
        report(f"left out: {line}")
    return show(pairs, options.out)


def find(folder: Path, command: str) -> list[Place]:
    """Return the committed records by command and data set; speech, which takes minutes to prepare, comes last.

    Raises:
        UserError: there is no such experiment, or no records.
    """
    if command and command not in EXPERIMENTS:
        raise UserError(f"EXPERIMENT: must be one of {', '.join(EXPERIMENTS)}, not {command!r}")
    places = []
    for name in [command] if command else EXPERIMENTS:
        experiment = EXPERIMENTS[name].name
        only, known = EXPERIMENTS[name].dataset, records.datasets(folder, experiment)
        datasets = [only] if only in known else [] if only else known
        places += [Place(name, dataset, records.load(folder, experiment, dataset)) for dataset in datasets]
    if not places:
        raise UserError(f"{folder / 'results'}: holds no records{f' of {command}' if command else ''}")
    return sorted(places, key=lambda place: place.command == "speech")


def retrain(place: Place, seconds: float, places: int, options: Options) -> list[Comparison]:
    """Make the cheapest records of a data set again.

    Args:
        place: the data set and its records.
        seconds: time left for it and for those that follow.
        places: their number.
        options: as for training.

    Raises:
        NothingToCompare: the data or the profile cannot be read, all settings have changed, or the time is too short.
    """
    components, first = load_components(place.command), place.records[0]
    options = replace(options, profile=first["profile"], overrides=first["overrides"])
    if options.precision == "auto" and first["machine"].get("precision") == "fp32":  # which every machine has
        options = replace(options, precision="fp32")
    experiment = EXPERIMENTS[place.command].name
    with contextlib.ExitStack() as stack:
        make_runner = components.make_runner(options.data)
        session = training_session(experiment, options, None, components.settings, make_runner)
        try:
            settings, runner = stack.enter_context(session)
        except UserError as error:
            raise NothingToCompare(f"{place.name}: {error}") from error
        rebuilt = rebuild(experiment, place.records)
        usable = unchanged(rebuilt, runner, requested_keys(components, settings, runner))
        plan = choose(usable, place.records, runner, seconds, places)
        for line in left_out(place, rebuilt, usable):
            runner.progress.say(line)
        if any(record.get("data_digest") != runner.data_digest for record in place.records):
            runner.progress.say(
                f"{place.name}: the data, or the code that prepares them, have changed since: digits may differ"
            )
        if not plan.pairs:
            raise NothingToCompare(too_expensive(place, plan, seconds))
        runner.progress.say(announcement(place, plan))
        runner.expect(run for _, run in plan.pairs)
        for stage in plan.stages:
            runner.execute([run for _, run in stage])
        made = [(record, runner.store.record(runner.key(run))) for record, run in plan.pairs]
    return [Comparison(place, record, now) for record, now in made if now is not None]


def left_out(place: Place, rebuilt: list[Pair], usable: list[Pair]) -> Iterator[str]:
    """Yield in words which runs cannot be retrained, and why."""
    for words, before, after in (
        ("made from a run without a record", place.records, [record for record, _ in rebuilt]),
        ("settings changed since", [record for record, _ in rebuilt], [record for record, _ in usable]),
    ):
        remaining = {id(record) for record in after}
        if rest := [record for record in before if id(record) not in remaining]:
            example = ", ".join([rest[0]["arm"], *map(str, rest[0]["params"].values())])
            count = f"{len(rest)} of {len(place.records)} records of {place.name}"
            yield f"left out: {count}: {words} (for example {example})"


def announcement(place: Place, plan: Plan) -> str:
    """Return the plan in words."""
    arms = Counter(record["arm"] for record, _ in plan.pairs)
    names = ", ".join(f"{arm} ({count})" if count > 1 else arm for arm, count in arms.items())
    return (
        f"verify {place.name}: {len(plan.pairs)} of {len(place.records)} records, "
        f"about {plan.seconds / 60:.1f} minutes on the machine of the records: {names}"
    )


def too_expensive(place: Place, plan: Plan, seconds: float) -> str:
    """Return in words why a plan has no runs."""
    if plan.cheapest is None:
        return f"{place.name}: the settings of all records have changed since"
    return (
        f"{place.name}: the cheapest record, {plan.cheapest['arm']} with seed {plan.cheapest['seed']}, takes "
        f"{plan.seconds / 60:.1f} minutes with what it is made from, more than the {max(seconds, 0) / 60:.1f} left; "
        "raise --minutes"
    )


def show(pairs: list[Comparison], out: Path | None) -> bool:
    """Print a row for each run and a summary, write all metrics to a CSV file if wanted; return whether all is well."""
    compared = [(pair, compare(pair.committed, pair.now, pair.other_seeds, len(pairs))) for pair in pairs]
    worst = [(pair, max(metrics, key=lambda metric: metric.rank)) for pair, metrics in compared]
    table = pd.DataFrame([_row(*each) for each in worst])
    if table["records"].nunique() == 1:
        table = table.drop(columns="records")
    terminal.show(terminal.table("Retrained runs: of each, the metric that differs most", table))
    counts = Counter(metric.verdict for _, metric in worst)
    terminal.show("; ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]))
    for label, side in (("committed on", [pair.committed for pair in pairs]), ("now", [pair.now for pair in pairs])):
        terminal.show(f"{label}: {'; '.join(sorted({machine(record) for record in side}))}")
    if out is not None:
        rows = [_identity(pair) | vars(metric) for pair, metrics in compared for metric in metrics]
        write(out, pd.DataFrame(rows).drop(columns="distance").to_csv(index=False).encode())
        terminal.show(f"all metrics: {text_of(out)}")
    return not counts[Verdict.NOT]


def _identity(pair: Comparison) -> dict[str, Any]:
    params = ", ".join(f"{name}={value}" for name, value in pair.committed["params"].items())
    return {
        "records": pair.place.name, "arm": pair.committed["arm"], "params": params, "seed": pair.committed["seed"],
    }  # fmt: skip


def _row(pair: Comparison, metric: Metric) -> dict[str, Any]:
    names = {"metric": metric.name, "committed": metric.committed, "now": metric.now}
    shown = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in names.items()}
    return _identity(pair) | shown | {"verdict": metric.verdict}


def machine(record: Record) -> str:
    """Return the machine of a record in words."""
    values = {name: record["machine"].get(name, "unknown") for name in MACHINE}
    return "{processor} ({device}, {precision}, threads: {threads}, torch {torch})".format(**values)
