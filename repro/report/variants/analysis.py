"""What the records of the variants say: rows of a bench, paired with plain distillation. Nothing here is a claim of
the paper's; paper/claims.py lists the figures of the methods' own papers."""

import numpy as np
from statsmodels.stats.multitest import multipletests

from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.query import select
from repro.report.records import Record
from repro.variants.settings import RESERVED

Found = list[Record]
CHAINS = ("born again", "by way of")
NOT_APART = "not told apart"


def rows(records: Found) -> list[str]:
    """The rows of the methods' table: plain distillation first, then its peers, then what chains several nets."""
    studies = tuple(name for name in RESERVED if name not in CHAINS)
    found = {record["arm"] for record in records if not record["arm"].startswith(studies)}
    return sorted(found, key=lambda arm: (arm.startswith(CHAINS), arm != plain(records), arm))


def plain(records: Found) -> str:
    """The row of plain distillation, which the others are compared with; empty where it has no students yet."""
    return next((record["arm"] for record in records if record["arm"] == record["baseline"]), "")


def accuracy(found: Found, part: str = "test") -> list[float]:
    """Percent right of each net."""
    return [100 * (1 - record["metrics"][f"{part}_errors"] / record["metrics"][f"{part}_cases"]) for record in found]


def untaught(records: Found) -> str:
    """The row of students without distillation; empty where there is none."""
    none = (arm for arm in rows(records) if select(records, arm)[0]["settings"].get("method") == "none")
    return next(none, "")


def ahead(records: Found, arm: str, of: str | None = None) -> Estimate | None:
    """Points of test accuracy over another row, plain distillation unless told otherwise, paired by seed."""
    mine, theirs = select(records, arm), select(records, plain(records) if of is None else of)
    if not mine or len(mine) != len(theirs):
        return None
    return stats.paired_difference(accuracy(mine), accuracy(theirs))


def cost(records: Found, arm: str) -> Record | None:
    """What a method's steps cost beside plain distillation's."""
    return next(iter(select(records, f"cost: {arm}")), None)


def agreement(found: Found) -> Estimate | None:
    """Percent of test images of which a net names the same class as the bench's teacher."""
    name = "test_agreement_bench"
    said = [100 * record["metrics"][name] for record in found if name in record["metrics"]]
    return stats.mean_interval(said) if said else None


def clear(aheads: list[Estimate]) -> list[bool]:
    """Which of several differences are clear of zero, all of them looked at together (Holm 1979)."""
    judged = [one.low is not None for one in aheads]
    p_values = [stats.p_of_zero(one) for one, is_judged in zip(aheads, judged, strict=True) if is_judged]
    found = iter(multipletests(p_values, method="holm")[0] if p_values else ())
    return [bool(next(found)) if is_judged else False for is_judged in judged]


def verdicts(records: Found) -> dict[str, str]:
    """Of every row that is compared with plain distillation, whether it is told apart from it: better, worse, or not
    told apart. Whether distillation helps at all, the paper's own question, is asked first and by itself; all other
    rows of the bench are looked at together."""
    first = [arm for arm in rows(records) if arm == untaught(records)]
    others = [arm for arm in rows(records) if arm not in (plain(records), *first)]
    said = {}
    for family in (first, others):
        aheads = {arm: one for arm in family if (one := ahead(records, arm)) is not None}
        for (arm, one), is_clear in zip(aheads.items(), clear(list(aheads.values())), strict=True):
            said[arm] = ("better" if one.value > 0 else "worse") if is_clear else NOT_APART
    return said


def teacher(records: Found) -> Record | None:
    """The teacher of the rows."""
    taught = select(records, plain(records))
    if not taught:
        return None
    shape = taught[0]["settings"]["teacher_shape"]
    epochs = taught[0]["settings"]["teacher_epochs"]
    return next(
        (r for r in select(records, "teacher", shape=shape) if r["settings"]["recipe"]["epochs"] == epochs), None
    )


def mean_accuracy(found: Found) -> float:
    """The mean over nets."""
    return float(np.mean(accuracy(found)))
