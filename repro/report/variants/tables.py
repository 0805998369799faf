"""Tables of the variants, from the records alone."""

import json
from collections.abc import Callable

import pandas as pd

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.format import dataset_label
from repro.report.query import interval, select, signed
from repro.report.records import Record
from repro.report.variants import analysis
from repro.variants import methods as known
from repro.variants.runs import Arm

BORN_AGAIN_SOURCE = "Furlanello et al. 2018 (arXiv:1805.04770)"
# Sources of the rows that are no file of repro/variants/methods.
SOURCES = {
    Arm.BORN_AGAIN: BORN_AGAIN_SOURCE,
    Arm.BORN_AGAIN_ENSEMBLE: BORN_AGAIN_SOURCE,
    Arm.TEACHER_ASSISTANT: "Mirzadeh et al. 2020 (arXiv:1902.03393)",
}


def networks(records: list[Record]) -> pd.DataFrame:
    """Return shape, size and training of the teacher and of the students that the methods are compared on."""
    teacher, students = analysis.teacher(records), analysis.of_row(records, analysis.kd_baseline(records))
    parts = {"teacher": [] if teacher is None else [teacher], "students": students}
    rows = []
    for name, nets in parts.items():
        for net in nets[:1]:
            settings, recipe = net["settings"], net["settings"]["recipe"]
            rows.append({
                "networks": name, "shape": settings["shape"], "parameters": f"{net['metrics']['parameters']:,}",
                "epochs": f"{recipe['epochs']:g}", "batch size": recipe["batch_size"],
                "learning rate": f"{recipe['learning_rate']:g}", "seeds of a row": len(nets),
            })  # fmt: skip
    return pd.DataFrame(rows)


def methods(records: list[Record]) -> pd.DataFrame:
    """Return accuracy, difference from KD, time and memory of every row, with numbers that programs can read."""
    rows, gains = [], {analysis.kd_baseline(records): analysis.ITSELF} | analysis.gains(records)
    for row in analysis.rows(records):
        nets, timing = analysis.of_row(records, row), analysis.timing(records, row)
        mean = stats.mean_interval(analysis.accuracy(nets))
        gain = gains.get(row, Estimate(float("nan"), None, None, 0))
        rows.append({
            "method": row, "metric": "test accuracy, %", "ours": _digits(mean.value), "ci_low": _digits(mean.low),
            "ci_high": _digits(mean.high), "seeds": mean.count, "diff_from_kd": _digits(gain.value),
            "diff_ci_low": _digits(gain.low), "diff_ci_high": _digits(gain.high),
            "time_over_kd": "" if timing is None else _digits(timing["metrics"]["time_over_kd"]),
            "memory_over_kd": "" if timing is None else _digits(timing["metrics"]["memory_over_kd"]),
            "source": source(nets),
        })  # fmt: skip
    return pd.DataFrame(rows)


def source(nets: list[Record]) -> str:
    """Return the publication of a row's method; a dash where it is unknown."""
    method = nets[0]["settings"].get("method")
    default = known.find(method).source if method in known.names() else "–"
    return SOURCES.get(nets[0]["arm"], default)


SUMMARY = (
    "method", "test accuracy", "delta vs KD", "verdict", "delta vs no KD", "teacher agreement", "step time / KD",
    "memory / KD", "chosen on validation",
)  # fmt: skip


def summary(records: list[Record]) -> pd.DataFrame:
    """Return the rows of ``methods`` as text, with the teacher agreement and the settings that validation chose."""
    rows = []
    teacher = analysis.teacher(records)
    if teacher is not None:
        accuracy = f"{analysis.accuracy([teacher])[0]:.2f}"
        name = f"teacher ({teacher['settings']['shape']})"
        rows.append(dict.fromkeys(SUMMARY, "–") | {"method": name, "test accuracy": accuracy})
    verdicts, gains = analysis.verdicts(records), analysis.gains(records)
    gains_over_no_kd = analysis.gains(records, analysis.no_kd_baseline(records))
    for row in analysis.rows(records):
        nets, timing = analysis.of_row(records, row), analysis.timing(records, row)
        agreement = analysis.teacher_agreement(nets)
        values = (
            row,
            with_interval(nets),
            signed(gains[row]) if row in gains else "–",
            verdicts.get(row, "–"),
            signed(gains_over_no_kd[row]) if row in gains_over_no_kd else "–",
            "–" if agreement is None else f"{agreement.value:.1f}%",
            "–" if timing is None else step_time(timing),
            "–" if timing is None else f"{timing['metrics']['memory_over_kd']:.2f}",
            chosen(records, row),
        )
        rows.append(dict(zip(SUMMARY, values, strict=True)))
    return pd.DataFrame(rows)


def step_time(timing: Record) -> str:
    """Return the step time over KD's: the median of the timings, and the smallest and largest of them."""
    return "{time_over_kd:.2f} ({time_low:.2f} to {time_high:.2f})".format(**timing["metrics"])


def chosen(records: list[Record], row: str) -> str:
    """Return the settings that validation chose, of those that differ within the grid.

    A value at an end of the grid is marked, for a better one may lie beyond.
    """
    grid = [record["settings"]["options"] for record in select(records, Arm.SEARCH, name=row)]
    if not grid:
        return "–"
    options = analysis.of_row(records, row)[0]["settings"]["options"]
    varied = [name for name in options if len({str(entry[name]) for entry in grid}) > 1]
    return ", ".join(f"{name} {_with_end(options[name], [entry[name] for entry in grid])}" for name in varied)


