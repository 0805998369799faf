"""Names that users chose, of classes and of files, break no page, table, figure or terminal and are shown."""

import io
import json
import os
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from repro.data.types import ImageData, ImageSet
from repro.engine.progress import ProgressDisplay
from repro.names import text_of
from repro.report import build, plotting, records, terminal
from repro.report.section import left_out
from repro.report.specialists import figures
from repro.specialists.examples import pixels

ROOT = Path(__file__).parents[2]
KEPT = {"specialists": ("generalist", {}), "variants": ("method", {"name": "KD"})}
ODD = [
    "|", "a`b``c", "<script>alert(1)<|script>", "[link](x)", "![x](y)", "*bold* _it_ ~~no~~", "$x^$", "$$", "\\", "\\|",
    "a\\", '"quoted"', "a,b;c", "'", "two\r\nlines", "\t", "-n", "--", "# one", "1. one", "&lt;&amp;", ":smile:",
    "[bold]", "[\\]", "\u202eright to left", "\u05d0\u200f", "caf\udce9", "{x}{{y}}{% z %}", "%s", "x" * 255,
    "é" * 127, "🙂" * 63, "\x1b[31mred", "nan", "NA", "=1+1", "](figures", "\ufeff", "\ufffe", "\x85\u2028", " ",
]  # fmt: skip
CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
NAMES = st.one_of(
    st.binary(min_size=1, max_size=255).map(os.fsdecode),
    st.text(min_size=1, max_size=60).map(lambda text: os.fsdecode(text.encode("utf-8", "ignore")[:255])),
    st.text("|`<>[]()*_$\\\"',;:#&!~-\r\n\t {}%", min_size=1, max_size=30),
).filter(lambda name: name and "\0" not in name and "/" not in name)


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """A folder with the records of a few networks, for reports on other examples."""
    folder = tmp_path_factory.mktemp("named")
    for experiment, (arm, params) in KEPT.items():
        lines = (ROOT / f"results/{experiment}/icons/records.jsonl").read_text(encoding="utf-8").splitlines()
        few = [line for line in lines if (record := json.loads(line))["arm"] == arm and record["params"] == params]
        path = records.path(folder, experiment, "icons")
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(few) + "\n", encoding="utf-8")
    return folder


def data_named(names: list[str]) -> ImageData:
    """Return a data set with these class names, which also name files that are left out and changed."""
    cases = ImageSet(torch.zeros(len(names), 1, 8, 8, dtype=torch.uint8), torch.arange(len(names)))
    files = {"a reason": [f"train/{name}" for name in names]}
    return ImageData("icons", tuple(names), cases, cases, cases, False, "digest", files, files)


def examples(data: ImageData) -> dict:
    """Return examples as an experiment stores them."""
    names, image = list(data.classes), pixels(data.train.images[0])
    before, after = ([[name, 0.5] for name in some] for some in (names[:3], names[3:6]))
    changed = {"kind": "corrected", "case": 0, "label": names[0], "image": image, "before": before, "after": after}
    return {
        "clusters": [names], "examples": [[image] * len(names)], "covariance": [[0.0]], "classes": len(names),
        "covered": len(names), "test_images": 1, "changes": {"corrected": 1, "broken": 0}, "changed": [changed],
        **data.files_by_reason(),
    }  # fmt: skip


class Text(HTMLParser):
    """The text of a page; ``tags`` are its elements."""

    def __init__(self, page: str):
        super().__init__()
        self.parts: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.text = plain("".join(self.parts))

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attributes) -> None:
        self.tags.add(tag)


def plain(text: str) -> str:
    return " ".join(text.split())


