"""What the paper's own scales would cost: arithmetic, and the cost of an example that was measured here.

Nothing of this was run. The assumptions stand beside the table, each with where it comes from.
"""

from dataclasses import dataclass

import pandas as pd

from repro.models.flops import count_conv_multiply_adds, count_parameters
from repro.report.pages.markdown import machine
from repro.report.query import select
from repro.report.records import Record
from repro.speech.alignment import STATES

# NVIDIA's data sheet of the H100 SXM: dense bf16. The share of it that large training runs reach is an assumption.
H100_FLOPS, H100_SHARE = 989e12, 0.4
DAY = 86_400
# Section 4: the net, and how many frames there were; how often they were seen is not said.
ACOUSTIC = [26 * 40, *[2560] * 8, 14_000]
FRAMES, NETS, PASSES, STUDENT_PASSES, FEW_PASSES = 700e6, 10, 3, 4, 30
# Section 5: images, labels, specialists and their classes. Which net is not said: that of Krizhevsky et al. 2012 is
# taken, 0.72G multiply-adds an image.
IMAGES, CLASSES, SPECIALISTS, SPECIAL, IMAGE_MULTIPLY_ADDS, IMAGE_PASSES = 100e6, 15_000, 61, 300, 0.72e9, 10

# Channels, classes and side of the icons, of which the measured rate is.
ICONS = 1, 1196, 32

ASSUMPTIONS = f"""\
Forward is two operations for each multiply-add, backward twice as much. Acoustic models: {PASSES} passes, the
distilled one {STUDENT_PASSES}, {FEW_PASSES} over the 3% (the paper does not say; as our nets). Images: a net of 0.72G
multiply-adds (Krizhevsky et al. 2012; the paper does not say), and {IMAGE_PASSES} passes; a specialist sees the
images of its {SPECIAL} of {CLASSES:,} classes, and as many others. An H100 is taken to reach {H100_SHARE:.0%} of its
{H100_FLOPS / 1e12:.0f} TFLOP/s in bf16 (the share is an assumption, the rest the data sheet's). *This machine* is
that of the records, at the rate that the named runs reached in all, measuring included. Whether the nets would fit
into its memory is left out."""


@dataclass(frozen=True)
class Rate:
    """Operations a second, of which runs, on which machine."""

    flops: float
    runs: str
    machine: str


def table(speech: list[Record], specialists: list[Record]) -> pd.DataFrame:
    """Days for each part of the paper's experiments; of a machine whose rate the records do not tell, nothing."""
    each = 2 * count_parameters(ACOUSTIC)
    image, special = 2 * IMAGE_MULTIPLY_ADDS, 2 * IMAGES * SPECIAL / CLASSES
    acoustic, images = acoustic_rate(speech), image_rate(specialists)
    parts = [
        (f"{NETS} acoustic models of 85M weights, 700M frames", NETS * 3 * each * FRAMES * PASSES, acoustic),
        (
            "one distilled from them, their forward passes on the way",
            (3 + NETS) * each * FRAMES * STUDENT_PASSES,
            acoustic,
        ),
        ("one net on 3% of the data, with soft targets", 0.03 * (3 + NETS) * each * FRAMES * FEW_PASSES, acoustic),
        ("a generalist on 100M images of 15,000 classes", 3 * image * IMAGES * IMAGE_PASSES, images),
        (f"{SPECIALISTS} specialists of {SPECIAL} classes", SPECIALISTS * 3 * image * special * IMAGE_PASSES, images),
    ]
    return pd.DataFrame([
        {"what": what, "operations": f"{flops:.1e}", "days on one H100": f"{flops / H100_FLOPS / H100_SHARE / DAY:.2g}",
         "days on this machine": "–" if rate is None else f"{flops / rate.flops / DAY:,.0f}",
         "measured here": "–" if rate is None else f"{rate.flops / 1e12:.2g} TFLOP/s: {rate.runs}; {rate.machine}"}
        for what, flops, rate in parts
    ])  # fmt: skip


def acoustic_rate(records: list[Record]) -> Rate | None:
    """That of the nets of the ensemble, trained together."""
    found = select(records, "single_model")
    if not found:
        return None
    own = found[0]["settings"]
    flops = 6 * count_parameters([ACOUSTIC[0], *own["hidden_units"], STATES]) * own["recipe"]["epochs"]
    return _rate(found, [flops * record["metrics"]["train_frames"] for record in found])


def image_rate(records: list[Record]) -> Rate | None:
    """That of the generalists on icons."""
    found = select(records, "generalist")
    if not found:
        return None
    channels, classes, side = ICONS
    return _rate(found, [
        6 * count_conv_multiply_adds(channels, r["settings"]["width"], classes, side)
        * r["metrics"]["train_cases"] * r["settings"]["recipe"]["epochs"] for r in found
    ])  # fmt: skip


def _rate(found: list[Record], flops: list[float]) -> Rate:
    seconds = sum(record["wall_seconds"] for record in found)
    return Rate(sum(flops) / seconds, f"{found[0]['arm']}s of {found[0]['dataset']}", machine(found[0]["machine"]))
