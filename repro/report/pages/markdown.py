"""REPRODUCE.md: claim, paper, ours, verdict and command; then each experiment, its cost, deviations, gaps filled."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from repro import paper
from repro.report.query import UNDECIDED
from repro.report.records import Record
from repro.report.section import Section

MADE = (
    "Made by `repro report` from the records in `results/`; no figure of a table or a claim is typed by hand; remarks "
    "have some, of what was tried on the way. Means over seeds, with 95% intervals."
)
RULES = """\
Verdicts are computed by `repro/paper/claims.py`, each claim's direction by the report. *reproduced*: the effect that the row
is about is there and clear of the noise (mostly a paired difference whose 95% interval leaves out zero, for some rows
two intervals that do not meet), and the 95% interval of the mean over seeds holds the paper's figure or lies wholly
on its better side (fewer errors than the paper's is no failure); for a range or a statement, ours lies in it.
*direction holds*: the effect is there and the figure is not met. *not reproduced*: the effect is not there, or not
clear of the noise, or less than the claim asks. *shown*: not judged. Where a row is an accuracy or an error rate on
other data than the paper's, its gain over what it is compared with is judged, and not the rate; the remark has it.
Speech's intervals come from drawing nets and test speakers anew where the remark says so. What each claim asks stands
in `repro/paper/claims.py`. Of the paper's figures, 0.91, 0.86, 0.87 and the rank correlation of 0.99 are worked out from
those it prints; of the gain kept, it says that it is more than 0.80, which the verdict asks, too. `mnist.wide_flat`
is judged by the absence of a spread that these seeds could tell from noise; its remark says how large a spread that
would have been."""


DATA = {"synth": "synth (synthetic speech)"}
# What README shows: of every section what it is about, whether it came out or not, where figures can be compared.
HEADLINE = (
    "mnist.baseline_errors", "mnist.teacher_errors", "mnist.distilled_errors", "mnist.gap_closed",
    "mnist.no3_corrected_acc_on_3", "speech.gain_transferred", "speech.soft3_recovered", "speech.soft3_no_overfit",
    "specialists.relative_gain", "specialists.cover_trend",
)  # fmt: skip
BLOCK = re.compile("(<!-- headline: made by repro report -->\n).*(<!-- end of headline -->)", re.DOTALL)


def with_headline(readme: str, claims: pd.DataFrame) -> str:
    """README with the headline's claims between its two comment lines; as it is where it has none."""
    columns = ["§", "quantity", "data", "paper", "ours", "95% interval", "verdict"]
    table = markdown(short(claims[claims["claim"].isin(HEADLINE)]).reindex(columns=columns))
    tally = claims["verdict"].value_counts()
    counted = ", ".join(f"{tally.get(verdict, 0)} {verdict}" for verdict in paper.VERDICTS)
    open_ones = (claims["verdict"] == paper.VERDICTS[2]) & claims["note"].str.contains(UNDECIDED)
    said = f"Of all {len(claims)} rows: {counted}."
    if open_ones.any():
        said += (
            f" Of those not reproduced, {open_ones.sum()} are undecided: our interval holds no effect and the "
            "paper's alike, or the paper's temperature is not told apart from ours."
        )
    return BLOCK.sub(lambda found: f"{found[1]}{table}\n\n{said}\n{found[2]}", readme)


def page(claims: pd.DataFrame, sections: list[Section], further: dict[str, str]) -> str:
    """The whole page, as Markdown; ``further`` is Markdown by heading, of what belongs to no experiment."""
    parts = [
        "# Reproduction report",
        f"{paper.TITLE}.\n\n{MADE}",
        "## Claims",
        markdown(short(claims)),
        RULES,
    ]
    for one in sections:
        parts += section(one)
    for heading, text in further.items():
        parts += [f"## {heading}", text]
    return "\n\n".join(parts) + "\n"


def section(section: Section) -> list[str]:
    """Heading, tables, figures, cost and remarks of one experiment at one setting, as Markdown."""
    place, found = section.place, section.records
    parts = [f"## {section.title}"]
    if found:
        runs = len({record["key"] for record in found})
        parts.append(f"{runs} runs" + ("; some serve as two of the kinds under *Cost*." if runs < len(found) else "."))
    for name, (title, table) in section.tables.items():
        if not table.empty:
            parts += [f"### {title}", markdown(table), f"`results/{place}/{name}.csv`"]
    if section.figures:
        parts.append("### Figures")
    parts += [f"![{text}](figures/{place}/{name}.png)\n\n{text}" for name, (text, _) in section.figures.items()]
    if found:
        parts += ["### Cost", markdown(cost(found))]
    for heading, text in section.remarks.items():
        parts += [f"### {heading}", text]
    return parts


def cost(found: list[Record]) -> pd.DataFrame:
    """Wall time by kind of run, and the machine, precision and commit it was measured at."""
    rows = []
    for arm in dict.fromkeys(record["arm"] for record in found):
        of_role = [record for record in found if record["arm"] == arm]
        seconds = sum(record["wall_seconds"] for record in of_role)
        rows.append(_cost_row(arm, of_role, seconds))
    once = list({record["key"]: record for record in found}.values())  # one may serve as two kinds
    rows.append(_cost_row("all", once, sum(record["wall_seconds"] for record in once)))
    return pd.DataFrame(rows)


def machine(about: Mapping[str, Any]) -> str:
    """A machine of a record or of the speed ratios, in words."""
    cores, threads = about["cores"], about["threads"]
    used = f"{cores} cores" if cores > 1 else "1 core"
    if threads < cores:
        used += f", {threads} thread{'s' if threads > 1 else ''}"
    return f"{about['processor']}, {used}, {about['precision']} ({about['bf16_units']})"


def _cost_row(name: str, of_role: list[Record], seconds: float) -> dict[str, str]:
    machines = {machine(r["machine"]) for r in of_role}
    commits = {r["commit"][:10] + ("-dirty" if r["commit"].endswith("-dirty") else "") for r in of_role}
    return {
        "runs": name,
        "number": str(len(of_role)),
        "minutes in all": f"{seconds / 60:.1f}",
        "seconds a run": f"{seconds / len(of_role):.1f}",
        "machine": "; ".join(sorted(machines)),
        "commit": ", ".join(sorted(commits)),
    }


def short(claims: pd.DataFrame) -> pd.DataFrame:
    """Claims to be read, a row each, cells as Markdown."""
    rows = []
    for row in claims.itertuples(index=False):
        interval = f"[{_number(row.ci_low)}, {_number(row.ci_high)}]" if row.ci_low != "" else "–"
        rows.append(
            {"claim": f"`{row.claim}`", "data": DATA.get(str(row.dataset), str(row.dataset)), "§": row.section,
             "quantity": f"{row.quantity} ({row.unit})", "paper": row.paper,
             "ours": _number(row.ours), "95% interval": interval, "seeds": row.seeds, "verdict": f"**{row.verdict}**",
             "command": f"`{row.command}`", "remark": row.note}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _number(text: Any) -> str:
    return f"{float(text):.4g}"


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, every cell as it was written."""
    return table.astype(str).to_markdown(index=False, disable_numparse=True)
