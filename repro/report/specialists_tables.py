"""The tables of sections 5, 6.1 and 8 on specialists: the paper's figures beside ours, from the records alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from repro import paper
from repro.core import stats
from repro.core.stats import Estimate
from repro.report import specialists_claims as claims
from repro.report.records import Record
from repro.report.section import interval, select
from repro.report.specialists_claims import COVER, MAIN


def table3(records: list[Record]) -> pd.DataFrame:
    """Conditional and overall accuracy, generalist alone and with specialists, on test and on validation."""
    rows = []
    printed = {
        "conditional": [paper.BY_ID[f"specialists.{s}_conditional"].paper for s in ("baseline", "with")],
        "overall": [paper.BY_ID[f"specialists.{s}_acc"].paper for s in ("baseline", "with")],
    }
    for part in ("test", "validation"):
        found = claims.gain(records, part=part)
        if found is None:
            continue
        measures = (
            ("conditional", found.conditional, found.within, found.covering),
            ("overall", found.accuracy, found.right, np.ones_like(found.covering)),
        )
        for name, values, cases, out_of in measures:
            for after, system in enumerate(("generalist", "with specialists")):
                over_images = stats.ratio_over_cases(cases[after], out_of)
                rows.append(
                    _row(
                        part, name, system, f"{printed[name][after]:g}", stats.mean_interval(values(after)), over_images
                    )
                )
            difference = stats.paired_difference(values(1), values(0))
            over_images = stats.ratio_over_cases(cases[1] - cases[0], out_of)
            rows.append(
                _row(
                    part,
                    name,
                    "difference, points",
                    f"{printed[name][1] - printed[name][0]:+.1f}",
                    difference,
                    over_images,
                )
            )
            ratio = [100 * (b / a - 1) for a, b in zip(values(0), values(1), strict=True)]
            over_images = stats.ratio_over_cases(cases[1] - cases[0], cases[0])
            relative = 100 * (printed[name][1] / printed[name][0] - 1)
            rows.append(
                _row(part, name, "relative gain, %", f"{relative:+.1f}", stats.mean_interval(ratio), over_images)
            )
    return pd.DataFrame(rows)


def _row(part: str, name: str, system: str, printed: str, ours: Estimate, over_images: Estimate) -> dict[str, Any]:
    scaled = [None if end is None else 100 * end for end in (over_images.low, over_images.high)]
    return {
        "part": part,
        "accuracy": name,
        "system": system,
        "paper": printed if part == "test" else "–",
        "ours": f"{ours.value:.2f}",
        "95% over seeds": interval(ours, ".2f"),
        "95% over images": interval(Estimate(0.0, *scaled, 0), ".2f"),
        "seeds": ours.count,
    }


def table4(records: list[Record]) -> pd.DataFrame:
    """Change by number of specialists that cover the right class."""
    found = claims.gain(records)
    if found is None:
        return pd.DataFrame()
    rows = []
    seeds = len(found.covering)
    for number, (name, cover) in enumerate(zip(COVER, claims.covers(found), strict=True)):
        ours = cover.relative()
        change = (cover.after - cover.before).sum() / seeds
        images = cover.images.sum() / seeds
        rows.append(
            {
                "specialists covering": name.replace("plus", " or more"),
                "paper: examples": f"{paper.COVER_EXAMPLES[number]:,}",
                "paper: change in correct": f"{paper.COVER_CHANGES[number]:+,}",
                "paper: relative, %": f"{paper.COVER_GAINS[number]:+.1f}",
                "ours: examples": f"{images:,.1f}",
                "ours: change in correct": f"{change:+,.1f}",
                "ours: relative, %": "–" if ours is None else f"{ours.value:+.2f}",
                "95% over seeds": "–" if ours is None else interval(ours, ".2f"),
            }
        )
    return pd.DataFrame(rows)


def studies(records: list[Record]) -> pd.DataFrame:
    """One thing varied at a time: gain of accuracy, overall and conditional."""
    rows = []
    for role in dict.fromkeys(record["role"] for record in records if record["role"].startswith(MAIN)):
        for kind in _kinds(select(records, role)):
            rows.append(_study(kind, role))
    return pd.DataFrame([row for row in rows if row])


def _kinds(found: list[Record]) -> list[list[Record]]:
    """Records of a role, those that differ in their seed alone together."""
    kinds: dict[tuple, list[Record]] = {}
    for record in found:
        kinds.setdefault((record["settings"]["active"], record["metrics"]["count"]), []).append(record)
    return [kinds[key] for key in sorted(kinds)]


def _study(found: list[Record], role: str) -> dict[str, Any]:
    change = claims.gain(found, role)
    overall = stats.paired_difference(change.accuracy(1), change.accuracy(0))
    conditional = stats.paired_difference(change.conditional(1), change.conditional(0))
    metrics = found[0]["metrics"]
    return {
        "varied": role.removeprefix(MAIN).removeprefix(", ") or "nothing (Table 3)",
        "specialists": metrics["count"],
        "n": found[0]["settings"]["active"],
        "images covered": f"{(change.covering > 0).mean():.1%}",
        "active on average": f"{np.mean([r['metrics']['test_mean_active'] for r in found]):.2f}",
        "generalist": f"{stats.mean_interval(change.accuracy(0)).value:.2f}",
        "with specialists": f"{stats.mean_interval(change.accuracy(1)).value:.2f}",
        "gain, points": f"{overall.value:+.2f} {interval(overall, '.2f')}",
        "relative gain, %": f"{np.mean(change.relative()):+.2f}",
        "conditional gain, points": f"{conditional.value:+.2f} {interval(conditional, '.2f')}",
        "seeds": overall.count,
    }


def kinds(records: list[Record]) -> pd.DataFrame:
    """Section 6.1: dustbin against full softmax; how well specialists know their own classes, and overfit."""
    count = claims.studied(records)
    sources = {
        "dustbin": ("specialist", claims.of_count(records, count), f"{MAIN}, count"),
        "full softmax, hard targets": ("specialist, kind: full softmax, hard targets", None, None),
        "full softmax, soft targets for the other classes": (
            "specialist, kind: full softmax, soft targets",
            None,
            None,
        ),
    }
    rows = []
    for name, (role, combined, combined_role) in sources.items():
        combined_role = combined_role or role.replace("specialist,", f"{MAIN},")
        found = claims.gain(records if combined is None else combined, combined_role)
        nets = select(records, role)
        if found is None or not nets:
            continue
        own = {part: _own_classes(nets, part, count) for part in ("train", "test")}
        gap = stats.paired_difference(own["train"], own["test"])
        test = stats.mean_interval(own["test"])
        change = stats.paired_difference(found.accuracy(1), found.accuracy(0))
        rows.append(
            {
                "specialists": name,
                "number": count,
                "within own classes, train": f"{np.mean(own['train']):.2f}",
                "within own classes, test": f"{test.value:.2f} {interval(test, '.2f')}",
                "overfitting (train minus test), points": f"{gap.value:.2f} {interval(gap, '.2f')}",
                "gain of accuracy, points": f"{change.value:+.2f} {interval(change, '.2f')}",
            }
        )
    return pd.DataFrame(rows)


def _own_classes(nets: list[Record], part: str, count: int) -> list[float]:
    """Accuracy in percent of the first ``count`` specialists of each seed within their own classes."""
    seeds: dict[int, list[dict[str, Any]]] = {}
    for record in sorted(nets, key=lambda r: (r["seed"], r["settings"]["number"])):
        seeds.setdefault(record["seed"], []).append(record["metrics"])
    return [
        100 * sum(m[f"{part}_special_right"] for m in found[:count])
        / max(1, sum(m[f"{part}_special_cases"] for m in found[:count]))
        for found in seeds.values()
    ]  # fmt: skip


def distilled_back(records: list[Record]) -> pd.DataFrame:
    """Section 8: one net of the generalist's size, from several teachers."""
    generalist = claims.accuracy(records, "generalist")
    rows = []
    for role in ("generalist", "hard targets, as long", "distilled from the generalist",
                 "distilled from generalist and specialists", MAIN):  # fmt: skip
        found = claims.gain(records) if role == MAIN else None
        values = claims.accuracy(records, role) if found is None and role != MAIN else found and found.accuracy(1)
        if not values or len(values) != len(generalist):
            continue
        ours = stats.mean_interval(values)
        difference = stats.paired_difference(values, generalist)
        epochs = {r["settings"]["recipe"]["epochs"] for r in select(records, role) if "recipe" in r["settings"]}
        rows.append(
            {
                "net": "generalist with specialists (the teacher)" if role == MAIN else role,
                "nets at test time": "many" if role == MAIN else "1",
                "epochs": ", ".join(f"{e:g}" for e in epochs) or "–",
                "accuracy": f"{ours.value:.2f} {interval(ours, '.2f')}",
                "minus generalist, points": "–" if role == "generalist" else f"{difference.value:+.2f} "
                f"{interval(difference, '.2f')}",
            }
        )  # fmt: skip
    return pd.DataFrame(rows) if len(rows) > 2 else pd.DataFrame()


