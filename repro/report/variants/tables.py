"""The tables of the variants, from the records alone."""

import json
from collections.abc import Callable

import pandas as pd

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.query import interval, select, signed
from repro.report.records import Record
from repro.report.variants import analysis as claims
from repro.variants import methods as known

Found = list[Record]


def methods(records: Found) -> pd.DataFrame:
    """Every row of the bench: accuracy, difference from plain distillation, cost; the format that others read."""
    rows = []
    for arm in claims.rows(records):
        found, ahead, cost = select(records, arm), claims.ahead(records, arm), claims.cost(records, arm)
        mine = stats.mean_interval(claims.accuracy(found))
        difference = ahead or Estimate(float("nan"), None, None, 0)
        rows.append({
            "method": arm, "metric": "test accuracy, %", "ours": _plain(mine.value), "ci_low": _plain(mine.low),
            "ci_high": _plain(mine.high), "seeds": mine.count, "diff_from_kd": _plain(difference.value),
            "diff_ci_low": _plain(difference.low), "diff_ci_high": _plain(difference.high),
            "time_over_kd": "" if cost is None else _plain(cost["metrics"]["time_over_plain"]),
            "memory_over_kd": "" if cost is None else _plain(cost["metrics"]["memory_over_plain"]),
            "source": source(found),
        })  # fmt: skip
    return pd.DataFrame(rows)


def source(found: Found) -> str:
    """Where a row's method comes from."""
    arm, method = found[0]["arm"], found[0]["settings"].get("method")
    if arm.startswith("born again"):
        return "Furlanello et al. 2018"
    if arm.startswith("by way of"):
        return "Mirzadeh et al. 2020"
    return known.find(method).source if method in known.names() else "–"


def summary(records: Found) -> pd.DataFrame:
    """The same to be read: with what validation chose, and how often student and teacher agree."""
    rows, taught = [], claims.teacher(records)
    if taught is not None:
        none = dict.fromkeys(
            (
                "minus soft targets",
                "verdict",
                "minus no distillation",
                "agrees with the teacher",
                "time",
                "memory",
                "chosen on validation",
            ),
            "–",
        )
        name = f"teacher ({taught['settings']['shape']})"
        rows.append({"method": name, "test accuracy": f"{claims.accuracy([taught])[0]:.2f}"} | none)
    verdicts, untaught = claims.verdicts(records), claims.untaught(records)
    for arm in claims.rows(records):
        found, ahead, cost = select(records, arm), claims.ahead(records, arm), claims.cost(records, arm)
        more = claims.ahead(records, arm, untaught)
        agree = claims.agreement(found)
        rows.append({
            "method": arm, "test accuracy": with_interval(found),
            "minus soft targets": "–" if ahead is None or arm == claims.plain(records) else signed(ahead),
            "verdict": verdicts.get(arm, "–"),
            "minus no distillation": "–" if more is None or arm == untaught else signed(more),
            "agrees with the teacher": "–" if agree is None else f"{agree.value:.1f}%",
            "time": "–" if cost is None else timed(cost),
            "memory": "–" if cost is None else f"{cost['metrics']['memory_over_plain']:.2f}",
            "chosen on validation": chosen(records, arm),
        })  # fmt: skip
    return pd.DataFrame(rows)


def timed(cost: Record) -> str:
    """A step's time over plain distillation's: the median of some timings, the least and the most of them."""
    return "{time_over_plain:.2f} ({time_low:.2f} to {time_high:.2f})".format(**cost["metrics"])


def chosen(records: Found, arm: str) -> str:
    """The settings that validation chose, of those that differ among the candidates; and which are an end of what was
    tried, so that a better one may lie beyond."""
    tried = [record["settings"]["options"] for record in select(records, f"candidate: {arm}")]
    if not tried:
        return "–"
    own = select(records, arm)[0]["settings"]["options"]
    varied = [name for name in own if len({str(options[name]) for options in tried}) > 1]

    def said(name: str) -> str:
        value, values = own[name], [options[name] for options in tried]
        if not isinstance(value, float):
            return value if isinstance(value, str) else json.dumps(value)
        at_end = {min(values): " (lowest tried)", max(values): " (highest tried)"}
        return f"{value}{at_end.get(value, '') if value and len(set(values)) > 2 else ''}"

    return ", ".join(f"{name} {said(name)}" for name in varied)


def gap(records: Found) -> pd.DataFrame:
    """Capacity gap: accuracy of every student from every teacher."""
    rows = []
    for name, level, cells in gap_rows(records):
        row = {"teacher": name, "teacher's accuracy": "–" if level is None else f"{level:.2f}"}
        for shape, nets in cells.items():
            row[f"student {shape}"] = with_interval(nets)
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")  # early-stopped teachers have students of one size


