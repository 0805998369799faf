"""The tables of sections 5, 6.1 and 8 on specialists: the paper's figures beside ours, from the records alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.report.query import interval, select, signed
from repro.report.records import Record
from repro.report.specialists import analysis as claims
from repro.report.specialists.analysis import COVER, MAIN, Gain

DEVELOPMENT = "paper (development set)"
SEEDS, IMAGES = "95% over seeds", "95% over images"


def table3(records: list[Record]) -> pd.DataFrame:
    """Conditional and overall accuracy, generalist alone and with specialists, on test and on validation images."""
    rows = []
    for part in ("test", "validation"):
        found = claims.gain(records, part=part)
        if found is None:
            continue
        rows += _accuracies(part, "conditional", "conditional", found.conditional, found.within, found.covering)
        rows += _accuracies(part, "overall", "acc", found.accuracy, found.right, np.ones_like(found.covering))
    return pd.DataFrame(rows)


def _accuracies(
    part: str, name: str, claim: str, accuracy: Callable[[int], list[float]], right: tuple, out_of: np.ndarray
) -> list[dict[str, Any]]:
    """Four rows of Table 3: before, after, their difference, the relative gain."""
    printed = [paper.BY_ID[f"specialists.{system}_{claim}"].figure for system in ("baseline", "with")]
    before, after = accuracy(0), accuracy(1)
    change = right[1] - right[0]
    lines = (
        ("generalist", f"{printed[0]:g}", stats.mean_interval(before), (right[0], out_of)),
        ("with specialists", f"{printed[1]:g}", stats.mean_interval(after), (right[1], out_of)),
        ("difference, points", f"{printed[1] - printed[0]:+.1f}",
         stats.paired_difference(after, before), (change, out_of)),
        ("relative gain, %", f"{100 * (printed[1] / printed[0] - 1):+.1f}",
         stats.mean_interval(claims.percent_gain(*right)), (change, right[0])),
    )  # fmt: skip
    return [
        {
            "part": part, "accuracy": name, "system": system, DEVELOPMENT: figure, "ours": f"{ours.value:.2f}",
            SEEDS: interval(ours, ".2f"), IMAGES: _over_images(*ratio), "seeds": ours.count,
        }
        for system, figure, ours, ratio in lines
    ]  # fmt: skip


def _over_images(numerator: np.ndarray, denominator: np.ndarray) -> str:
    """The interval, in percent, of a ratio over images, each of them a mean over the seeds."""
    if not denominator.any():
        return "–"
    return interval(claims.percent(stats.ratio_over_cases(numerator, denominator)), ".2f")


def table4(records: list[Record]) -> pd.DataFrame:
    """Change by number of specialists that cover the right class."""
    found = claims.gain(records)
    if found is None:
        return pd.DataFrame()
    rows = []
    for number, (name, cover) in enumerate(zip(COVER, claims.covers(found), strict=True)):
        ours, change = cover.relative(), stats.mean_interval(cover.after - cover.before)
        images = claims.cover_over_images(found, number)
        rows.append(
            {
                "specialists covering": name.replace("plus", " or more"),
                "paper: examples": f"{paper.COVER_EXAMPLES[number]:,}",
                "paper: change in correct": f"{paper.COVER_CHANGES[number]:+,}",
                "paper: relative, %": f"{paper.COVER_GAINS[number]:+.1f}",
                "ours: examples": f"{cover.images.mean():,.1f}",
                "ours: change in correct": f"{change.value:+,.1f} {interval(change)}",
                "ours: relative, %": "–" if ours is None else f"{ours.value:+.2f}",
                SEEDS: "–" if ours is None else interval(ours, ".2f"),
                IMAGES: "–" if images is None else interval(images, ".2f"),
            }
        )
    return pd.DataFrame(rows)


def studies(records: list[Record]) -> pd.DataFrame:
    """One thing varied at a time: gain of accuracy, overall and conditional, and on validation images."""
    count = claims.studied(records)
    names = {MAIN: "nothing: Table 3", f"{MAIN}, count": "number of specialists"}
    rows = []
    for arm in dict.fromkeys(record["arm"] for record in records if record["arm"].startswith(MAIN)):
        for kind in _kinds(select(records, arm)):
            name = names.get(arm, arm.removeprefix(f"{MAIN}, "))
            if arm == f"{MAIN}, count" and kind[0]["metrics"]["count"] == count:
                name += " (what kind, method, size and width compare with)"
            rows.append(_study(kind, name))
    return pd.DataFrame(rows)


def _kinds(found: list[Record]) -> list[list[Record]]:
    """Records of a role, those that differ in their seed alone together."""
    kinds: dict[tuple, list[Record]] = {}
    for record in found:
        kinds.setdefault((record["settings"]["active"], record["metrics"]["count"]), []).append(record)
    return [kinds[key] for key in sorted(kinds)]


def _study(found: list[Record], name: str) -> dict[str, Any]:
    change, on_validation = (claims.gain_of(found, part) for part in ("test", "validation"))
    overall = _difference(change)
    conditional = stats.paired_difference(change.conditional(1), change.conditional(0))
    relative = stats.mean_interval(change.relative())
    return {
        "varied": name,
        "specialists": found[0]["metrics"]["count"],
        "n": found[0]["settings"]["active"],
        "images covered": f"{(change.covering > 0).mean():.1%}",
        "active on average": f"{np.mean([r['metrics']['test_mean_active'] for r in found]):.2f}",
        "generalist": f"{np.mean(change.accuracy(0)):.2f}",
        "with specialists": f"{np.mean(change.accuracy(1)):.2f}",
        "gain, points": signed(overall),
        "relative gain, %": signed(relative),
        "conditional gain, points": signed(conditional),
        "gain on validation, points": signed(_difference(on_validation)),
        "seeds": overall.count,
    }


def _difference(change: Gain) -> Estimate:
    return stats.paired_difference(change.accuracy(1), change.accuracy(0))


def kinds(records: list[Record]) -> pd.DataFrame:
    """Section 6.1: dustbin against full softmax; how well specialists know their own classes, and overfit."""
    count = claims.studied(records)
    main, soft, hard = (
        [r for r in select(records, arm) if r["settings"]["number"] < (count or 0)]
        for arm in ("specialist", *(f"specialist, kind: full softmax, {kind} targets" for kind in ("soft", "hard")))
    )
    combined = {kind: claims.gain(records, f"{MAIN}, kind: full softmax, {kind} targets") for kind in ("soft", "hard")}
    rows = [
        _kind_row("none: the generalist", main, "_before", None),
        _kind_row("dustbin", main, "", claims.baseline(records)),
        _kind_row("full softmax, hard targets", hard, "", combined["hard"]),
        _kind_row("full softmax, soft targets for the other classes", soft, "", combined["soft"]),
    ]
    return pd.DataFrame([row for row in rows if row])


def _kind_row(name: str, nets: list[Record], when: str, change: Gain | None) -> dict[str, Any]:
    if not nets:
        return {}
    train, test = (_own_classes(nets, part, when) for part in ("train", "test"))
    return {
        "specialists": name,
        "number": max(r["settings"]["number"] for r in nets) + 1 if change else "–",
        "within their classes, train": f"{np.mean(train):.2f}",
        "within their classes, test": f"{np.mean(test):.2f} {interval(stats.mean_interval(test), '.2f')}",
        "train minus test, points": signed(stats.paired_difference(train, test)),
        "gain of accuracy, points": signed(_difference(change)) if change else "–",
        "seeds": len(test),
    }


def _own_classes(nets: list[Record], part: str, when: str) -> list[float]:
    """Accuracy in percent within the specialists' own classes, each seed: of the nets, or of the generalist before."""
    found: dict[int, list[dict[str, Any]]] = {}
    for record in nets:
        found.setdefault(record["seed"], []).append(record["metrics"])
    return [
        100 * sum(m[f"{part}_special_right{when}"] for m in of_seed)
        / max(1, sum(m[f"{part}_special_cases"] for m in of_seed))
        for of_seed in found.values()
    ]  # fmt: skip