def costs(records: list[Record]) -> list[tuple[str, float, float, Estimate]]:
    """Systems by cost: (name, training cost, cost of use, accuracy), in generalists; for specialists of the
    generalist's width. Training cost counts training images, use the nets that see a test image."""
    generalist, main = select(records, "generalist"), select(records, MAIN)
    if not generalist or not main:
        return []
    recipe = generalist[0]["settings"]["recipe"]
    images = recipe["epochs"] * generalist[0]["metrics"]["train_cases"]
    nets = select(records, "specialist")
    seeds = len(main)
    trained = sum(
        n["settings"]["recipe"]["epochs"] * n["metrics"]["train_special_cases"] / n["settings"]["special_share"]
        for n in nets
    ) / seeds  # fmt: skip
    used = float(np.mean([r["metrics"]["test_mean_active"] for r in main]))
    found = claims.gain(records)
    rows = [
        ("generalist", 1.0, 1.0, stats.mean_interval(found.accuracy(0))),
        ("generalist with specialists", 1 + trained / images, 1 + used, stats.mean_interval(found.accuracy(1))),
    ]
    by_nets: dict[int, list[float]] = {}
    for record in select(records, "ensemble of generalists"):
        m = record["metrics"]
        by_nets.setdefault(m["nets"], []).append(100 * (1 - m["test_errors"] / m["test_cases"]))
    rows += [
        (f"ensemble of {number} generalists", float(number), float(number), stats.mean_interval(values))
        for number, values in sorted(by_nets.items())
        if number > 1
    ]
    return rows


