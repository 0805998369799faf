"""Analysis of the records of the variants: rows of a testbed, compared with KD.

Nothing here is a claim of the paper; ``repro/paper/later_work.py`` lists the results that the literature reports.
"""

from collections.abc import Mapping

import numpy as np

from repro.evaluation import stats
from repro.evaluation.stats import Contrast, Estimate
from repro.report.query import select
from repro.report.records import Record
from repro.variants.runs import GENERATION_SEEDS, Arm, label

# Arms whose runs are rows of the table of methods; those after the first train several models.
ROW_ARMS = (Arm.METHOD, Arm.BORN_AGAIN, Arm.BORN_AGAIN_ENSEMBLE, Arm.TEACHER_ASSISTANT)
ITSELF = Estimate(0.0, 0.0, 0.0, 0)  # difference of a row from itself
BETTER, WORSE, NOT_SIGNIFICANT = "better", "worse", "n.s."


def rows(records: list[Record]) -> list[str]:
    """Return the labels of the rows: KD first, then the other methods, then methods that train several models."""
    arms = {label(record["arm"], record["params"]): record["arm"] for record in records if record["arm"] in ROW_ARMS}
    baseline = kd_baseline(records)
    return sorted(arms, key=lambda row: (arms[row] != Arm.METHOD, row != baseline, row.casefold()))


def of_row(records: list[Record], row: str) -> list[Record]:
    """Return the records of a row by seed."""
    chosen = [
        record for record in records if record["arm"] in ROW_ARMS and label(record["arm"], record["params"]) == row
    ]
    return sorted(chosen, key=lambda record: record["seed"])


def kd_baseline(records: list[Record]) -> str:
    """Return the row of KD, which the others are compared with; empty where it has no students yet."""
    names = (record["baseline"] for record in records if record["arm"] == Arm.METHOD)
    return next((name for name in names if of_row(records, name)), "")


def no_kd_baseline(records: list[Record]) -> str:
    """Return the row of students without distillation; empty where there is none."""
    methods = select(records, Arm.METHOD)
    return next((record["params"]["name"] for record in methods if record["settings"]["method"] == "none"), "")


def accuracy(records: list[Record], part: str = "test") -> list[float]:
    """Return the accuracy of each record in percent."""
    return [100 * (1 - record["metrics"][f"{part}_errors"] / record["metrics"][f"{part}_cases"]) for record in records]


def mean_accuracy(records: list[Record]) -> float:
    """Return the mean test accuracy in percent."""
    return float(np.mean(accuracy(records)))


def contrasts(records: list[Record], baseline: str | None = None) -> dict[str, Contrast]:
    """Return every row's gain in test accuracy (percentage points) over another row, KD by default.

    Models of a seed see the same examples in the same order, born-again generations too: seeds are blocks. A row whose
    variance is an outlier, as where training fails for a seed, is compared by itself: it would widen all intervals.
    """
    values: dict[str, dict[int, float]] = {}
    for row in rows(records):
        nets = of_row(records, row)
        seeds = (record["seed"] % GENERATION_SEEDS for record in nets)
        values[row] = dict(zip(seeds, accuracy(nets), strict=True))
    baseline = kd_baseline(records) if baseline is None else baseline
    outlying = stats.outlying_variances({row: list(by_seed.values()) for row, by_seed in values.items()})
    alone = values.keys() - {baseline} if baseline in outlying else outlying
    result = stats.contrasts({row: by_seed for row, by_seed in values.items() if row not in alone}, baseline)
    for row in alone:
        pair = {name: values[name] for name in (row, baseline) if name in values}
        result |= stats.contrasts(pair, baseline)
    return {row: result[row] for row in values if row in result}


def gains(records: list[Record], baseline: str | None = None) -> dict[str, Estimate]:
    """Return the differences of ``contrasts``."""
    return {row: contrast.difference for row, contrast in contrasts(records, baseline).items()}


def timing(records: list[Record], row: str) -> Record | None:
    """Return the record of a row's time and memory; None where there is none."""
    return next(iter(select(records, Arm.TIMING, row=row)), None)


def teacher_agreement(records: list[Record]) -> Estimate | None:
    """Return the percentage of test images that a model and the testbed's teacher assign to the same class."""
    name = "test_agreement_testbed_teacher"
    values = [100 * record["metrics"][name] for record in records if name in record["metrics"]]
    return stats.mean_interval(values) if values else None


