"""Selection of the records that are made again within a number of seconds: cheap ones, of different arms."""

import copy
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config import Settings
from repro.engine.runner import Runner
from repro.engine.store import Store
from repro.registry import Components
from repro.report.records import Record
from repro.verify.compare import flat
from repro.verify.rebuild import Pair

SEEDS = tuple[str, str]  # arm and group, which records share that differ in their seeds alone


@dataclass(frozen=True)
class Plan:
    """Runs that fit into the time, with their records, dependencies first; without runs: the cheapest that does not.

    Attributes:
        pairs: records and their runs.
        seconds: what they take at most on the machine of the records.
        cheapest: record of the run that takes the least time of all; None if none can be made again.
    """

    pairs: list[Pair]
    seconds: float
    cheapest: Record | None = None


def requested_keys(components: Components, settings: Settings, runner: Runner) -> dict[str, set[str]]:
    """Return by arm the keys of the runs that the experiment would execute, as far as nothing needs to be trained.

    An experiment that chooses further runs by the results of earlier ones ends early with ``report_only``.
    """
    keys: dict[str, set[str]] = {}

    def list_runs(runs: Iterable[Any]) -> list[Any]:
        for run in runs:
            keys.setdefault(run.arm, set()).add(runner.key(run))
        return []

    planner = copy.copy(runner)
    planner.report_only, planner.finished = True, {}
    planner.plan = list_runs  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as empty:
        planner.store = Store(Path(empty))
        components.run(settings, planner, lambda so_far: None)
    return keys


def choose(pairs: list[Pair], records: list[Record], runner: Runner, seconds: float) -> Plan:
    """Return a plan: again and again the cheapest record of an arm that is not in it, with all that it is made from.

    Records with several seeds come before others, whose spread is unknown. Runs that the store has cost nothing.
    """
    by_key = {runner.key(run): (record, run) for record, run in pairs}
    needs = {key: {key, *map(runner.key, runner.dependencies(run))} for key, (_, run) in by_key.items()}
    counts: dict[SEEDS, int] = {}
    for record in records:
        counts[seeds_of(record)] = counts.get(seeds_of(record), 0) + 1

    def cost(keys: set[str]) -> float:
        # Runs that were trained together have the same times. One alone takes as long as all of them at most.
        together = {(by_key[key][0]["wall_seconds"], by_key[key][0].get("trained_together", 1))
                    for key in keys if not runner.is_finished(by_key[key][1])}  # fmt: skip
        return sum(each * count for each, count in together)

    chosen: set[str] = set()
    arms: set[str] = set()
    cheapest = None
    while True:
        offers = [(cost(chosen | needs[runner.key(run)]), counts[seeds_of(record)] == 1, number)
                  for number, (record, run) in enumerate(pairs)
                  if record["arm"] not in arms and any(flat(record["metrics"]))]  # fmt: skip
        cheapest = cheapest or (pairs[min(offers)[2]][0] if offers else None)
        affordable = [offer for offer in offers if offer[0] <= seconds]
        if not affordable:
            break
        record, run = pairs[min(affordable, key=lambda offer: (offer[1], offer[0]))[2]]
        chosen |= needs[runner.key(run)]
        arms.add(record["arm"])
    if not chosen and cheapest is not None:
        return Plan([], cost(needs[next(runner.key(run) for record, run in pairs if record is cheapest)]), cheapest)
    in_order = sorted((by_key[key] for key in chosen), key=lambda pair: len(runner.dependencies(pair[1])))
    return Plan(in_order, cost(chosen), cheapest)


def seeds_of(record: Record) -> SEEDS:
    """Return what records share that differ in their seeds alone."""
    return record["arm"], record["group"]
