"""From records to everything that is read: tables, figures, claims.csv and the pages."""

import re
import shlex
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from pathlib import Path

import pandas as pd

from repro import paper
from repro.engine.files import remove_partial_files, results_lock, write
from repro.errors import UserError
from repro.report import plotting, scale_estimate, scorecard, speed
from repro.report.format import markdown
from repro.report.mnist.section import sections as mnist_sections
from repro.report.pages import html, reproduce
from repro.report.query import UNDECIDED, described
from repro.report.records import Record
from repro.report.section import Finding, Section
from repro.report.specialists.section import sections as specialists_sections
from repro.report.speech.section import sections as speech_sections
from repro.report.variants.section import sections as variants_sections

CLAIM_COLUMNS = (
    "claim", "dataset", "section", "quantity", "unit", "criterion", "paper", "ours", "ci_low", "ci_high", "run_low",
    "run_high", "seeds", "verdict", "counted", "config", "command", "note",
)  # fmt: skip

# The sections of each experiment, in the order of the pages.
SECTIONS = (mnist_sections, specialists_sections, speech_sections, variants_sections)
TABLE_LINK = re.compile(r"^\[([^\]/]+\.csv)\]\(\1\)$", re.MULTILINE)


def report(folder: Path) -> None:
    """Regenerate all reports in ``folder`` from the records there: the same bytes from the same records.

    Raises:
        UserError: there are no records, or a line of them is damaged.
    """
    nothing = UserError(f"{folder / 'results'}: there are no records to report on; run an experiment first")
    if not (folder / "results").is_dir():  # taking the lock would create it
        raise nothing
    with results_lock(folder):  # covers reading, too: the last report sees everyone's records
        sections = [section for sections_in in SECTIONS for section in sections_in(folder)]
        if not sections:
            raise nothing
        _write(folder, sections)


def _write(folder: Path, sections: list[Section]) -> None:
    for part in ("results", "figures"):
        remove_partial_files(folder / part)
    claims = claim_table(sections)
    for section in sections:
        _write_section(folder, section, claims)
    for experiment, parts in groupby(sections, key=lambda section: section.experiment):
        text = reproduce.experiment_page(experiment, list(parts))
        write(folder / "results" / experiment / "README.md", text.encode())
    columns = claims.reindex(columns=CLAIM_COLUMNS)
    write(folder / "results" / "claims.csv", columns.to_csv(index=False, lineterminator="\n").encode())
    plotting.save(partial(scorecard.draw, claims), folder / "figures" / "scorecard", "")
    further = _further(folder, sections)
    write(folder / "REPRODUCE.md", reproduce.page(claims, sections, further).encode())
    write(folder / "results" / "index.html", html.page(claims, sections, further).encode())
    readme = folder / "README.md"
    before = readme.read_text(encoding="utf-8") if readme.exists() else ""
    after = reproduce.with_glance(before, claims)
    if after != before:  # the README of another folder has no block of results
        write(readme, after.encode())


def _write_section(folder: Path, section: Section, claims: pd.DataFrame) -> None:
    """Write tables, figures and the page of one data set, and remove those that are no longer made."""
    results, figures = folder / "results" / section.place, folder / "figures" / section.place
    tables = {name: table for name, (_, table) in section.tables.items() if not table.empty}
    page = results / "README.md"
    for name in TABLE_LINK.findall(page.read_text(encoding="utf-8")) if page.exists() else ():
        if Path(name).stem not in tables:
            (results / name).unlink(missing_ok=True)
    _clear_figures(figures, section.figures)
    for name, table in tables.items():
        write(results / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    for name, (_, draw) in section.figures.items():
        plotting.save(draw, figures / name, section.dataset)
    write(page, reproduce.dataset_page(section, claims).encode())


def _clear_figures(folder: Path, names: Iterable[str]) -> None:
    """Remove the figures of an earlier report: pairs of .png and .svg, so that other files stay."""
    for file in folder.glob("*.png"):
        twin = file.with_suffix(".svg")
        if twin.exists() and file.stem not in names:
            file.unlink()
            twin.unlink()


def _further(folder: Path, sections: list[Section]) -> dict[str, str]:
    """Return Markdown, by heading, that belongs to no experiment."""
    records = {f"{section.experiment}/{section.dataset}": section.records for section in sections}
    speech = records.get("speech/synth") or records.get("speech/speechocean762", [])
    days = markdown(scale_estimate.table(speech, records.get("specialists/icons", [])))
    further = {"Estimated cost at the paper's scale": f"{days}\n\n{scale_estimate.ASSUMPTIONS}"}
    ratios = speed.text(folder)
    return ({} if ratios is None else {"Speed": ratios}) | further


def claim_table(sections: list[Section]) -> pd.DataFrame:
    """Return a row for each claim and data set with records, in the order of ``paper.CLAIMS``.

    Besides the columns of claims.csv it has ``undecided``, ``effect``, ``effect_low`` and ``effect_high``.
    """
    rows = []
    for claim in paper.CLAIMS:
        for section in sections:
            rows += [_row(claim, finding, section) for finding in section.findings if finding.claim == claim.id]
    columns = [*CLAIM_COLUMNS, "undecided", "effect", "effect_low", "effect_high"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _row(claim: paper.Claim, finding: Finding, section: Section) -> dict[str, object]:
    ours, first = finding.ours, section.records[0]
    verdict = paper.judge(claim, ours.value, ours.low, ours.high, finding.direction_holds, ours.count)
    notes = [finding.note]
    if verdict == "reproduced" and paper.is_better(claim, ours.low, ours.high):
        notes.insert(0, "better than the paper's figure")
    if not described(first):
        notes.insert(0, "not the paper profile: networks and data may differ from what the quantity names")
    return {
        "claim": claim.id, "dataset": section.dataset, "section": claim.section, "quantity": claim.quantity,
        "unit": claim.unit, "criterion": claim.criterion, "paper": claim.paper, "ours": _plain(ours.value),
        "ci_low": _plain(ours.low), "ci_high": _plain(ours.high), "run_low": "", "run_high": "", "seeds": ours.count,
        "verdict": verdict, "counted": "yes", "config": first["config"], "command": command(first),
        "note": "; ".join(filter(None, notes)),
        "undecided": verdict == "not reproduced" and (finding.undecided or UNDECIDED in finding.note),
    } | _effect(claim, finding)  # fmt: skip


def _effect(claim: paper.Claim, finding: Finding) -> dict[str, object]:
    """Return our effect in multiples of the paper's (0 is none); empty where the paper prints no number."""
    reference = claim.effect
    estimate = finding.effect or finding.ours
    if reference is None or (claim.paper_effect is not None and finding.effect is None):
        return {}
    low, high = (None if end is None else end / reference for end in (estimate.low, estimate.high))
    if low is not None and high is not None and low > high:
        low, high = high, low
    return {"effect": estimate.value / reference, "effect_low": low, "effect_high": high}


def command(record: Record) -> str:
    """Return the command that regenerates a record."""
    profile = "" if record["profile"] == "paper" else f" --profile {shlex.quote(record['profile'])}"
    return f"repro {record['experiment']}{profile}" + "".join(f" --set {shlex.quote(o)}" for o in record["overrides"])


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"