def is_significant(tested: list[Contrast]) -> list[bool]:
    """Return which of several differences are significant at the 5% level, by Holm's method (1979)."""
    p_values = [contrast.p_value for contrast in tested if contrast.p_value is not None]
    rejected = iter(stats.holm_rejects(p_values))
    return [contrast.p_value is not None and next(rejected) for contrast in tested]


def verdicts(records: list[Record]) -> dict[str, str]:
    """Return for every row whether it is better or worse than KD or not significantly different (n.s.).

    The row without distillation is tested by itself, because whether distillation helps is the paper's own question;
    all other rows of the testbed are one family of tests.
    """
    tested, result = contrasts(records), {}
    alone = [row for row in tested if row == no_kd_baseline(records)]
    for family in (alone, [row for row in tested if row not in alone]):
        for row, significant in zip(family, is_significant([tested[row] for row in family]), strict=True):
            result[row] = (BETTER if tested[row].difference.value > 0 else WORSE) if significant else NOT_SIGNIFICANT
    return result


def teacher(records: list[Record]) -> Record | None:
    """Return the record of the testbed's teacher; None where it is missing."""
    students = of_row(records, kd_baseline(records))
    if not students:
        return None
    shape, epochs = students[0]["settings"]["teacher_shape"], students[0]["settings"]["teacher_epochs"]
    teachers = select(records, Arm.TEACHER, shape=shape)
    return next((record for record in teachers if record["settings"]["recipe"]["epochs"] == epochs), None)


def gap_rows(records: list[Record]) -> list[tuple[str, float | None, dict[str, list[Record]]]]:
    """Return name, test accuracy and students by shape of each teacher of the capacity-gap ablation.

    The first row is "none", the students without a teacher. Teachers and students go from small to large.
    """

    def by_shape(nets: list[Record]) -> dict[str, list[Record]]:
        cells: dict[str, list[Record]] = {}
        for record in sorted(nets, key=lambda record: record["metrics"]["parameters"]):
            cells.setdefault(record["settings"]["shape"], []).append(record)
        return cells

    alone = select(records, Arm.CAPACITY_GAP, distilled_from="no teacher")
    if not alone:
        return []
    teachers = sorted(
        select(records, Arm.TEACHER),
        key=lambda record: (record["metrics"]["parameters"], record["settings"]["recipe"]["epochs"]),
    )
    result: list[tuple[str, float | None, dict[str, list[Record]]]] = [("none", None, by_shape(alone))]
    for distilled_from, name in (("teacher", "{shape}"), ("early-stopped teacher", "{shape}, only {epochs:g} epochs")):
        students = select(records, Arm.CAPACITY_GAP, distilled_from=distilled_from)
        for record in teachers:
            shape, epochs = record["settings"]["shape"], record["settings"]["recipe"]["epochs"]
            nets = select(students, Arm.CAPACITY_GAP, teacher_shape=shape, teacher_epochs=epochs)
            if nets:
                result.append((name.format(shape=shape, epochs=epochs), accuracy([record])[0], by_shape(nets)))
    return result


VIEWS = {
    "same": "the student's augmented image",
    "different": "another augmentation of the image",
    "fixed": "the original image",
    "still": "the original image, as does the student",
}
# Without a teacher, by the student's view.
VIEWS_WITHOUT_TEACHER = {"same": "no teacher", "still": "no teacher; the student sees the original image"}


def view_of(settings: Mapping[str, object]) -> str:
    """Return the text of the teacher's view in the settings of a record."""
    return (VIEWS_WITHOUT_TEACHER if settings["teacher"] is None else VIEWS)[str(settings["view"])]


def by_view(records: list[Record]) -> dict[tuple[float, str], list[Record]]:
    """Return the students of the teacher-view ablation by epochs and by the text of the view, in the tables' order."""
    groups: dict[tuple[float, str], list[Record]] = {}
    for record in select(records, Arm.TEACHER_VIEW):
        settings = record["settings"]
        groups.setdefault((settings["recipe"]["epochs"], view_of(settings)), []).append(record)
    order = [*VIEWS.values(), *VIEWS_WITHOUT_TEACHER.values()]
    return dict(sorted(groups.items(), key=lambda group: (group[0][0], order.index(group[0][1]))))