def distilled_back(records: list[Record]) -> pd.DataFrame:
    """Section 8: one net of the generalist's size, from several teachers."""
    generalist, change = claims.accuracy(records, "generalist"), claims.gain(records)
    roles = ("generalist", "hard targets, longer", "distilled from the generalist",
             "distilled from generalist and specialists")  # fmt: skip
    before = _epochs(select(records, "generalist"))
    nets = [
        (arm, claims.accuracy(records, arm), before if arm == "generalist" else f"{before} + {_epochs(found)}")
        for arm in roles
        if (found := select(records, arm))
    ]
    if change is not None:
        nets.append(("generalist with specialists (the teacher)", change.accuracy(1), "–"))
    rows = []
    for name, values, epochs in nets:
        if values and len(values) == len(generalist):
            difference = "–" if name == "generalist" else signed(stats.paired_difference(values, generalist))
            accuracy = stats.mean_interval(values)
            rows.append(
                {
                    "net": name, "epochs": epochs, "accuracy": f"{accuracy.value:.2f} {interval(accuracy, '.2f')}",
                    "minus generalist, points": difference, "seeds": accuracy.count,
                }
            )  # fmt: skip
    return pd.DataFrame(rows) if len(rows) > 2 else pd.DataFrame()


def _epochs(found: list[Record]) -> str:
    return ", ".join(sorted({f"{record['settings']['recipe']['epochs']:g}" for record in found}))


