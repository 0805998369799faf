"""Colors, points with intervals, legends and files of all figures.

Figures are drawn without pyplot and with matplotlib's defaults: the user's backend, style files and settings never
matter.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from repro.engine.files import write

# Formats of the files, with the metadata that are left out of them.
ENDINGS: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
OURS, PAPER, SECOND, THIRD, FOURTH = "#1f5fa8", "#c1272d", "#d98c00", "#4c9a4c", "#7d5ba6"

# Warnings about names that users chose: letters that the font lacks, long names.
TOLERATED = ("Glyph .* missing", "Matplotlib currently does not support", "Tight layout not applied")


def subplots(rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """Return a figure and its axes like ``pyplot.subplots``, without pyplot."""
    figure = Figure(figsize=figsize)
    return figure, figure.subplots(rows, columns, **options)


@contextlib.contextmanager
def defaults() -> Iterator[None]:
    """Use matplotlib's default settings within the block, and write files without random ids."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "repro", "svg.fonttype": "none"})
        with warnings.catch_warnings():
            for warning in TOLERATED:
                warnings.filterwarnings("ignore", message=warning)
            yield


def literal(name: str) -> str:
    """Return a name that users chose as matplotlib draws it: dollar signs enclose no formula."""
    return name.replace("$", r"\$")


def points(
    axis, positions: list[float], estimates: list, color: str, label: str, style: str = "-", marker: str = "o"
) -> None:
    """Draw means with their intervals, joined by a line."""
    values = [estimate.value for estimate in estimates]
    low = [e.value - (e.value if e.low is None else e.low) for e in estimates]
    high = [(e.value if e.high is None else e.high) - e.value for e in estimates]
    axis.errorbar(positions, values, yerr=[low, high], color=color, marker=marker, markersize=3, capsize=2,
                  linestyle=style, label=label)  # fmt: skip


def level(axis, estimate, color: str, label: str) -> None:
    """Draw a mean as a horizontal line, its interval as a band."""
    axis.axhline(estimate.value, color=color, label=label)
    if estimate.low is not None:
        axis.axhspan(estimate.low, estimate.high, color=color, alpha=0.15, linewidth=0)


def legend(axis, **how: Any) -> None:
    """Add a legend in which measurements precede what they are compared with."""
    handles, labels = axis.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda n: not isinstance(handles[n], ErrorbarContainer))
    axis.legend([handles[n] for n in order], [labels[n] for n in order], **{"fontsize": 7} | how)


def ticks(axis, values: list[float], form: str = "{:g}", minor: bool = False) -> None:
    """Set ticks at these values of ``axes.xaxis`` or ``axes.yaxis``, which may be logarithmic.

    Args:
        minor: keep the unlabeled minor ticks between them.
    """
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FixedFormatter([form.format(value) for value in values]))
    if not minor:
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def marked(draw: Callable[[], Figure], text: str) -> Figure:
    """Return a figure with a note on its data, for readers who see it without its caption."""
    figure = draw()
    figure.text(0.995, 0.99, text, ha="right", va="top", fontsize=7, color=PAPER)
    return figure


def save(draw: Callable[[], Figure], path: Path, dataset: str) -> None:
    """Draw a figure and write it as .png and .svg with the name of its data set.

    The same records give the same bytes, as the files have no dates or random ids.
    """
    with defaults():
        figure = draw()
        figure.text(0.005, 0.99, dataset, ha="left", va="top", fontsize=7, color="0.4")
        for ending, metadata in ENDINGS.items():
            content = io.BytesIO()
            figure.savefig(content, format=ending, dpi=130, metadata=metadata)
            write(path.with_suffix(f".{ending}"), content.getvalue())
