"""Estimated cost at the paper's scale: operations, and the rate that our own runs reached.

None of this was run. ``ASSUMPTIONS`` is printed below the table.
"""

from dataclasses import dataclass

import pandas as pd

from repro.models.flops import count_conv_multiply_adds, count_parameters
from repro.report.format import machine
from repro.report.query import select
from repro.report.records import Record
from repro.speech.alignment import STATES

# NVIDIA's data sheet of the H100 SXM, dense bf16; the utilization of large training runs is an assumption.
H100_FLOPS, H100_UTILIZATION = 989e12, 0.4
DAY = 86_400
# Section 4: layers and frames; the number of epochs is not specified.
ACOUSTIC = [26 * 40, *[2560] * 8, 14_000]
FRAMES, MODELS, EPOCHS, STUDENT_EPOCHS, SUBSET_EPOCHS = 700e6, 10, 3, 4, 30
# Section 5: images, classes, specialists and their classes. The network is not specified: AlexNet (Krizhevsky et al.
# 2012) is assumed, 0.72G MACs per image.
IMAGES, CLASSES, SPECIALISTS, SPECIAL, IMAGE_MACS, IMAGE_EPOCHS = 100e6, 15_000, 61, 300, 0.72e9, 10

# Channels, classes and side of the icons, on which the rate was measured.
ICONS = 1, 1196, 32

ASSUMPTIONS = f"""\
A forward pass is two operations per MAC, a backward pass twice that. Acoustic models train for {EPOCHS} epochs, the
distilled one for {STUDENT_EPOCHS}, and {SUBSET_EPOCHS} over the 3% (not specified in the paper; as ours). Images: a
network of 0.72G MACs (AlexNet; not specified in the paper) and {IMAGE_EPOCHS} epochs; a specialist sees the images of
its {SPECIAL} of {CLASSES:,} classes and as many others. An H100 is assumed to reach {H100_UTILIZATION:.0%} of its
{H100_FLOPS / 1e12:.0f} TFLOP/s in bf16. *This machine* is that of the records, at the rate of the named runs,
evaluation included. Memory is not considered."""


@dataclass(frozen=True)
class Rate:
    """Operations per second of some runs on a machine."""

    flops: float
    runs: str
    machine: str


def table(speech: list[Record], specialists: list[Record]) -> pd.DataFrame:
    """Return days for each part of the paper's experiments; a dash where the records give no rate."""
    each = 2 * count_parameters(ACOUSTIC)
    image, special = 2 * IMAGE_MACS, 2 * IMAGES * SPECIAL / CLASSES
    acoustic, images = acoustic_rate(speech), image_rate(specialists)
    parts = [
        (f"{MODELS} acoustic models of 85M parameters, 700M frames", MODELS * 3 * each * FRAMES * EPOCHS, acoustic),
        (
            "one distilled from them, with their forward passes",
            (3 + MODELS) * each * FRAMES * STUDENT_EPOCHS,
            acoustic,
        ),
        (
            "one model on 3% of the data, with soft targets",
            0.03 * (3 + MODELS) * each * FRAMES * SUBSET_EPOCHS,
            acoustic,
        ),
        ("a generalist on 100M images of 15,000 classes", 3 * image * IMAGES * IMAGE_EPOCHS, images),
        (f"{SPECIALISTS} specialists of {SPECIAL} classes", SPECIALISTS * 3 * image * special * IMAGE_EPOCHS, images),
    ]
    return pd.DataFrame([
        {"part": part, "operations": f"{flops:.1e}",
         "days on one H100": f"{flops / H100_FLOPS / H100_UTILIZATION / DAY:.2g}",
         "days on this machine": "–" if rate is None else f"{flops / rate.flops / DAY:,.0f}",
         "measured here": "–" if rate is None else f"{rate.flops / 1e12:.2g} TFLOP/s: {rate.runs}; {rate.machine}"}
        for part, flops, rate in parts
    ])  # fmt: skip


def acoustic_rate(records: list[Record]) -> Rate | None:
    """Return the rate of the models of the ensemble, trained together."""
    runs = select(records, "single_model")
    if not runs:
        return None
    settings = runs[0]["settings"]
    flops = 6 * count_parameters([ACOUSTIC[0], *settings["hidden_units"], STATES]) * settings["recipe"]["epochs"]
    return _rate(runs, [flops * record["metrics"]["train_frames"] for record in runs])


def image_rate(records: list[Record]) -> Rate | None:
    """Return the rate of the generalists on icons."""
    runs = select(records, "generalist")
    if not runs:
        return None
    channels, classes, side = ICONS
    return _rate(runs, [
        6 * count_conv_multiply_adds(channels, r["settings"]["width"], classes, side)
        * r["metrics"]["train_cases"] * r["settings"]["recipe"]["epochs"] for r in runs
    ])  # fmt: skip


def _rate(runs: list[Record], flops: list[float]) -> Rate:
    seconds = sum(record["wall_seconds"] for record in runs)
    return Rate(
        sum(flops) / seconds,
        f"{runs[0]['arm'].replace('_', ' ')}s of {runs[0]['dataset']}",
        machine(runs[0]["machine"]),
    )
