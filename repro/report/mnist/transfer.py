"""Ablations of the distilled network, which tell what carries the teacher's knowledge over."""

import pandas as pd
from matplotlib.figure import Figure

from repro import paper
from repro.evaluation import stats
from repro.mnist.runs import Arm
from repro.report.format import in_epochs
from repro.report.mnist.analysis import errors, layers
from repro.report.plotting import OURS, PAPER, SECOND, legend, points, subplots
from repro.report.query import interval, select
from repro.report.records import Record

# Networks of the table, in its order, beside the students of other teachers.
NAMES = {
    Arm.TEACHER: "teacher",
    Arm.BASELINE: "hard targets",
    Arm.DISTILLED: "distilled",
    Arm.TEACHER_WIDTH: "distilled, as wide as the teacher",
    Arm.MEAN_OF_TRANSLATIONS: "distilled, soft targets averaged over 25 translations of the image",
    Arm.TRANSLATED_TRANSFER_SET: "distilled, transfer set translated, soft targets of the translated image",
}
ABLATIONS = (
    Arm.OF_OTHER_TEACHER, Arm.OF_SEVERAL_TEACHERS, Arm.TEACHER_WIDTH, Arm.MEAN_OF_TRANSLATIONS,
    Arm.TRANSLATED_TRANSFER_SET,
)  # fmt: skip


def other_teachers(records: list[Record]) -> list[float]:
    """Return the epochs of the further teachers, those with students."""
    return sorted({record["params"]["teacher_epochs"] for record in select(records, Arm.OF_OTHER_TEACHER)})


def table(records: list[Record]) -> pd.DataFrame:
    """Return errors on test images and on translated ones, and agreement with the teacher on these."""
    if not any(select(records, arm) for arm in ABLATIONS):
        return pd.DataFrame()
    rows = [_row(name, select(records, arm)) for arm, name in NAMES.items()]
    if of_several := select(records, Arm.OF_SEVERAL_TEACHERS):
        name = f"mean of {_count_teachers(of_several)} teachers' logits"
        # Ensembles of neighboring seeds share teachers: their errors are not independent.
        together = _row(name, of_several, "teacher_") | {"95% CI": "–", "95% CI (translated)": "–"}
        rows += [together, _row("distilled from it", of_several)]
    for epochs in other_teachers(records):
        teachers = select(records, Arm.OTHER_TEACHER, teacher_epochs=epochs)
        students = select(records, Arm.OF_OTHER_TEACHER, teacher_epochs=epochs)
        rows += [_row(f"teacher of {in_epochs(epochs)}", teachers), _row("distilled from it", students)]
    return pd.DataFrame([row for row in rows if row])


def _count_teachers(students: list[Record]) -> int:
    """Return the number of teachers of a student of several."""
    return 1 + len(students[0]["settings"]["other_teachers"])


def _row(name: str, runs: list[Record], of: str = "") -> dict[str, object]:
    """Return a row of networks or, if ``of`` is ``teacher_``, of what several teachers of theirs predict together."""
    if not runs:
        return {}
    measured = ("teacher_errors" if of else "test_errors", f"{of}translated_errors")
    estimate, translated = (stats.mean_interval(errors(runs, name)) for name in measured)
    followed = [run["metrics"]["translated_agreement"] for run in runs if "translated_agreement" in run["metrics"]]
    followed = [] if of else followed
    return {
        "network": name if of else f"{name}, {layers(runs[0]['settings']['hidden'])}", "seeds": len(runs),
        "test errors": f"{estimate.value:.1f}", "95% CI": interval(estimate),
        "errors on translated test images": f"{translated.value:.1f}", "95% CI (translated)": interval(translated),
        "agreement with its teacher on these": f"{sum(followed) / len(followed):.2%}" if followed else "–",
    }  # fmt: skip


