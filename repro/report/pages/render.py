"""Jinja2 templates and Markdown notes of the pages."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

HERE = Path(__file__).parent
TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(["html.j2"], default=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Return a page from ``templates/<template>.j2``; runs of empty lines in Markdown become one."""
    text = TEMPLATES.get_template(f"{template}.j2").render(**values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n" if template.endswith(".md") else text


def page_note(name: str) -> str:
    """Return the text of ``notes/<name>.md``."""
    return (HERE / "notes" / f"{name}.md").read_text(encoding="utf-8").strip()
