"""What all figures share: colours, points with intervals, and how a figure becomes a file."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from repro.engine.files import write

OURS, PAPER, SECOND, THIRD, FOURTH = "#1f5fa8", "#c1272d", "#d98c00", "#4c9a4c", "#7d5ba6"


def points(
    axis, where: list[float], estimates: list, colour: str, label: str, style: str = "-", marker: str = "o"
) -> None:
    """Means with their intervals, joined by a line."""
    values = [estimate.value for estimate in estimates]
    low = [e.value - (e.value if e.low is None else e.low) for e in estimates]
    high = [(e.value if e.high is None else e.high) - e.value for e in estimates]
    axis.errorbar(where, values, yerr=[low, high], color=colour, marker=marker, markersize=3, capsize=2,
                  linestyle=style, label=label)  # fmt: skip


def level(axis, estimate, colour: str, label: str) -> None:
    """A mean as a horizontal line, its interval as a band."""
    axis.axhline(estimate.value, color=colour, label=label)
    if estimate.low is not None:
        axis.axhspan(estimate.low, estimate.high, color=colour, alpha=0.15, linewidth=0)


def legend(axis, **how: Any) -> None:
    """A legend in which what was measured comes before what it is compared with."""
    handles, labels = axis.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda n: not isinstance(handles[n], ErrorbarContainer))
    axis.legend([handles[n] for n in order], [labels[n] for n in order], **{"fontsize": 7} | how)


def ticks(axis, values: list[float], form: str = "{:g}", minor: bool = False) -> None:
    """Ticks at these values of ``axes.xaxis`` or ``axes.yaxis``, which may be logarithmic; ``minor`` leaves small ones
    between them."""
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FixedFormatter([form.format(value) for value in values]))
    if not minor:
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def marked(draw: Callable[[], Figure], text: str) -> Figure:
    """A figure with a word on it of what its data are, for it may be looked at without its caption."""
    figure = draw()
    figure.text(0.995, 0.99, text, ha="right", va="top", fontsize=7, color=PAPER)
    return figure


def save(figure: Figure, path: Path, data: str) -> None:
    """Write a figure as .png and .svg, with the name of its data on it: the same bytes for the same figure, with no
    date and no random ids."""
    figure.text(0.005, 0.99, data, ha="left", va="top", fontsize=7, color="0.4")
    with plt.rc_context({"svg.hashsalt": "repro", "svg.fonttype": "none"}):
        for ending, about in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            content = io.BytesIO()
            figure.savefig(content, format=ending, dpi=130, metadata=about)
            write(path.with_suffix(f".{ending}"), content.getvalue())
    plt.close(figure)