def check_report(out: Path, names: list[str]) -> None:
    data = data_named([text_of(name) for name in names])
    for experiment, shown in (("specialists", examples(data)), ("variants", data.files_by_reason())):
        records.save(out, experiment, "icons", records.load(out, experiment, "icons"), shown)
    build.report(out)
    for path in out.rglob("*"):
        if path.suffix in (".csv", ".json", ".jsonl", ".md", ".html"):
            path.read_text(encoding="utf-8")
    first = f"train/{data.classes[0]}"
    clusters = pd.read_csv(out / "results/specialists/icons/table2.csv", keep_default_na=False)
    assert clusters["classes"].tolist()[-1] == "; ".join(data.classes)
    for experiment in KEPT:
        folder = out / "results" / experiment / "icons"
        table = pd.read_csv(folder / "left_out.csv", keep_default_na=False)
        listed = f"for example: {', '.join(data.left_out['a reason'][:3])}"
        assert table["examples"].tolist() == [listed, listed] and table["files"].tolist() == [len(names)] * 2
        assert table["what"].tolist() == ["left out", "changed"]
        page = Text(MarkdownIt("commonmark").enable("table").render((folder / "README.md").read_text(encoding="utf-8")))
        assert plain(listed) in page.text and not page.tags & {"em", "strong", "script"}
        rows = [line for line in (folder / "README.md").read_text(encoding="utf-8").splitlines() if first[:6] in line]
        assert len(rows) == 2 and all(row.count("|") == 5 for row in rows)
    page = Text((out / "results/index.html").read_text(encoding="utf-8"))
    assert plain("; ".join(data.classes)) in page.text and plain(first) in page.text
    check_terminal(data)


def check_terminal(data: ImageData) -> None:
    for encoding in ("ascii", "latin-1", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace")
        progress = ProgressDisplay("any")
        progress.console = Console(file=stream, markup=False, emoji=False, highlight=False, width=100)
        progress.list_by_reason("files", 0, data.left_out, {})
        progress.console.print(terminal.table(*left_out("Images", "files", data.files_by_reason())))
        stream.flush()
        line = stream.buffer.getvalue().decode(encoding).split("\n")[0]
        example = f"train/{data.classes[0]}".encode(encoding, "backslashreplace").decode(encoding)
        assert line.endswith(f": a reason (for example {example})") and not CONTROL.search(line)


@settings(max_examples=25, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=4))
@example(names=ODD)
def test_every_name_is_shown_in_every_report(out, names):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotting, "save", lambda *_: None)  # the next test draws
        check_report(out, names)


def test_no_cell_of_left_out_is_a_formula_or_holds_control_characters():
    names = ["=cmd|'/c'!A1", "@sum(1)", "+1-2", "-2+3", "\x1b[31mred", "\u202eleft", "\t=1"]
    shown = {"left_out": {f"reason {number}": [name] for number, name in enumerate(names)}}
    _, table = left_out("Utterances", "utterances", shown)
    content = table.to_csv(index=False)
    assert not CONTROL.search(content.replace("\n", "")) and "\u202e" not in content
    cells = [str(cell) for row in table.itertuples(index=False) for cell in row]
    assert cells and not [cell for cell in cells if cell[0] in "=+-@\t\r"]


def test_files_left_out_are_listed_without_other_examples(out, monkeypatch):
    monkeypatch.setattr(plotting, "save", lambda *_: None)
    for shown, listed in (({"remarked": {"animated": ["test/a.gif"]}}, True), (None, False)):
        for experiment in KEPT:
            records.save(out, experiment, "icons", records.load(out, experiment, "icons"), shown)
        build.report(out)
        for experiment in KEPT:
            page = (out / "results" / experiment / "icons" / "README.md").read_text(encoding="utf-8")
            assert ("## Images left out or changed, by reason" in page) == listed and "Table 2" not in page
            assert ("| changed | 1 | animated | for example: test/a.gif |" in page) == listed
            assert (out / "results" / experiment / "icons" / "left_out.csv").exists() == listed


@pytest.mark.parametrize("first", range(0, len(ODD), 6))
def test_figures_show_every_name_as_it_is(tmp_path, first):
    shown = examples(data_named([text_of(name) for name in ODD[first : first + 6]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in (figures.contact_sheet, figures.changed_predictions):
            plotting.save(lambda draw=draw: draw(shown), tmp_path / draw.__name__, "icons")
    drawn = "".join(
        "".join(ElementTree.parse(tmp_path / f"{name}.svg").getroot().itertext())
        for name in ("contact_sheet", "changed_predictions")
    )
    for name in ODD[first : first + 6]:
        assert plain(text_of(name).replace("_", " "))[:14] in plain(drawn)
