"""What the figures show of the first seed besides counts: class names, example images, the covariance."""

import base64
from typing import Any

import torch
from torch import Tensor

from repro.specialists import clustering
from repro.specialists.experiment import combined_runs, generalist_run, specialist_runs
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.runs import Combined
from repro.specialists.settings import SpecialistsSettings

CLUSTERS, NAMES, EXAMPLES, CHANGED, COVARIANCE_CELLS = 8, 12, 6, 12, 200


def shown(settings: SpecialistsSettings, runner: SpecialistsRunner) -> dict[str, Any] | None:
    """Plain JSON: names and training images of some specialists' classes (Table 2), the covariance of the
    generalist's predictions ordered by specialist, and test images on which equation 5 changed the answer.

    None where the first seed's specialists are not finished.
    """
    data, generalist = runner.data, generalist_run(settings, 0)
    specialists = specialist_runs(settings, runner, 0)
    if not specialists or not all(runner.is_finished(one) for one in specialists):
        return None
    probabilities = runner.on_part(generalist, "train").exp()
    correlation = clustering.correlation(clustering.covariance(probabilities)).fill_diagonal_(0)
    by_confusion = [
        sorted(one.subset, key=lambda c: -float(correlation[c, list(one.subset)].sum())) for one in specialists
    ]
    order = list(dict.fromkeys(c for subset in by_confusion for c in subset))
    order += sorted(set(range(len(data.classes))) - set(order))
    return {
        "clusters": [[data.classes[c] for c in subset[:NAMES]] for subset in by_confusion[:CLUSTERS]],
        "examples": [[_example(data.train.images, data.train.labels, c) for c in subset[:EXAMPLES]]
                     for subset in by_confusion[:CLUSTERS]],
        "covariance": _coarse(correlation[order][:, order]),
        "classes": len(data.classes),
        "covered": len({c for subset in by_confusion for c in subset}),
        "test_images": len(data.test),
        **_changed(runner, combined_runs(settings, specialists)[0]),
    }  # fmt: skip


def _example(images: Tensor, labels: Tensor, which: int) -> dict[str, Any] | None:
    found = (labels == which).nonzero()[:, 0]
    return pixels(images[found[0]]) if len(found) else None


def pixels(image: Tensor) -> dict[str, Any]:
    """An image as JSON: its shape (channel, row, column) and base64 of its bytes."""
    return {"shape": list(image.shape), "bytes": base64.b64encode(image.contiguous().numpy().tobytes()).decode()}


def _coarse(correlation: Tensor) -> list[list[float]]:
    """The matrix in at most so many cells a side: where classes are more, a cell holds the value of largest
    magnitude of its block, sign and all, so that thin blocks stay visible."""
    side = min(COVARIANCE_CELLS, len(correlation))
    highest, lowest = (
        sign * torch.nn.functional.adaptive_max_pool2d(sign * correlation.float()[None, None], side)[0, 0]
        for sign in (1, -1)
    )
    cells = torch.where(highest.abs() >= lowest.abs(), highest, lowest)
    return [[round(value, 3) for value in row] for row in cells.tolist()]


def _changed(runner: SpecialistsRunner, run: Combined) -> dict[str, Any]:
    """How many test images' answers equation 5 corrected and spoilt, and the first few of each."""
    cases, names = runner.data.test, runner.data.classes
    before, after, _ = runner.combine(run, cases)
    right = [p.argmax(-1) == cases.labels for p in (before, after)]
    found, counts = [], {}
    for kind, where in (("corrected", ~right[0] & right[1]), ("spoilt", right[0] & ~right[1])):
        counts[kind] = int(where.sum())
        for case in where.nonzero()[: CHANGED // 2, 0].tolist():
            top = [
                [[names[c], round(v, 3)] for v, c in zip(*(x.tolist() for x in p[case].topk(3)), strict=True)]
                for p in (before, after)
            ]
            found.append({"kind": kind, "case": case, "label": names[int(cases.labels[case])],
                          "image": pixels(cases.images[case]), "before": top[0], "after": top[1]})  # fmt: skip
    return {"changes": counts, "changed": found}
