"""From records to everything that is read: tables, figures, claims.csv and REPRODUCE.md."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table

from repro import paper
from repro.core.store import write
from repro.errors import UserError
from repro.report import mnist_choice, mnist_claims, mnist_figures, mnist_tables, records, reproduce
from repro.report.records import Record

CLAIM_COLUMNS = (
    "claim", "setting", "section", "quantity", "unit", "paper", "ours", "ci_low", "ci_high", "seeds", "verdict",
    "config", "command", "note",
)  # fmt: skip


def report(folder: Path) -> None:
    """Make all reports in ``folder`` anew from the records there: the same bytes from the same records.

    Raises:
        UserError: there are no records, or a line of them is damaged.
    """
    found = records.load(folder, "mnist", "mnist")
    tried = records.load(folder, "mnist", "choice")
    if not found and not tried:
        raise UserError(f"{folder / 'results'}: there are no records to report on; run an experiment first")
    if tried:
        _table(folder, "choice", "recipes", *mnist_choice.TABLE, tried)
    if not found:
        return
    for name, (title, make) in mnist_tables.TABLES.items():
        _table(folder, "mnist", name, title, make, found)
    _figures(folder, found)
    claims = claim_table(found)
    write(folder / "results" / "claims.csv", claims.to_csv(index=False, lineterminator="\n").encode())
    write(folder / "REPRODUCE.md", reproduce.page(claims, found, mnist_tables.TABLES, bool(tried)).encode())


def claim_table(found: list[Record]) -> pd.DataFrame:
    """One row for each claim that the records bear on, in the order of ``paper.CLAIMS``."""
    findings = {finding.claim: finding for finding in mnist_claims.findings(found)}
    rows = []
    for claim in paper.CLAIMS:
        finding = findings.get(claim.id)
        if finding is None:
            continue
        ours = finding.ours
        verdict = paper.judge(claim, ours.value, ours.low, ours.high, finding.direction_holds)
        rows.append(
            (claim.id, "mnist", claim.section, claim.quantity, claim.unit, claim.paper, _plain(ours.value),
             _plain(ours.low), _plain(ours.high), ours.count, verdict, found[0]["config"],
             command(found[0]), finding.note)
        )  # fmt: skip
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS, dtype=object)


def command(record: Record) -> str:
    """What makes the record again."""
    profile = "" if record["profile"] == "paper" else f" --profile {shlex.quote(record['profile'])}"
    return f"repro {record['experiment']}{profile}" + "".join(f" --set {shlex.quote(o)}" for o in record["overrides"])


def headline(found: list[Record]) -> Group:
    """The headline for the screen: the columns that fit there."""
    title, make = mnist_tables.TABLES["headline"]
    if not found:
        return Group("nothing is finished yet")
    return Group(_screen(title, make(found)[["net", "paper", "ours", "95% interval", "each seed"]]))


def closing(folder: Path, experiment: str) -> Group:
    """What the experiment's command ends with: the verdicts and where everything is."""
    claims = pd.read_csv(folder / "results" / "claims.csv", keep_default_na=False, dtype=str)
    short = claims[["claim", "paper"]].copy()
    claims = claims.assign(**{name: [f"{float(v):.4g}" if v else "" for v in claims[name]]
                              for name in ("ours", "ci_low", "ci_high")})  # fmt: skip
    short["ours"] = [f"{ours} [{low}, {high}]" if low else ours
                     for ours, low, high in claims[["ours", "ci_low", "ci_high"]].itertuples(index=False)]  # fmt: skip
    short["verdict"] = claims["verdict"]
    places = {
        "tables": folder / "results" / experiment,
        "claims": folder / "results" / "claims.csv",
        "figures": folder / "figures" / experiment,
        "all on one page": folder / "REPRODUCE.md",
    }
    return Group(_screen("Claims", short), *(f"{what}: {place}" for what, place in places.items()))


def _table(
    folder: Path, setting: str, name: str, title: str, make: Callable[[list[Record]], pd.DataFrame], found: list[Record]
) -> None:
    table = make(found)
    file = records.path(folder, "mnist", setting, f"{name}.csv")
    if table.empty:
        file.unlink(missing_ok=True)
        file.with_suffix(".md").unlink(missing_ok=True)
        return
    write(file, table.to_csv(index=False, lineterminator="\n").encode())
    write(file.with_suffix(".md"), f"# {title}\n\n{reproduce.markdown(table)}\n".encode())


def _figures(folder: Path, found: list[Record]) -> None:
    drawn = {name: lambda make=make: make(found) for name, make in mnist_figures.FIGURES.items()}
    digits = records.load_digits(folder, "mnist", "mnist")
    if digits is not None:
        drawn["soft_targets"] = lambda: mnist_figures.soft_targets(digits)
    for name, draw in drawn.items():
        mnist_figures.save(draw(), folder / "figures" / "mnist" / "mnist" / name)


def _screen(title: str, table: pd.DataFrame) -> Table:
    shown = Table(title=title, box=box.SIMPLE, title_justify="left")
    for column in table.columns:
        shown.add_column(str(column), overflow="fold", min_width=min(len(str(column)), 12))
    for row in table.astype(str).itertuples(index=False):
        shown.add_row(*row)
    return shown


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
