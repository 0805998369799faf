"""Metrics of the runs: accuracy without and with specialists, by image and by specialist. Nothing is selected here."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.data.types import ImageData, ImageSet
from repro.evaluation import metrics
from repro.specialists.runs import CombinedRun, EnsembleRun, SpecialistRun

Logits = Callable[[Tensor], Tensor]


def net(logits: Logits, data: ImageData) -> dict[str, Any]:
    """Return errors, likelihood and calibration of a network on all splits, and which test images are wrong."""
    values: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        cases: ImageSet = getattr(data, split)
        values |= metrics.of_part(split, logits(cases.images)[0], cases.labels)
    return values


def ensemble(run: EnsembleRun, logits: Callable[[ImageSet], Tensor], data: ImageData) -> dict[str, Any]:
    """Return the metrics of an ensemble on validation and test images, and its number of networks."""
    values: dict[str, Any] = {"nets": len(run.nets)}
    for split in ("validation", "test"):
        cases: ImageSet = getattr(data, split)
        values |= metrics.of_part(split, logits(cases), cases.labels)
    return values


def specialist(
    run: SpecialistRun, logits: Logits, generalist: Callable[[str], Tensor], data: ImageData
) -> dict[str, Any]:
    """Count correct predictions of generalist and specialist within the specialist's classes, on images of these.

    Args:
        generalist: the generalist's log-probabilities (case, classes) by name of the split.

    Returns:
        For each split, the number of images and the numbers that the generalist ("before") and the specialist
        classify correctly.
    """
    subset = torch.tensor(run.subset)
    values: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        cases: ImageSet = getattr(data, split)
        rows, outputs = _within(run, logits, cases)
        both = (generalist(split)[rows][:, subset], outputs)
        right = [int((subset[scores.argmax(-1)] == cases.labels[rows]).sum()) for scores in both]
        values |= {
            f"{split}_special_cases": len(rows),
            f"{split}_special_right_before": right[0],
            f"{split}_special_right": right[1],
        }
    return values


def validation_errors(records: Sequence[dict[str, Any]]) -> float:
    """Return the mean number of validation errors over the seeds, by which a stage chooses."""
    return float(np.mean([record["metrics"]["validation_errors"] for record in records]))


def accuracy_within(run: SpecialistRun, logits: Logits, parts: Iterable[ImageSet]) -> list[float]:
    """Return a specialist's accuracy in percent within its special classes, on the images of these in each part."""
    subset = torch.tensor(run.subset)
    values = []
    for cases in parts:
        rows, outputs = _within(run, logits, cases)
        right = int((subset[outputs.argmax(-1)] == cases.labels[rows]).sum())
        values.append(round(100 * right / max(1, len(rows)), 2))
    return values


def _within(run: SpecialistRun, logits: Logits, cases: ImageSet) -> tuple[Tensor, Tensor]:
    """Return the indices of the images of the special classes, and their logits of these (image, special)."""
    subset = torch.tensor(run.subset)
    rows = torch.isin(cases.labels, subset).nonzero()[:, 0]
    if not len(rows):
        return rows, torch.empty(0, len(subset))
    outputs = logits(cases.images[rows])[0]
    return rows, outputs[:, : len(subset)] if run.kind == "dustbin" else outputs[:, subset]


def combined(
    run: CombinedRun, combine: Callable[[ImageSet], tuple[Tensor, Tensor, Tensor]], data: ImageData
) -> dict[str, Any]:
    """Return metrics of the generalist alone ("before") and with specialists, overall and conditional (Table 3).

    Conditional: an image counts once for every specialist that covers its class, and is right when the most
    probable of that specialist's classes is its label.

    Args:
        combine: images -> probabilities before, probabilities after, number of active specialists.
    """
    values: dict[str, Any] = {"count": len(run.specialists)}
    subsets = torch.tensor([member.subset for member in run.specialists])
    special = torch.zeros(len(subsets), len(data.classes), dtype=torch.bool)
    special[torch.arange(len(subsets))[:, None], subsets] = True
    for split in ("validation", "test"):
        cases: ImageSet = getattr(data, split)
        *systems, active = combine(cases)
        by_specialist, by_case = [], torch.zeros(2, len(cases), dtype=torch.long)
        for subset, is_special in zip(subsets, special, strict=True):
            rows = is_special[cases.labels].nonzero()[:, 0]
            right = torch.stack([subset[p[rows][:, subset].argmax(-1)] == cases.labels[rows] for p in systems])
            by_specialist.append([len(rows), *right.sum(1).tolist()])
            by_case[:, rows] += right
        wrong = [p.argmax(-1) != cases.labels for p in systems]
        values |= {
            f"{split}_cases": len(cases),
            f"{split}_errors_before": int(wrong[0].sum()),
            f"{split}_errors": int(wrong[1].sum()),
            f"{split}_wrong_before": metrics.pack(wrong[0]),
            f"{split}_wrong": metrics.pack(wrong[1]),
            f"{split}_covering": metrics.pack_counts(special[:, cases.labels].sum(0)),
            f"{split}_conditional_before": metrics.pack_counts(by_case[0]),
            f"{split}_conditional": metrics.pack_counts(by_case[1]),
            f"{split}_by_specialist": by_specialist,
            f"{split}_mean_active": round(float(active.double().mean()), 4),
        }
    return values