def contrasts(records: list[Record]) -> pd.DataFrame:
    """Return the errors of each ablation minus those of the distilled network and of the teacher, paired by seed."""
    distilled, teacher = select(records, Arm.DISTILLED), select(records, Arm.TEACHER)
    students = {NAMES[arm]: select(records, arm) for arm in NAMES if arm in ABLATIONS}
    others = {}
    if of_several := select(records, Arm.OF_SEVERAL_TEACHERS):
        others[f"distilled from the mean of {_count_teachers(of_several)} teachers' logits"] = of_several
    for epochs in other_teachers(records):
        of_other = select(records, Arm.OF_OTHER_TEACHER, teacher_epochs=epochs)
        others[f"distilled from a teacher of {in_epochs(epochs)}"] = of_other
    rows = [_contrast(f"{name}; minus distilled", runs, distilled) for name, runs in (students | others).items()]
    rows += [_contrast(f"{name}; minus its teacher", runs, teacher) for name, runs in students.items()]
    return pd.DataFrame([row for row in rows if row])


def _contrast(name: str, first: list[Record], second: list[Record]) -> dict[str, object]:
    """Return a row of differences over the seeds of both networks, on test images and on translated ones."""
    seeds = {record["seed"] for record in first} & {record["seed"] for record in second}
    if not seeds:
        return {}
    pair = [[record for record in runs if record["seed"] in seeds] for runs in (first, second)]
    plain, translated = (
        stats.paired_difference(*(errors(runs, metric) for runs in pair))
        for metric in ("test_errors", "translated_errors")
    )
    return {
        "comparison": name, "seeds": len(seeds), "test errors": f"{plain.value:+.1f}", "95% CI": interval(plain),
        "errors on translated test images": f"{translated.value:+.1f}", "95% CI (translated)": interval(translated),
    }  # fmt: skip


def by_teacher(records: list[Record]) -> Figure:
    """Draw a student's errors against those of its teacher, for teachers of several lengths, with the paper's point."""
    pairs = {
        in_epochs(epochs): (
            errors(select(records, Arm.OTHER_TEACHER, teacher_epochs=epochs)),
            errors(select(records, Arm.OF_OTHER_TEACHER, teacher_epochs=epochs)),
        )
        for epochs in other_teachers(records)
    }
    teachers, students = select(records, Arm.TEACHER), select(records, Arm.DISTILLED)
    if teachers and students:
        pairs[in_epochs(teachers[0]["settings"]["recipe"]["epochs"])] = (errors(teachers), errors(students))
    if together := select(records, Arm.OF_SEVERAL_TEACHERS):
        pairs[f"mean of {_count_teachers(together)}"] = (errors(together, "teacher_errors"), errors(together))
    figure, axis = subplots(figsize=(5, 4))
    means = {}
    for name, (of, to) in pairs.items():
        axis.plot(of[: len(to)], to[: len(of)], ".", color=OURS, alpha=0.3)
        means[name] = stats.mean_interval(of).value, stats.mean_interval(to)
    order = sorted(means, key=lambda name: means[name][0])
    positions, estimates = [means[name][0] for name in order], [means[name][1] for name in order]
    points(axis, positions, estimates, OURS, "students, mean with 95% CI; points: seeds")
    for name, position, estimate in zip(order, positions, estimates, strict=True):
        axis.annotate(name, (position, estimate.value), textcoords="offset points", xytext=(6, -9), fontsize=7)
    printed = [paper.BY_ID[f"mnist.{name}_errors"].figure for name in ("teacher", "distilled")]
    axis.plot(*[[value] for value in printed], "*", color=PAPER, markersize=9, label="paper")
    axis.margins(x=0.2)  # room for the labels
    ends = axis.get_xlim()
    axis.plot(ends, ends, "--", color=SECOND, linewidth=1, label="as many errors as the teacher")
    axis.set_xlim(ends)
    axis.set_xlabel("teacher's test errors of 10,000")
    axis.set_ylabel("student's test errors of 10,000")
    legend(axis)
    figure.tight_layout()
    return figure