ENSEMBLE = "ensemble"
# Costs are near each other that differ by no more than this share.
NEAR = 0.2


def costs(records: list[Record]) -> list[tuple[str, tuple[float, float], list[float]]]:
    """Systems by cost: name, costs of training and of use in generalists, accuracy in percent of each seed.

    Training cost counts training images, and use the nets that see a test image: all are of the
    generalist's size but for the last layer.
    """
    generalist, main, found = select(records, "generalist"), select(records, MAIN), claims.gain(records)
    if not generalist or found is None:
        return []
    images = generalist[0]["settings"]["recipe"]["epochs"] * generalist[0]["metrics"]["train_cases"]
    trained = sum(
        n["settings"]["recipe"]["epochs"] * n["metrics"]["train_special_cases"] / n["settings"]["special_share"]
        for n in select(records, "specialist")
    ) / len(main)  # fmt: skip
    used = float(np.mean([record["metrics"]["test_mean_active"] for record in main]))
    rows = [
        ("generalist", (1.0, 1.0), found.accuracy(0)),
        ("generalist with specialists", (1 + trained / images, 1 + used), found.accuracy(1)),
    ]
    longer = select(records, claims.LONGER)
    if longer:
        more = longer[0]["settings"]["recipe"]["epochs"] / generalist[0]["settings"]["recipe"]["epochs"]
        rows.append(("generalist, trained longer", (1 + more, 1.0), claims.accuracy(records, claims.LONGER)))
    ensembles = select(records, "ensemble of generalists")
    for number in sorted({record["metrics"]["nets"] for record in ensembles}):
        of_number = [record for record in ensembles if record["metrics"]["nets"] == number]
        name = f"{ENSEMBLE} of {number} generalists"
        rows.append((name, (float(number), float(number)), claims.accuracy(of_number, "ensemble of generalists")))
    return rows


def equal_cost(records: list[Record]) -> pd.DataFrame:
    """Specialists against ensembles of generalists and a longer-trained one, with what each costs."""
    rows = costs(records)
    if not rows:
        return pd.DataFrame()
    _, at, ours = rows[1]
    ensembles = [row for row in rows if row[0].startswith(ENSEMBLE)]
    nearest = {
        label: near[0]
        for cost, label in enumerate(("in training", "in use"))
        if (near := min(ensembles, key=lambda row: abs(row[1][cost] - at[cost]), default=None)) is not None
        and abs(near[1][cost] - at[cost]) <= NEAR * at[cost]
    }
    table = []
    for name, (trained, used), values in rows:
        accuracy, ahead = stats.mean_interval(values), stats.paired_difference(ours, values)
        table.append(
            {
                "system": name,
                "training cost, generalists": f"{trained:.2f}",
                "cost of use, generalists": f"{used:.2f}",
                "nearest ensemble": ", ".join(label for label, system in nearest.items() if system == name) or "–",
                "accuracy": f"{accuracy.value:.2f} {interval(accuracy, '.2f')}",
                "with specialists minus this, points": "–" if values is ours else signed(ahead),
                "seeds": accuracy.count,
            }
        )
    return pd.DataFrame(table)


def clusters(shown: dict[str, Any]) -> pd.DataFrame:
    """Table 2: the classes of the first specialists of the first seed that are most confused with the others there."""
    groups = [("paper", names) for names in paper.CLUSTERS] + [("ours", names) for names in shown["clusters"]]
    return pd.DataFrame([{"specialists": whose, "classes": "; ".join(names)} for whose, names in groups])


TABLES: dict[str, tuple[str, Callable[[list[Record]], pd.DataFrame]]] = {
    "table3": ("Table 3: accuracy within the special classes and overall, in percent", table3),
    "table4": ("Table 4: change by number of specialists that cover the right class, test images", table4),
    "studies": ("What the gain depends on: one thing varied at a time, test images", studies),
    "kinds": ("Section 6.1: soft targets as regularisers for specialists", kinds),
    "distilled_back": (
        "Section 8: generalist and specialists distilled back into one net, test images",
        distilled_back,
    ),
    "equal_cost": ("What as much cost buys otherwise: ensembles and longer training, by cost; test images", equal_cost),
}