def gap_rows(records: Found) -> list[tuple[str, float | None, dict[str, Found]]]:
    """Of each teacher (none, by size, stopped early): its accuracy, and its students by shape, small ones first."""

    def cells(found: Found) -> dict[str, Found]:
        by_shape: dict[str, Found] = {}
        for record in sorted(found, key=lambda record: record["metrics"]["weights"]):
            by_shape.setdefault(record["settings"]["shape"], []).append(record)
        return by_shape

    alone = select(records, "gap, no teacher")
    if not alone:
        return []
    rows: list[tuple[str, float | None, dict[str, Found]]] = [("none", None, cells(alone))]
    for arm, name in (("gap", "{shape}"), ("gap, early-stopped teacher", "{shape}, only {epochs:g} passes")):
        for one in sorted(
            select(records, "teacher"), key=lambda r: (r["metrics"]["weights"], r["settings"]["recipe"]["epochs"])
        ):
            shape, epochs = one["settings"]["shape"], one["settings"]["recipe"]["epochs"]
            found = select(records, arm, teacher_shape=shape, teacher_epochs=epochs)
            if found:
                rows.append((name.format(shape=shape, epochs=epochs), claims.accuracy([one])[0], cells(found)))
    return rows


def temperatures(records: Found) -> pd.DataFrame:
    """Temperature against the student's size and against the weight of the labels."""
    rows = []
    for arm, what in (("temperature and size", "shape"), ("temperature and weight", "hard_label_weight")):
        found = select(records, arm)
        for value in sorted({record["settings"]["options"]["temperature"] for record in found}):
            at = [record for record in found if record["settings"]["options"]["temperature"] == value]
            groups: dict[str, Found] = {}
            for record in at:
                own = record["settings"]
                name = f"student {own['shape']}" if what == "shape" else f"hard weight {own['options'][what]:g}"
                groups.setdefault(name, []).append(record)
            rows += [{"varied": arm, "net": name, "T": f"{value:g}",
                      "test accuracy": with_interval(nets), "seeds": len(nets)}
                     for name, nets in groups.items()]  # fmt: skip
    return pd.DataFrame(rows)


def views(records: Found) -> pd.DataFrame:
    """What the teacher is shown, over short and long training, and what that brings over no teacher for a student that
    sees the same."""
    found, rows = by_view(records), []
    for (epochs, shown), nets in found.items():
        alone = found.get((epochs, ALONE["still" if shown == VIEWS["still"] else "same"]), [])
        paired = shown not in ALONE.values() and len(alone) == len(nets)
        brought = signed(stats.paired_difference(claims.accuracy(nets), claims.accuracy(alone))) if paired else "–"
        rows.append({"passes": f"{epochs:g}", "the teacher is shown": shown, "test accuracy": with_interval(nets),
                     "minus no teacher": brought, "seeds": len(nets)})  # fmt: skip
    return pd.DataFrame(rows)


def by_view(records: Found) -> dict[tuple[float, str], Found]:
    """Students by passes and by what the teacher is shown, in the tables' order."""
    found: dict[tuple[float, str], Found] = {}
    for record in (*select(records, "view"), *select(records, "view, no teacher")):
        own = record["settings"]
        shown = (ALONE if own["teacher"] is None else VIEWS)[own["view"]]
        found.setdefault((own["recipe"]["epochs"], shown), []).append(record)
    order = [*VIEWS.values(), *ALONE.values()]
    return dict(sorted(found.items(), key=lambda one: (one[0][0], order.index(one[0][1]))))


VIEWS = {
    "same": "the student's own view",
    "different": "another draw of shift and mirror",
    "fixed": "the image as it is, once",
    "still": "the image as it is, as is the student",
}
# Without a teacher, by what the student sees.
ALONE = {"same": "no teacher", "still": "no teacher, and the student sees the image as it is"}


def benches(by_bench: dict[str, Found]) -> pd.DataFrame:
    """A row for each method, a column for each bench: accuracy, the paired difference with its interval, and a dagger
    where the two are told apart."""
    order = dict.fromkeys(arm for found in by_bench.values() for arm in claims.rows(found))
    rows, verdicts = [], {bench: claims.verdicts(found) for bench, found in by_bench.items()}
    for arm in order:
        row = {"method": arm}
        for bench, found in by_bench.items():
            nets, ahead = select(found, arm), claims.ahead(found, arm)
            mine = f"{claims.mean_accuracy(nets):.2f}" if nets else "–"
            dagger = "" if verdicts[bench].get(arm, claims.NOT_APART) == claims.NOT_APART else " †"
            row[bench] = mine if ahead is None or arm == claims.plain(found) else f"{mine} ({signed(ahead)}){dagger}"
        rows.append(row)
    return pd.DataFrame(rows)


def sources() -> pd.DataFrame:
    """What the methods' own papers print, on other nets and data: to be set beside, not to be met."""
    return pd.DataFrame([vars(one) for one in paper.VARIANTS])


def with_interval(found: Found) -> str:
    """Mean accuracy and its interval."""
    mean = stats.mean_interval(claims.accuracy(found))
    return f"{mean.value:.2f} {interval(mean, '.2f')}"


def _plain(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.5g}"


TABLES: dict[str, tuple[str, Callable[[Found], pd.DataFrame]]] = {
    "methods": ("All methods: test accuracy, and cost of training over plain distillation's", methods),
    "summary": ("Methods, what validation chose, agreement with the teacher", summary),
    "gap": ("Capacity gap: test accuracy in percent of every student from every teacher", gap),
    "temperatures": ("Temperature against size and against the weight of the labels", temperatures),
    "views": ("What the teacher is shown", views),
}
