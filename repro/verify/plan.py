"""Selection of the runs that are retrained within a number of seconds: cheap ones, of different arms."""

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
from repro.verify.comparison import flat
from repro.verify.runs import Pair

SEEDS = tuple[str, str]  # arm and group, which records share that differ in their seeds alone


@dataclass(frozen=True)
class Plan:
    """Runs that fit into the time, with their records; without runs: the cheapest that does not fit.

    Attributes:
        stages: records and their runs; those of a stage depend on earlier stages only.
        seconds: what they take at most on the machine of the records.
        cheapest: record of the run that takes the least time of all; None if none can be retrained.
    """

    stages: list[list[Pair]]
    seconds: float
    cheapest: Record | None = None

    @property
    def pairs(self) -> list[Pair]:
        """Records and runs of all stages."""
        return [pair for stage in self.stages for pair in stage]


def requested_keys(components: Components, settings: Settings, runner: Runner) -> dict[str, set[str]]:
    """Return by arm the keys of the runs that the experiment would execute, as far as nothing needs to be trained.

    An experiment that chooses further runs by the results of earlier ones ends early with ``report_only``. If it ends
    before the headline, nothing is returned, because arms are listed only in part.
    """
    keys: dict[str, set[str]] = {}
    headlines: list[list[Record]] = []

    def list_runs(runs: Iterable[Any]) -> list[Any]:
        for run in runs:
            keys.setdefault(run.arm, set()).add(runner.key(run))
        return []

    planner = copy.copy(runner)
    planner.report_only, planner.finished = True, {}
    planner.plan = list_runs  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as empty:
        planner.store = Store(Path(empty))
        components.run(settings, planner, headlines.append)
    return keys if headlines else {}


def choose(pairs: list[Pair], records: list[Record], runner: Runner, seconds: float, places: int = 1) -> Plan:
    """Return a plan: again and again the cheapest record of an arm that is not in it, with all that it is made from.

    Records with several seeds come before others, whose spread is unknown. Runs that the store has cost nothing.

    Args:
        pairs: records of runs that may be retrained, and these runs.
        records: all records, which tell how many seeds there are.
        runner: the runner that will train.
        seconds: time that is left.
        places: number of data sets that share it; if nothing fits into a fraction of it, one record may take it all.
    """
    by_key = {runner.key(run): (record, run) for record, run in pairs}
    needs = {key: {key, *map(runner.key, runner.dependencies(run))} for key, (_, run) in by_key.items()}
    counts: dict[SEEDS, int] = {}
    for record in records:
        counts[seeds_of(record)] = counts.get(seeds_of(record), 0) + 1

    def cost(keys: set[str]) -> float:
        # A run of a batch takes as long as the whole batch at most.
        return sum(dict(_batch(by_key[key][0]) for key in keys if not runner.is_finished(by_key[key][1])).values())

    chosen: set[str] = set()
    arms: set[str] = set()
    cheapest, limit = None, seconds / places
    while True:
        offers = [(cost(chosen | needs[runner.key(run)]), counts[seeds_of(record)] == 1, number)
                  for number, (record, run) in enumerate(pairs)
                  if record["arm"] not in arms and any(flat(record["metrics"]))]  # fmt: skip
        if cheapest is None and offers:
            least, _, number = min(offers)
            cheapest = pairs[number][0]
            limit = max(limit, least if least <= seconds else 0)
        affordable = [offer for offer in offers if offer[0] <= limit]
        if not affordable:
            break
        record, run = pairs[min(affordable, key=lambda offer: (offer[1], offer[0]))[2]]
        chosen |= needs[runner.key(run)]
        arms.add(record["arm"])
    if not chosen and cheapest is not None:
        return Plan([], least, cheapest)
    # Networks are equal to the last digit only in a batch of the same networks.
    batches = {_batch(by_key[key][0]) for key in chosen}
    chosen |= {key for key, (record, _) in by_key.items() if _batch(record) in batches and needs[key] - {key} <= chosen}
    in_order = {key: by_key[key] for key in by_key if key in chosen}
    return Plan(_stages(in_order, {key: len(needs[key]) for key in in_order}), cost(chosen), cheapest)


def _stages(pairs: dict[str, Pair], depths: dict[str, int]) -> list[list[Pair]]:
    """Return pairs in stages, with each batch as a whole in the stage of its deepest run."""
    deepest: dict[Any, int] = {}
    for key, (record, _) in pairs.items():
        deepest[_batch(record)] = max(deepest.get(_batch(record), 0), depths[key])
    return [
        [pair for pair in pairs.values() if deepest[_batch(pair[0])] == depth] for depth in sorted({*deepest.values()})
    ]


def _batch(record: Record) -> tuple[Any, float]:
    """Return what identifies the runs that were trained together with a run, as all have the same time, and their time.

    The time of a run is that of its batch divided by the number of runs.
    """
    count = record.get("trained_together", 1)
    seconds = record["wall_seconds"] * count
    return (seconds, count) if count > 1 else record["key"], seconds


def seeds_of(record: Record) -> SEEDS:
    """Return what records share that differ in their seeds alone."""
    return record["arm"], record["group"]
