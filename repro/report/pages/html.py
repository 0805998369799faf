"""results/index.html: the report as one static page, with claims that can be sorted and filtered; no network."""

import re
from html import escape
from pathlib import Path
from string import Template

import pandas as pd
from markdown_it import MarkdownIt

from repro import paper
from repro.report.pages import markdown
from repro.report.section import Section

TEMPLATE = Path(__file__).with_name("templates") / "page.html"
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def page(claims: pd.DataFrame, sections: list[Section], further: dict[str, str]) -> str:
    """The page; it stands in ``results/`` and links to the figures beside it.

    Args:
        further: Markdown by heading, of what belongs to no experiment.
    """
    parts = {section.title: "\n\n".join(markdown.section(section)[1:]) for section in sections}
    parts = {"How verdicts are reached": markdown.RULES} | parts | further
    names = {title: re.sub(r"\W+", "-", title.lower()).strip("-") for title in parts}
    body = [f'<h2 id="{names[title]}">{escape(title)}</h2>\n{_rendered(text)}' for title, text in parts.items()]
    links = {"Claims": "claims-heading"} | names
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title="Reproduction report",
        subtitle=f"{escape(paper.TITLE)}. {MARKDOWN.renderInline(markdown.MADE)}",
        contents="".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for title, name in links.items()),
        settings=_options(claims["dataset"]),
        verdicts=_options(claims["verdict"]),
        claims=_claims(claims),
        body="\n".join(body),
    )


def _rendered(text: str) -> str:
    """Markdown as HTML; figures are found from ``results/``, wide tables scroll by themselves."""
    found = MARKDOWN.render(text.replace("](figures/", "](../figures/"))
    found = found.replace("<img ", '<img loading="lazy" ')
    return found.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")


def _options(values: pd.Series) -> str:
    return "".join(f"<option>{escape(value)}</option>" for value in dict.fromkeys(values))


def _claims(claims: pd.DataFrame) -> str:
    """The table of claims; on a narrow screen each row becomes a card, whose lines need their names."""
    short = markdown.short(claims)
    head = "".join(f"<th>{escape(str(name))}</th>" for name in short.columns)
    rows = []
    for dataset, verdict, row in zip(claims["dataset"], claims["verdict"], short.to_dict("records"), strict=True):
        cells = "".join(_cell(str(name), str(value), verdict) for name, value in row.items())
        rows.append(f'<tr data-setting="{escape(dataset)}" data-verdict="{escape(verdict)}">{cells}</tr>')
    return f'<table id="claims"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _cell(name: str, text: str, verdict: str) -> str:
    of_verdict = f' class="verdict" data-verdict="{escape(verdict)}"' if name == "verdict" else ""
    return f'<td data-label="{escape(name)}"><span{of_verdict}>{MARKDOWN.renderInline(text)}</span></td>'
