"""What the figures show of the first seed besides counts: class names, example images, the covariance."""

import base64
from typing import Any

import torch
from torch import Tensor

from repro.specialists import clustering
from repro.specialists.experiment import combined_runs, generalist_run, specialist_runs
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.settings import SpecialistsSettings

CLUSTERS, NAMES, EXAMPLES, CHANGED, COVARIANCE_CELLS = 8, 12, 6, 12, 200


def shown(settings: SpecialistsSettings, runner: SpecialistsRunner) -> dict[str, Any]:
    """Plain JSON: names and training images of some specialists' classes (Table 2), the covariance of the
    generalist's predictions ordered by specialist, and test images on which equation 5 changed the answer."""
    data = runner.data
    generalist = generalist_run(settings, 0)
    specialists = specialist_runs(settings, runner, 0)
    probabilities = runner.log_probabilities(generalist, data.train).exp()
    covariance = clustering.covariance(probabilities)
    by_variance = [
        sorted(one.subset, key=lambda c: -float(covariance[c, list(one.subset)].sum())) for one in specialists
    ]
    order = list(dict.fromkeys(c for subset in by_variance for c in subset))
    order += sorted(set(range(len(data.classes))) - set(order))
    return {
        "clusters": [[data.classes[c] for c in subset[:NAMES]] for subset in by_variance[:CLUSTERS]],
        "examples": [[_example(data.train.images, data.train.labels, c) for c in subset[:EXAMPLES]]
                     for subset in by_variance[:CLUSTERS]],
        "covariance": _coarse(covariance[order][:, order]),
        "classes": len(data.classes),
        "covered": len({c for subset in by_variance for c in subset}),
        "changed": _changed(runner, combined_runs(settings, specialists)[0]),
    }  # fmt: skip


def _example(images: Tensor, labels: Tensor, which: int) -> dict[str, Any] | None:
    found = (labels == which).nonzero()[:, 0]
    return pixels(images[found[0]]) if len(found) else None


def pixels(image: Tensor) -> dict[str, Any]:
    """An image as JSON: its shape (channel, row, column) and base64 of its bytes."""
    return {"shape": list(image.shape), "bytes": base64.b64encode(image.contiguous().numpy().tobytes()).decode()}


def _coarse(covariance: Tensor) -> list[list[float]]:
    """The matrix as correlations, at most so many cells a side: where classes are more, a cell holds the
    largest magnitude of its block, so that thin blocks stay visible."""
    deviation = covariance.diagonal().clamp_min(1e-12).sqrt()
    correlation = covariance / deviation[:, None] / deviation
    side = min(COVARIANCE_CELLS, len(correlation))
    positive = torch.nn.functional.adaptive_max_pool2d(correlation.float()[None, None], side)[0, 0]
    return [[round(value, 3) for value in row] for row in positive.tolist()]


def _changed(runner: SpecialistsRunner, run: Any) -> list[dict[str, Any]]:
    """Test images whose answer equation 5 changed, in the order of the test set: corrected, then spoilt ones."""
    cases, names = runner.data.test, runner.data.classes
    before, after, _ = runner.combine(run, cases)
    right = [p.argmax(-1) == cases.labels for p in (before, after)]
    found = []
    for kind, where in (("corrected", ~right[0] & right[1]), ("spoilt", right[0] & ~right[1])):
        for case in where.nonzero()[: CHANGED // 2, 0].tolist():
            top = [
                [[names[c], round(v, 3)] for v, c in zip(*(x.tolist() for x in p[case].topk(3)), strict=True)]
                for p in (before, after)
            ]
            found.append({"kind": kind, "case": case, "label": names[int(cases.labels[case])],
                          "image": pixels(cases.images[case]), "before": top[0], "after": top[1]})  # fmt: skip
    return found
