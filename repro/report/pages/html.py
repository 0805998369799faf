"""results/index.html: the report as one static page that sorts and filters; it asks nothing of a network."""

import re
from html import escape
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from repro import paper
from repro.report.format import dataset_label, markdown, measured, with_unit
from repro.report.pages import reproduce
from repro.report.pages.render import page_note, render
from repro.report.section import Section

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
# Notes of an experiment link from its folder.
LOCAL_LINK = re.compile(r"\]\((?![a-z]+:|/|\.|#)")
# End tags that HTML makes optional; they would be an eighth of the page.
END_TAGS = re.compile(r"</t[dhr]>\n?")
# Longer tables are on the README page of their data set alone.
MOST_ROWS = 40
# Width, height and margin of an interval plot, in pixels.
WIDTH, HEIGHT, MARGIN = 120, 18, 6
COLUMNS = ("claim", "data", "§", "criterion", "paper", "ours", "95% CI", "one more run", "n", "verdict")


def page(claims: pd.DataFrame, sections: list[Section], further: dict[str, str]) -> str:
    """Return the HTML page of ``results/``, which links to the figures beside that folder.

    Args:
        further: Markdown by heading that belongs to no experiment.
    """
    experiments = list(dict.fromkeys(section.experiment for section in sections))
    return render(
        "index.html",
        title=paper.TITLE,
        experiments=[
            {
                "name": experiment,
                "title": reproduce.TITLES.get(experiment, experiment),
                "notes": {
                    heading: _html(LOCAL_LINK.sub(f"]({experiment}/", text))
                    for heading, text in reproduce.experiment_notes(experiment).items()
                },
                "sections": [_section(section) for section in sections if section.experiment == experiment],
            }
            for experiment in experiments
        ],
        columns=COLUMNS,
        datasets=list(dict.fromkeys(claims["dataset"])),
        verdicts=list(dict.fromkeys(claims["verdict"])),
        claims=[_claim(row) for row in claims.itertuples(index=False)],
        tally=reproduce.tally(claims),
        rules=_html(page_note("rules")),
        further={heading: _html(text) for heading, text in further.items()},
    )


def _section(section: Section) -> dict[str, Any]:
    tables = [
        {"title": title, "name": name, "html": _html(markdown(table)) if len(table) <= MOST_ROWS else None}
        for name, (title, table) in section.tables.items()
        if title and not table.empty
    ]
    return {
        "id": re.sub(r"\W+", "-", section.place).strip("-"),
        "title": section.title,
        "folder": section.place,
        "tables": tables,
        "figures": [{"file": f"../figures/{section.place}/{name}.png", "caption": caption}
                    for name, (caption, _) in section.figures.items()],
        "remarks": {heading: _html(text) for heading, text in section.remarks.items()},
    }  # fmt: skip


def _html(text: str) -> Markup:
    """Return Markdown as HTML, with links relative to ``results/`` and tables that scroll and have no end tags."""
    html = MARKDOWN.render(text.replace("](figures/", "](../figures/").replace("](results/", "]("))
    html = html.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    return Markup(END_TAGS.sub("", html))  # MarkdownIt has escaped what users named


def _claim(row: Any) -> dict[str, Any]:
    ours, interval, run = measured(row.ours, (row.ci_low, row.ci_high), (row.run_low, row.run_high))
    return {
        "claim": row.claim, "quantity": with_unit(row.quantity, row.unit), "dataset": row.dataset,
        "data": dataset_label(row.dataset),
        "section": row.section, "criterion": row.criterion, "paper": row.paper, "ours": ours,
        "interval": interval, "plot": Markup(interval_plot(row)), "seeds": row.seeds,
        "run": run, "verdict": row.verdict, "counted": row.counted, "note": row.note,
        "command": row.command,
    }  # fmt: skip


def interval_plot(row: Any) -> str:
    """Return estimate, interval and the paper's figure as inline SVG; empty where there is no interval."""
    if row.ci_low in ("", None):
        return ""
    low, high, ours = float(row.ci_low), float(row.ci_high), float(row.ours)
    reference = float(row.paper) if isinstance(row.paper, int | float) else None
    ends = [low, high, ours] + ([] if reference is None else [reference])
    span = (max(ends) - min(ends)) or 1.0

    def x(value: float) -> str:
        return f"{MARGIN + (value - min(ends)) / span * (WIDTH - 2 * MARGIN):.0f}"

    middle = HEIGHT // 2
    parts = [f'<path class="ci" d="M{x(low)} {middle}H{x(high)}"/><circle cx="{x(ours)}" cy="{middle}" r="3"/>']
    if reference is not None:
        parts.append(f'<path class="paper" d="M{x(reference)} 1V{HEIGHT - 1}"/>')
    label = escape(f"ours {measured(row.ours, (low, high))[0]}, paper {row.paper}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