def equal_cost(records: list[Record]) -> pd.DataFrame:
    """Specialists against ensembles of generalists, with what each costs."""
    return pd.DataFrame(
        [
            {
                "system": name,
                "training cost, generalists": f"{trained:.2f}",
                "cost of use, generalists": f"{used:.2f}",
                "accuracy": f"{ours.value:.2f} {interval(ours, '.2f')}",
            }
            for name, trained, used, ours in costs(records)
        ]
    )


def clusters(shown: dict[str, Any]) -> pd.DataFrame:
    """Table 2: classes of the first specialists of the first seed, nearest to their centre first."""
    rows = [{"specialist": f"paper, {number}", "classes": "; ".join(names)} for number, names in
            enumerate(paper.CLUSTERS, 1)]  # fmt: skip
    rows += [
        {"specialist": f"ours, {number}", "classes": "; ".join(names)}
        for number, names in enumerate(shown["clusters"], 1)
    ]
    return pd.DataFrame(rows)


TABLES: dict[str, tuple[str, Callable[[list[Record]], pd.DataFrame]]] = {
    "table3": ("Table 3: accuracy within the special classes and overall, in percent", table3),
    "table4": ("Table 4: change by number of specialists that cover the right class, test images", table4),
    "studies": ("What the gain depends on: one thing varied at a time, test images", studies),
    "kinds": ("Section 6.1: soft targets as regularisers for specialists, test images", kinds),
    "distilled_back": (
        "Section 8: generalist and specialists distilled back into one net, test images",
        distilled_back,
    ),
    "equal_cost": ("At equal cost: specialists against ensembles of generalists, test images", equal_cost),
}