def _with_end(value: object, tried: list) -> str:
    if not isinstance(value, float):
        return value if isinstance(value, str) else json.dumps(value)
    at_end = {min(tried): " (lowest tried)", max(tried): " (highest tried)"}
    return f"{value}{at_end.get(value, '') if value and len(set(tried)) > 2 else ''}"


def gap(records: list[Record]) -> pd.DataFrame:
    """Return the test accuracy of every student by its teacher."""
    rows = []
    for name, accuracy, students in analysis.gap_rows(records):
        row: dict[str, object] = {
            "teacher": name, "teacher accuracy": "–" if accuracy is None else f"{accuracy:.2f}",
            "seeds": len(next(iter(students.values()))),
        }  # fmt: skip
        for shape, nets in students.items():
            row[f"student {shape}"] = with_interval(nets)
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")  # early-stopped teachers have students of one size


def temperatures(records: list[Record]) -> pd.DataFrame:
    """Return the test accuracy by temperature, by student size and by the weight of the hard labels."""
    rows = []
    for varied in ("student size", "hard-label weight"):
        nets = sorted(
            select(records, Arm.TEMPERATURE_SWEEP, varied=varied),
            key=lambda net: (net["metrics"]["parameters"], net["settings"]["options"]["hard_label_weight"]),
        )
        for value in sorted({record["settings"]["options"]["temperature"] for record in nets}):
            groups: dict[str, list[Record]] = {}
            for record in nets:
                settings = record["settings"]
                if settings["options"]["temperature"] == value:
                    weight = f"hard-label weight {settings['options']['hard_label_weight']:g}"
                    name = f"student {settings['shape']}" if varied == "student size" else weight
                    groups.setdefault(name, []).append(record)
            rows += [{"varied": f"temperature and {varied}", "model": name, "T": f"{value:g}",
                      "test accuracy": with_interval(group), "seeds": len(group)}
                     for name, group in groups.items()]  # fmt: skip
    return pd.DataFrame(rows)


def views(records: list[Record]) -> pd.DataFrame:
    """Return the test accuracy by the teacher's view, and its gain over no teacher for a student of the same view."""
    groups, rows = analysis.by_view(records), []
    without = analysis.VIEWS_WITHOUT_TEACHER
    for (epochs, view), nets in groups.items():
        alone = groups.get((epochs, without["still" if view == analysis.VIEWS["still"] else "same"]), [])
        paired = view not in without.values() and len(alone) == len(nets)
        difference = stats.paired_difference(analysis.accuracy(nets), analysis.accuracy(alone)) if paired else None
        rows.append({"epochs": f"{epochs:g}", "view of the teacher": view, "test accuracy": with_interval(nets),
                     "delta vs no teacher": "–" if difference is None else signed(difference),
                     "seeds": len(nets)})  # fmt: skip
    return pd.DataFrame(rows)


def testbeds(by_testbed: dict[str, list[Record]]) -> pd.DataFrame:
    """Return accuracy and difference from KD of every row on every testbed, with a dagger where significant."""
    order = dict.fromkeys(row for records in by_testbed.values() for row in analysis.rows(records))
    verdicts = {testbed: analysis.verdicts(records) for testbed, records in by_testbed.items()}
    gains = {testbed: analysis.gains(records) for testbed, records in by_testbed.items()}
    table = []
    for row in order:
        cells = {"method": row}
        for testbed, records in by_testbed.items():
            nets, gain = analysis.of_row(records, row), gains[testbed].get(row)
            mean = f"{analysis.mean_accuracy(nets):.2f}" if nets else "–"
            verdict = verdicts[testbed].get(row, analysis.NOT_SIGNIFICANT)
            dagger = "" if verdict == analysis.NOT_SIGNIFICANT else " †"
            cells[dataset_label(testbed)] = mean if gain is None else f"{mean} ({signed(gain)}){dagger}"
        table.append(cells)
    return pd.DataFrame(table)


def sources() -> pd.DataFrame:
    """Return the results that the literature reports, on other models and data."""
    return pd.DataFrame([vars(result) for result in paper.VARIANTS])


def with_interval(nets: list[Record]) -> str:
    """Return the mean test accuracy and its 95% CI as text."""
    mean = stats.mean_interval(analysis.accuracy(nets))
    return f"{mean.value:.2f} {interval(mean, '.2f')}"


def _digits(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.5g}"


TABLES: dict[str, tuple[str, Callable[[list[Record]], pd.DataFrame]]] = {
    "networks": (
        "Teacher and students (mlp:N-N has two hidden layers of N units, conv:N three stages of N, 2N and 4N channels)",
        networks,
    ),
    "methods": ("", methods),  # the numbers of the summary, for programs
    "summary": ("Methods: delta vs KD, teacher agreement, settings chosen on validation", summary),
    "gap": ("Capacity gap: test accuracy in percent of every student by teacher", gap),
    "temperatures": ("Temperature by student size and by hard-label weight", temperatures),
    "views": ("View of the teacher", views),
}
