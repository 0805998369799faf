"""The scorecard: every judged claim that is counted in one picture, our effect as a multiple of the paper's."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from repro import paper
from repro.report.format import dataset_label

# Colors of Okabe and Ito, which color-blind readers can distinguish; the markers say the same.
STYLES = {
    "reproduced": ("#0072B2", "o"),
    "exceeds": ("#009E73", "D"),
    "direction holds": ("#E69F00", "s"),
    "undecided": ("#7F7F7F", "^"),
    "not reproduced": ("#D55E00", "X"),
}
LOW, HIGH = -1.0, 2.6
ROW_INCHES = 0.21


def draw(claims: pd.DataFrame) -> Figure:
    """Draw judged claims that are counted, by section of the paper; 1 is the paper's figure, 0 is no effect.

    An interval that leaves the axis ends in an arrow. A claim for which the paper prints no number has its marker in
    the column on the right.
    """
    judged = claims[(claims["verdict"] != "shown") & (claims["counted"] == "yes")].reset_index(drop=True)
    figure = Figure(figsize=(8.2, 1.3 + ROW_INCHES * max(len(judged), 1)), layout="constrained")
    axis = figure.add_subplot()
    axis.axvline(1, color="black", linewidth=1)
    axis.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
    for place, row in judged.iterrows():
        _row(axis, int(str(place)), row)
    _frame(axis, judged)
    return figure


def _row(axis, place: int, row: pd.Series) -> None:
    color, marker = STYLES[row["verdict"]]
    if place % 2:
        axis.axhspan(place - 0.5, place + 0.5, color="0.96", linewidth=0)
    if pd.isna(row["effect"]):
        axis.plot(HIGH + 0.22, place, marker=marker, color=color, markersize=6, clip_on=False, linestyle="none")
        return
    if not pd.isna(row["effect_low"]):
        low, high = max(row["effect_low"], LOW), min(row["effect_high"], HIGH)
        axis.plot([low, high], [place, place], color=color, linewidth=1.6, solid_capstyle="butt")
        for end, bound, arrow in ((row["effect_low"], LOW, "<"), (row["effect_high"], HIGH, ">")):
            if not LOW <= end <= HIGH and low < high:
                axis.plot(bound, place, marker=arrow, color=color, markersize=5, clip_on=False)
    if LOW <= row["effect"] <= HIGH:
        axis.plot(row["effect"], place, marker=marker, color=color, markersize=6, linestyle="none")
    else:
        axis.plot(HIGH + 0.22, place, marker=marker, color=color, markersize=6, clip_on=False, linestyle="none")


def _frame(axis, judged: pd.DataFrame) -> None:
    """Add labels, section borders and the legend."""
    labels = [
        f"§{row.section}  {paper.BY_ID[str(row.claim)].label}, {dataset_label(str(row.dataset))}"
        for row in judged.itertuples(index=False)
    ]
    axis.set_yticks(range(len(judged)), labels, fontsize=8)
    for place in range(1, len(judged)):
        if judged["section"][place] != judged["section"][place - 1]:
            axis.axhline(place - 0.5, color="0.4", linewidth=0.6)
    axis.set_ylim(max(len(judged), 1) - 0.5, -0.5)
    axis.set_xlim(LOW, HIGH)
    axis.set_xlabel(
        "(ours − no effect) / (paper − no effect), 95% CI  (0: no effect, 1: the paper's figure)", fontsize=9
    )
    axis.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.text(HIGH + 0.22, -0.75, "no number\nor off scale", fontsize=7, ha="center", va="bottom", clip_on=False)
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=6, linewidth=1.6, label=name)
        for name, (color, marker) in STYLES.items()
    ]
    axis.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.26, 1.0), ncols=5, fontsize=8, frameon=False)
