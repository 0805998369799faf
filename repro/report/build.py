"""From records to everything that is read: tables, figures, claims.csv and the pages."""

import contextlib
import re
import shlex
import traceback
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from repro import paper
from repro.engine.files import check_results_lock, check_writable, remove_partial_files, results_lock, write
from repro.errors import UserError, reason
from repro.report import plotting, records, scale_estimate, scorecard, speed
from repro.report.format import markdown
from repro.report.informed import informed_by_test
from repro.report.mnist.section import sections as mnist_sections
from repro.report.pages import html, reproduce
from repro.report.query import described
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
EXPERIMENTS = ("mnist", "specialists", "speech", "variants")
SECTIONS = (mnist_sections, specialists_sections, speech_sections, variants_sections)
TRIAL = ".trial"  # name of the figure that is drawn before training
TABLE_LINK = re.compile(r"^\[([^\]/]+\.csv)\]\(\1\)$", re.MULTILINE)


def check(folder: Path, experiment: str, dataset: str) -> None:
    """Check before training that the report at its end can be made: records, lock, and a figure drawn and written.

    Args:
        experiment: the experiment whose records on ``dataset`` will be replaced.

    Raises:
        UserError: records that stay are damaged, or nothing can be locked, drawn or written there.
    """
    records.check(folder, records.path(folder, experiment, dataset))
    for part in ("results", "figures"):
        check_writable(folder / part)
    check_results_lock(folder)
    trial = folder / "figures" / TRIAL
    try:
        plotting.save(trial_figure, trial, dataset)
    except UserError:
        raise
    except Exception as error:  # matplotlib, its fonts and its libraries may raise anything
        raise UserError(f"matplotlib: figures cannot be drawn ({reason(error)}); install it again") from error
    finally:
        for ending in plotting.ENDINGS:
            trial.with_suffix(f".{ending}").unlink(missing_ok=True)


def trial_figure() -> Figure:
    """Return a small figure with text and mathematics, which need fonts."""
    figure, axis = plotting.subplots(figsize=(2, 1))
    axis.plot([0, 1])
    axis.set_title("accuracy, $T^2$")
    return figure


def report(folder: Path) -> None:
    """Regenerate all reports in ``folder`` from the records there: the same bytes from the same records.

    Raises:
        UserError: there are no records, or they are damaged or of another version.
    """
    nothing = UserError(f"{folder / 'results'}: there are no records to report on; run an experiment first")
    if not (folder / "results").is_dir():  # taking the lock would create it
        raise nothing
    with results_lock(folder):  # covers reading, too: the last report sees everyone's records
        sections = []
        for experiment, sections_in in zip(EXPERIMENTS, SECTIONS, strict=False):
            with _usable(folder / "results" / experiment):
                sections += sections_in(folder)
        if not sections:
            raise nothing
        _write(folder, sections)


