"""The command ``repro verify``: make a few committed records again and compare them, metric by metric.

It takes the settings of each run from its record, trains what is cheap within a number of minutes, and judges every
number: equal to the last digit, within the spread of the committed seeds, or not reproduced. Nothing is written to
results/.
"""

import contextlib
import itertools
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from repro.data.download import report
from repro.engine.files import write
from repro.errors import UserError
from repro.names import text_of
from repro.registry import EXPERIMENTS, load_components
from repro.report import records, terminal
from repro.report.records import Record
from repro.session import Options, training_session
from repro.verify.compare import MACHINE, Metric, Verdict, compare, num_numbers
from repro.verify.plan import Plan, choose, requested_keys, seeds_of
from repro.verify.rebuild import rebuild, unchanged


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

    @property
    def cheapest(self) -> float:
        """Seconds of the cheapest run."""
        return min(record["wall_seconds"] for record in self.records)


@dataclass(frozen=True)
class Again:
    """A committed record and that of the same run made again, with the committed ones of all its seeds."""

    place: Place
    committed: Record
    now: Record
    seeds: list[Record]


def verify(folder: Path, command: str, minutes: float, options: Options) -> bool:
    """Make records again, display the comparison, and return whether no metric is outside its interval.

    Args:
        folder: parent directory of results/.
        command: an experiment; empty for all.
        minutes: time to train, by the records' own times and by the clock.
        options: as for training; ``out`` is a CSV file of all metrics, or None.

    Raises:
        UserError: there is no such experiment, it has no records, or none could be made again.
    """
    places = find(folder, command)
    deadline, pairs, problems = time.monotonic() + 60 * minutes, [], []
    for number, place in enumerate(places):
        seconds = (deadline - time.monotonic()) / (len(places) - number)
        try:
            pairs += make_again(place, seconds, options)
        except NothingToCompare as problem:
            problems.append(str(problem))
            if len(places) > 1:
                report(f"left out: {problem}")
    if not pairs:
        raise UserError(f"nothing was compared: {'; '.join(problems)}")
    return show(pairs, options.out)


def find(folder: Path, command: str) -> list[Place]:
    """Return the committed records by command and data set, those with the cheapest runs first.

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
    return sorted(places, key=lambda place: place.cheapest)


class NothingToCompare(UserError):
    """No record of a data set can be made again; others may."""


def make_again(place: Place, seconds: float, options: Options) -> list[Again]:
    """Make the cheapest records of a data set again.

    Raises:
        NothingToCompare: the data or the profile cannot be read, all settings have changed, or the time is too short.
    """
    components, first = load_components(place.command), place.records[0]
    options = replace(options, profile=first["profile"], overrides=first["overrides"])
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
        plan = choose(usable, place.records, runner, seconds)
        for words, rest in (
            ("lack the record of a run that they are made from", len(place.records) - len(rebuilt)),
            ("settings or data changed since", len(rebuilt) - len(usable)),
        ):
            if rest:
                runner.progress.say(f"left out: {rest} of {len(place.records)} records of {place.name}: {words}")
        if not plan.pairs:
            raise NothingToCompare(too_expensive(place, plan, seconds))
        runner.progress.say(announcement(place, plan))
        runner.expect(run for _, run in plan.pairs)
        for _, level in itertools.groupby(plan.pairs, key=lambda pair: len(runner.dependencies(pair[1]))):
            runner.execute([run for _, run in level])
        made = [(record, runner.store.record(runner.key(run))) for record, run in plan.pairs]
    groups: dict[Any, list[Record]] = {}
    for record in place.records:
        groups.setdefault(seeds_of(record), []).append(record)
    return [Again(place, record, now, groups[seeds_of(record)]) for record, now in made if now is not None]


def announcement(place: Place, plan: Plan) -> str:
    """Return the plan in words."""
    arms = Counter(record["arm"] for record, _ in plan.pairs)
    names = ", ".join(f"{arm} ({count})" if count > 1 else arm for arm, count in arms.items())
    return (
        f"verify {place.name}: {len(plan.pairs)} of {len(place.records)} records, "
        f"{plan.seconds / 60:.1f} minutes at most on the machine of the records: {names}"
    )


def too_expensive(place: Place, plan: Plan, seconds: float) -> str:
    """Return in words why a plan has no runs."""
    if plan.cheapest is None:
        return f"{place.name}: settings or data of all records have changed since"
    return (
        f"{place.name}: the cheapest record, {plan.cheapest['arm']} with seed {plan.cheapest['seed']}, takes "
        f"{plan.seconds / 60:.1f} minutes with what it is made from, more than the {max(seconds, 0) / 60:.1f} left; "
        "raise --minutes"
    )


def show(pairs: list[Again], out: Path | None) -> bool:
    """Print a row for each run and a summary, write all metrics to a CSV file if wanted; return whether all is well."""
    comparisons = max(1, sum(num_numbers(pair.committed, pair.now) for pair in pairs))
    compared = [(pair, compare(pair.committed, pair.now, pair.seeds, comparisons)) for pair in pairs]
    compared = [(pair, metrics) for pair, metrics in compared if metrics]
    worst = [(pair, max(metrics, key=lambda metric: metric.rank)) for pair, metrics in compared]
    table = pd.DataFrame([_row(*each) for each in worst])
    if table["records"].nunique() == 1:
        table = table.drop(columns="records")
    terminal.show(terminal.table("Committed records made again: of each, the metric that differs most", table))
    counts = Counter(metric.verdict for _, metric in worst)
    terminal.show("; ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]))
    for label, side in (("committed on", [pair.committed for pair in pairs]), ("now", [pair.now for pair in pairs])):
        terminal.show(f"{label}: {'; '.join(sorted({machine(record) for record in side}))}")
    if out is not None:
        rows = [_identity(pair) | vars(metric) for pair, metrics in compared for metric in metrics]
        write(out, pd.DataFrame(rows).drop(columns="distance").to_csv(index=False).encode())
        terminal.show(f"all metrics: {text_of(out)}")
    return not counts[Verdict.NOT]


def _identity(pair: Again) -> dict[str, Any]:
    params = ", ".join(f"{name}={value}" for name, value in pair.committed["params"].items())
    return {
        "records": pair.place.name, "arm": pair.committed["arm"], "params": params, "seed": pair.committed["seed"],
    }  # fmt: skip


def _row(pair: Again, metric: Metric) -> dict[str, Any]:
    names = {"metric": metric.name, "committed": metric.committed, "now": metric.now}
    shown = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in names.items()}
    return _identity(pair) | shown | {"verdict": metric.verdict}


def machine(record: Record) -> str:
    """Return the machine of a record in words."""
    values = {name: record["machine"].get(name, "unknown") for name in MACHINE}
    return "{processor} ({device}, {precision}, threads: {threads}, torch {torch})".format(**values)
