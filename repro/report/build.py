"""From records to everything that is read: tables, figures, claims.csv and REPRODUCE.md."""

import shlex
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from repro import paper
from repro.engine.files import remove_partial_files, results_lock, write
from repro.errors import UserError
from repro.report import plotting, scale_estimate, speed
from repro.report.mnist.section import sections as mnist_sections
from repro.report.pages import html, markdown
from repro.report.query import described
from repro.report.records import Record
from repro.report.section import Finding, Section
from repro.report.specialists.section import sections as specialists_sections
from repro.report.speech.section import sections as speech_sections
from repro.report.variants.section import sections as variants_sections

CLAIM_COLUMNS = (
    "claim", "dataset", "section", "quantity", "unit", "paper", "ours", "ci_low", "ci_high", "seeds", "verdict",
    "config", "command", "note",
)  # fmt: skip

# What each experiment reports, in the order of the page.
SECTIONS = (mnist_sections, specialists_sections, speech_sections, variants_sections)


def report(folder: Path) -> None:
    """Make all reports in ``folder`` anew from the records there: the same bytes from the same records.

    Raises:
        UserError: there are no records, or a line of them is damaged.
    """
    nothing = UserError(f"{folder / 'results'}: there are no records to report on; run an experiment first")
    if not (folder / "results").is_dir():  # which holding it would make
        raise nothing
    with results_lock(folder):  # reading, too: who comes last has everyone's records
        sections = [section for sections_in in SECTIONS for section in sections_in(folder)]
        if not sections:
            raise nothing
        _write(folder, sections)


def _write(folder: Path, sections: list[Section]) -> None:
    for part in ("results", "figures"):
        remove_partial_files(folder / part)
    for section in sections:
        _clear(folder / "results" / section.place, section.tables, (".csv", ".md"))
        _clear(folder / "figures" / section.place, section.figures, (".png", ".svg"))
        for name, (title, table) in section.tables.items():
            _table(folder / "results" / section.place / f"{name}.csv", title, table)
        for name, (_, draw) in section.figures.items():
            path = folder / "figures" / section.place / name
            plotting.save(draw(), path, section.dataset)
    claims = claim_table(sections)
    write(folder / "results" / "claims.csv", claims.to_csv(index=False, lineterminator="\n").encode())
    further = _further(folder, sections)
    write(folder / "REPRODUCE.md", markdown.page(claims, sections, further).encode())
    readme = folder / "README.md"
    before = readme.read_text(encoding="utf-8") if readme.exists() else ""
    after = markdown.with_headline(before, claims)
    if after != before:  # another folder's README is its own
        write(readme, after.encode())
    write(folder / "results" / "index.html", html.page(claims, sections, further).encode())


def _further(folder: Path, sections: list[Section]) -> dict[str, str]:
    """What belongs to no experiment, as Markdown by heading."""
    found = {f"{one.experiment}/{one.dataset}": one.records for one in sections}
    of_speech = found.get("speech/synth") or found.get("speech/speechocean762", [])
    days = markdown.markdown(scale_estimate.table(of_speech, found.get("specialists/icons", [])))
    further = {"What the paper's own scales would cost": f"{days}\n\n{scale_estimate.ASSUMPTIONS}"}
    ratios = speed.text(folder)
    return ({} if ratios is None else {"Speed": ratios}) | further


def claim_table(sections: list[Section]) -> pd.DataFrame:
    """One row for each claim and setting that the records bear on, in the order of ``paper.CLAIMS``."""
    rows = []
    for claim in paper.CLAIMS:
        for section in sections:
            for finding in section.findings:
                if finding.claim == claim.id:
                    rows.append(_row(claim, finding, section))
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS, dtype=object)


def _row(claim: paper.Claim, finding: Finding, section: Section) -> tuple:
    ours, first = finding.ours, section.records[0]
    verdict = paper.judge(claim, ours.value, ours.low, ours.high, finding.direction_holds, ours.count)
    note = finding.note
    if verdict == "reproduced" and paper.is_better(claim, ours.low, ours.high):
        note = "; ".join(filter(None, ["better than the paper's figure", note]))
    if not described(first):
        note = "; ".join(
            filter(None, ["not the paper profile: nets and data may not be what the quantity names", note])
        )
    return (
        claim.id, section.dataset, claim.section, claim.quantity, claim.unit, claim.paper, _plain(ours.value),
        _plain(ours.low), _plain(ours.high), ours.count, verdict, first["config"], command(first), note,
    )  # fmt: skip


def command(record: Record) -> str:
    """What makes the record again."""
    profile = "" if record["profile"] == "paper" else f" --profile {shlex.quote(record['profile'])}"
    return f"repro {record['experiment']}{profile}" + "".join(f" --set {shlex.quote(o)}" for o in record["overrides"])


def _clear(folder: Path, names: Iterable[str], endings: tuple[str, str]) -> None:
    """Remove what an earlier report made there and this one does not: pairs of files, so that others' stay."""
    for file in folder.glob(f"*{endings[0]}"):
        twin = file.with_suffix(endings[1])
        if twin.exists() and file.stem not in names:
            file.unlink()
            twin.unlink()


def _table(file: Path, title: str, table: pd.DataFrame) -> None:
    if table.empty:
        file.unlink(missing_ok=True)
        file.with_suffix(".md").unlink(missing_ok=True)
        return
    write(file, table.to_csv(index=False, lineterminator="\n").encode())
    write(file.with_suffix(".md"), f"# {title}\n\n{markdown.markdown(table)}\n".encode())


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"