@contextlib.contextmanager
def _usable(source: Path) -> Iterator[None]:
    """Refuse in one line, which names ``source``, what cannot be reported: records of another version, for example.

    Raises:
        UserError: the block raised something other than it and OSError.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:  # whatever a table or a figure raises on values that it does not expect
        calls = traceback.extract_tb(error.__traceback__)[-3:]
        places = " > ".join(f"{Path(call.filename).name}, line {call.lineno}" for call in calls)
        raise UserError(
            f"{source}: cannot be reported ({type(error).__name__}: {reason(error)}; {places}); unless you changed "
            "that code, the records were altered or come from another version: rerun their experiment or remove them"
        ) from error


def _write(folder: Path, sections: list[Section]) -> None:
    for part in ("results", "figures"):
        remove_partial_files(folder / part)
    claims = claim_table(sections)
    for section in sections:
        with _usable(folder / "results" / section.place):
            _write_section(folder, section, claims)
    for experiment, parts in groupby(sections, key=lambda section: section.experiment):
        text = reproduce.experiment_page(experiment, list(parts))
        write(folder / "results" / experiment / "README.md", text.encode())
    columns = claims.reindex(columns=CLAIM_COLUMNS)
    write(folder / "results" / "claims.csv", columns.to_csv(index=False, lineterminator="\n").encode())
    plotting.save(partial(scorecard.draw, claims), folder / "figures" / "scorecard", "")
    benches = []
    for file in speed.files(folder):
        with _usable(file):
            benches.append(speed.read(file))
            if len(benches) == 1 and "growth" in benches[0]:
                plotting.save(partial(speed.draw, benches[0]), folder / "figures" / "step_time", "")
    further = _further(benches, sections)
    write(folder / "REPRODUCE.md", reproduce.page(claims, sections, further).encode())
    write(folder / "results" / "index.html", html.page(claims, sections, further).encode())
    readme = folder / "README.md"
    # Bytes that are not UTF-8 stay as they are; the README of another folder may hold some.
    before = readme.read_text(encoding="utf-8", errors="surrogateescape") if readme.is_file() else ""
    after = reproduce.with_glance(before, claims)
    if after != before:  # the README of another folder has no block of results
        write(readme, after.encode(errors="surrogateescape"))


def _write_section(folder: Path, section: Section, claims: pd.DataFrame) -> None:
    """Write tables, figures and the page of one data set, and remove those that are no longer made."""
    results, figures = folder / "results" / section.place, folder / "figures" / section.place
    tables = {name: table for name, (_, table) in section.tables.items() if not table.empty}
    page = results / "README.md"
    for name in TABLE_LINK.findall(page.read_text(encoding="utf-8", errors="replace")) if page.exists() else ():
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


def _further(benches: list[speed.Bench], sections: list[Section]) -> dict[str, str]:
    """Return Markdown, by heading, that belongs to no experiment."""
    records = {f"{section.experiment}/{section.dataset}": section.records for section in sections}
    speech = records.get("speech/synth") or records.get("speech/speechocean762", [])
    days = markdown(scale_estimate.table(speech, records.get("specialists/icons", [])))
    further = {"Estimated cost at the paper's scale": f"{days}\n\n{scale_estimate.ASSUMPTIONS}"}
    return ({"Speed": speed.text(benches)} if benches else {}) | further


def claim_table(sections: list[Section]) -> pd.DataFrame:
    """Return a row for each claim and data set with records, in the order of ``paper.CLAIMS``.

    Besides the columns of claims.csv it has ``effect``, ``effect_low`` and ``effect_high``.
    """
    rows = []
    for claim in paper.CLAIMS:
        of_claim = [
            _row(claim, finding, section)
            for section in sections
            for finding in section.findings
            if finding.claim == claim.id
        ]
        rows += [_not_counted_twice(row, of_claim[:place]) for place, row in enumerate(of_claim)]
    columns = [*CLAIM_COLUMNS, "effect", "effect_low", "effect_high"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _row(claim: paper.Claim, finding: Finding, section: Section) -> dict[str, object]:
    ours, first = finding.ours, section.records[0]
    interval = None if ours.low is None or ours.high is None else (ours.low, ours.high)
    verdict = paper.judge(claim, ours.value, finding.run, finding.direction, ours.count, interval)
    run_low, run_high = finding.run or (None, None)
    notes = [finding.note]
    if claim.restates:
        notes.append(f"not counted: {claim.restates}")
    if described(first):
        notes.append(informed_by_test(claim.id, section.dataset))
    else:
        notes.insert(
            0, "not a committed profile, or one with --set: networks and data may differ from what the quantity names"
        )
    return {
        "claim": claim.id, "dataset": section.dataset, "section": claim.section, "quantity": claim.quantity,
        "unit": claim.unit, "criterion": claim.criterion, "paper": claim.paper, "ours": _plain(ours.value),
        "ci_low": _plain(ours.low), "ci_high": _plain(ours.high),
        "run_low": _plain(run_low), "run_high": _plain(run_high), "seeds": ours.count, "verdict": str(verdict),
        "counted": "no" if claim.restates else "yes", "config": first["config"], "command": command(first),
        "note": "; ".join(filter(None, notes)),
    } | _effect(claim, finding)  # fmt: skip


def _not_counted_twice(row: dict[str, object], before: list[dict[str, object]]) -> dict[str, object]:
    """Return a row, not counted where it is a row before: settings of one data set may share networks."""
    if row["ci_low"] == row["ci_high"]:  # none, or as in a tiny run, where all results may be alike
        return row
    result = ("ours", "ci_low", "ci_high", "seeds")
    base = str(row["dataset"]).partition("-")[0]
    same = [
        other["dataset"]
        for other in before
        if str(other["dataset"]).partition("-")[0] == base and all(row[name] == other[name] for name in result)
    ]
    if not same:
        return row
    notes = filter(None, [str(row["note"]), f"not counted: the networks of {same[0]}"])
    return row | {"counted": "no", "note": "; ".join(notes)}


def _effect(claim: paper.Claim, finding: Finding) -> dict[str, object]:
    """Return our effect in multiples of the paper's (0 is none); empty where the paper prints no number."""
    if claim.has_figure_to_meet:
        whole, zero, estimate = claim.figure - claim.no_effect, claim.no_effect, finding.ours
    elif claim.paper_effect is not None and finding.effect is not None:
        whole, zero, estimate = claim.paper_effect, 0.0, finding.effect
    else:
        return {}
    ends = [None if end is None else (end - zero) / whole for end in (estimate.low, estimate.high)]
    low, high = ends if whole > 0 else reversed(ends)
    return {"effect": (estimate.value - zero) / whole, "effect_low": low, "effect_high": high}


def command(record: Record) -> str:
    """Return the command that regenerates a record."""
    profile = "" if record["profile"] == "paper" else f" --profile {shlex.quote(record['profile'])}"
    return f"repro {record['experiment']}{profile}" + "".join(f" --set {shlex.quote(o)}" for o in record["overrides"])


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"
