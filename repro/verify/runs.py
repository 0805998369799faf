"""Runs from their records, without the experiment that planned them.

A record holds all settings of its run, and the keys of the runs that it was made from. These keys are those of the
commit that trained them, so they are followed from record to record and never compared with today's.
"""

import importlib
import json
from dataclasses import fields
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from repro.engine.runner import Runner
from repro.errors import UserError
from repro.report.records import Record

Pair = tuple[Record, Any]  # a record and its run


def rebuild(experiment: str, records: list[Record]) -> list[Pair]:
    """Return the records whose runs can be made from them, with the runs.

    Excluded: records with settings of which today's code knows no equal, and those made from a run without a record.
    """
    module = importlib.import_module(f"repro.{experiment}.runs")
    bases = get_args(module.Run) or (module.Run,)
    kinds = {kind.__name__: kind for base in bases for kind in (base, *base.__subclasses__())}
    adapters = {name: TypeAdapter(kind) for name, kind in kinds.items()}
    by_key = {record["key"]: record for record in records}
    made: dict[str, Any] = {}

    def value(item: Any) -> Any:
        if isinstance(item, list):
            return tuple(map(value, item))
        if not isinstance(item, str) or item not in by_key:
            return item
        if item not in made:
            made[item] = make(by_key[item])
        return made[item]

    def make(record: Record) -> Any:
        given = record["settings"] | {"arm": record["arm"], "seed": record["seed"], "seeds": record.get("seeds", 1)}
        name = given.get("run", "Run")  # section 3 has a single kind of run, which its older records do not name
        values = {field.name: value(given[field.name]) for field in fields(kinds[name]) if field.name in given}
        if isinstance(values.get("options"), dict):
            values["options"] = json.dumps(values["options"], sort_keys=True)
        if any(field.name == "params" for field in fields(kinds[name])):
            values["params"] = tuple(record["params"].items())
        return adapters[name].validate_python(values)

    pairs = []
    for record in records:
        try:
            pairs.append((record, make(record)))
        except (KeyError, ValidationError, RecursionError):
            continue
    return pairs


def unchanged(pairs: list[Pair], runner: Runner, requested: dict[str, set[str]]) -> list[Pair]:
    """Return the records whose settings, and those of all runs that they are made from, are today's as well.

    Args:
        pairs: records and their runs.
        runner: a runner with today's settings and data.
        requested: keys of the runs that the experiment would execute today, by arm; arms that it names only after
            training are absent, and their runs are compared with what their records hold.
    """
    pairs = [pair for pair in pairs if _has_key(pair[1], runner)]
    today = {record["key"]: runner.key(run) for record, run in pairs}
    same = {
        runner.key(run)
        for record, run in pairs
        if runner.key(run) in requested.get(record["arm"], {runner.key(run)})
        and _agrees(record["settings"], runner.settings_of(run), today)
    }
    needed = {runner.key(run): [runner.key(other) for other in runner.dependencies(run)] for _, run in pairs}
    return [pair for pair in pairs if {key := runner.key(pair[1]), *needed[key]} <= same]


def _has_key(run: Any, runner: Runner) -> bool:
    """Return whether today's code knows all settings of a run, such as the options of its method."""
    try:
        return bool(runner.key(run))
    except (ValidationError, UserError):
        return False


def _agrees(before: Any, now: Any, today: dict[str, str]) -> bool:
    """Return whether settings are equal. One that a record does not hold has today's default, which changes nothing."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(name in now and _agrees(value, now[name], today) for name, value in before.items())
    if isinstance(before, list) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(_agrees(*each, today) for each in zip(before, now, strict=True))
    return before == now or (isinstance(before, str) and today.get(before) == now)
