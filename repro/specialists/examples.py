"""Examples of the first seed for the figures: class names, images, the covariance, changed predictions."""

import base64
from typing import Any

import torch
from torch import Tensor

from repro.specialists import clustering, search
from repro.specialists.pipeline import combined_runs, generalist_run, specialist_runs
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.runs import CombinedRun
from repro.specialists.settings import SpecialistsSettings

# Specialists, names and example images of each; changed predictions; rows of the covariance.
CLUSTERS, NAMES, EXAMPLES, CHANGED, COVARIANCE_CELLS = 8, 12, 6, 12, 200


def shown(settings: SpecialistsSettings, runner: SpecialistsRunner) -> dict[str, Any] | None:
    """Return the images left out or changed and the examples of the first seed as JSON; None where there are neither.

    The examples, made once its specialists are finished, are names and training images of some specialists' classes
    (Table 2), the covariance of the generalist's predictions ordered by specialist, and test images whose predicted
    class equation 5 changed.
    """
    data, chosen = runner.data, search.choose(settings, runner)
    if chosen is None:
        return data.files_by_reason() or None
    settings, generalist = chosen, generalist_run(chosen, 0)
    specialists = specialist_runs(settings, runner, generalist)
    if not specialists or not all(runner.is_finished(run) for run in specialists):
        return data.files_by_reason() or None
    probabilities = runner.predictions(generalist, "train").exp()
    correlation = clustering.correlation(clustering.covariance(probabilities)).fill_diagonal_(0)
    by_confusion = [
        sorted(run.subset, key=lambda c: -float(correlation[c, list(run.subset)].sum())) for run in specialists
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
        **data.files_by_reason(),
    }  # fmt: skip


def pixels(image: Tensor) -> dict[str, Any]:
    """Return an image as JSON: its shape (channel, row, column) and its bytes in base64."""
    return {"shape": list(image.shape), "bytes": base64.b64encode(image.contiguous().numpy().tobytes()).decode()}


def _example(images: Tensor, labels: Tensor, label: int) -> dict[str, Any] | None:
    """Return the first image of a class; None where there is no image of it."""
    rows = (labels == label).nonzero()[:, 0]
    return pixels(images[rows[0]]) if len(rows) else None


def _coarse(correlation: Tensor) -> list[list[float]]:
    """Return the matrix with at most ``COVARIANCE_CELLS`` rows and columns.

    Where there are more classes, a cell holds the value of largest magnitude of its block, with its sign, so that
    thin blocks stay visible.
    """
    side = min(COVARIANCE_CELLS, len(correlation))
    highest, lowest = (
        sign * torch.nn.functional.adaptive_max_pool2d(sign * correlation.float()[None, None], side)[0, 0]
        for sign in (1, -1)
    )
    cells = torch.where(highest.abs() >= lowest.abs(), highest, lowest)
    return [[round(value, 3) for value in row] for row in cells.tolist()]


def _changed(runner: SpecialistsRunner, run: CombinedRun) -> dict[str, Any]:
    """Count the test images whose prediction equation 5 corrected or broke, and return the first few of each."""
    cases, names = runner.data.test, runner.data.classes
    before, after, _ = runner.combine(run, cases)
    right = [p.argmax(-1) == cases.labels for p in (before, after)]
    changed, counts = [], {}
    for kind, mask in (("corrected", ~right[0] & right[1]), ("broken", right[0] & ~right[1])):
        counts[kind] = int(mask.sum())
        for case in mask.nonzero()[: CHANGED // 2, 0].tolist():
            top = [
                [[names[c], round(v, 3)] for v, c in zip(*(x.tolist() for x in p[case].topk(3)), strict=True)]
                for p in (before, after)
            ]
            changed.append({"kind": kind, "case": case, "label": names[int(cases.labels[case])],
                            "image": pixels(cases.images[case]), "before": top[0], "after": top[1]})  # fmt: skip
    return {"changes": counts, "changed": changed}
