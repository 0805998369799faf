"""What the records say: errors before and after, by image and by specialist. Nothing here chooses anything."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from repro.data.types import ImageData, ImageSet
from repro.evaluation import metrics
from repro.specialists.runs import Combined, Ensemble, Specialist

Logits = Callable[[Tensor], Tensor]


def net(logits: Logits, data: ImageData) -> dict[str, Any]:
    """Errors, likelihood and calibration on all parts; which test images are wrong."""
    found: dict[str, Any] = {}
    for name in ("train", "validation", "test"):
        cases: ImageSet = getattr(data, name)
        found |= metrics.of_part(name, logits(cases.images)[0], cases.labels)
    return found


def ensemble(run: Ensemble, logits: Callable[[ImageSet], Tensor], data: ImageData) -> dict[str, Any]:
    """The same of an ensemble, but for the training images."""
    found: dict[str, Any] = {"nets": len(run.nets)}
    for name in ("validation", "test"):
        cases: ImageSet = getattr(data, name)
        found |= metrics.of_part(name, logits(cases), cases.labels)
    return found


def specialist(run: Specialist, logits: Logits, generalist: Callable[[str], Tensor], data: ImageData) -> dict[str, Any]:
    """How often specialist and generalist tell the specialist's classes apart, on these classes' images of each part.

    Args:
        generalist: part of the data -> what the generalist says of its images.
    """
    subset = torch.tensor(run.subset)
    found: dict[str, Any] = {}
    for name in ("train", "validation", "test"):
        cases: ImageSet = getattr(data, name)
        own = torch.isin(cases.labels, subset).nonzero()[:, 0]
        right = [0, 0]
        if len(own):
            said = logits(cases.images[own])[0]
            said = said[:, : len(subset)] if run.kind == "dustbin" else said[:, subset]
            both = (generalist(name)[own][:, subset], said)
            right = [int((subset[one.argmax(-1)] == cases.labels[own]).sum()) for one in both]
        found |= {
            f"{name}_special_cases": len(own),
            f"{name}_special_right_before": right[0],
            f"{name}_special_right": right[1],
        }
    return found


def combined(
    run: Combined, combine: Callable[[ImageSet], tuple[Tensor, Tensor, Tensor]], data: ImageData
) -> dict[str, Any]:
    """Before (generalist alone) and after (with specialists), overall and conditional (Table 3).

    Conditional: an image counts once for every specialist that its class is special to, and is right when
    the most probable of that specialist's classes is its own.

    Args:
        combine: images -> probabilities before, probabilities after, number of active specialists.
    """
    found: dict[str, Any] = {"count": len(run.specialists)}
    subsets = torch.tensor([one.subset for one in run.specialists])
    special = torch.zeros(len(subsets), len(data.classes), dtype=torch.bool)
    special[torch.arange(len(subsets))[:, None], subsets] = True
    for name in ("validation", "test"):
        cases: ImageSet = getattr(data, name)
        *systems, active = combine(cases)
        by_specialist, by_case = [], torch.zeros(2, len(cases), dtype=torch.long)
        for subset, is_special in zip(subsets, special, strict=True):
            own = is_special[cases.labels].nonzero()[:, 0]
            right = torch.stack([subset[p[own][:, subset].argmax(-1)] == cases.labels[own] for p in systems])
            by_specialist.append([len(own), *right.sum(1).tolist()])
            by_case[:, own] += right
        wrong = [p.argmax(-1) != cases.labels for p in systems]
        found |= {
            f"{name}_cases": len(cases),
            f"{name}_errors_before": int(wrong[0].sum()),
            f"{name}_errors": int(wrong[1].sum()),
            f"{name}_wrong_before": metrics.pack(wrong[0]),
            f"{name}_wrong": metrics.pack(wrong[1]),
            f"{name}_covering": metrics.pack_counts(special[:, cases.labels].sum(0)),
            f"{name}_conditional_before": metrics.pack_counts(by_case[0]),
            f"{name}_conditional": metrics.pack_counts(by_case[1]),
            f"{name}_by_specialist": by_specialist,
            f"{name}_mean_active": round(float(active.double().mean()), 4),
        }
    return found
