"""REPRODUCE.md: claim, paper, ours, verdict, command and cost; then deviations and what the paper omits."""

from collections.abc import Callable

import pandas as pd

from repro import paper
from repro.report.records import Record

FIGURES = {
    "soft_targets": "Soft targets of real test digits: which 2 looks like a 3.",
    "temperature_by_width": "Errors against temperature for each width.",
    "bias_shift": "Errors against the bias shift of classes missing from the transfer set.",
    "size_of_transfer_set": "Soft against hard targets on less and less data.",
    "training_curves": "Training curves of the headline nets.",
}

DEVIATIONS = """\
- **Optimiser and length.** The paper's teacher follows Hinton et al. 2012: SGD, 3000 epochs. Ours is AdamW
  with decoupled weight decay, a linearly falling rate and far fewer epochs, in inverted-dropout terms. A norm
  of at most 2 is that paper's squared norm of 15 at a keep probability of one half (the square root of 15 / 4);
  ours holds for both hidden layers. The paper's teacher names no weight decay.
- **Initial weights** are drawn as He et al. 2015, not N(0, 0.01²).
- **Precision.** Hidden-layer matrix products are bf16 where the processor has units for it; weights, updates,
  the last layer, losses, soft targets and all evaluation are fp32. Every record says which it was.
- **The nets of the temperature sweep, of the missing classes and of the data shares are many, and trained for
  less time than such nets can use**, each width and share for as long as its profile says. Within a width, or
  within a share, all nets train alike but for their targets. At 800 units the sweep's students are far from
  converged, which the comparison between temperatures must bear in mind.
- **The teacher of every student was trained on all 60,000 cases**, those of the validation split included. The
  students that choose a bias shift, and those of the data shares, see 50,000 at the most and are validated on
  the other 10,000, but their soft targets come from a net that saw these. No test case has a part in it.
- **Dropout probabilities** are rounded to a 256th (0.2 becomes 51 / 256).
- **The data-share study** draws its shares from the first 50,000 training cases, and stops early on the last
  10,000. A validation set larger than the training set helps the hard targets that need to be stopped."""

UNSAID = """\
| the paper does not say | chosen here |
|---|---|
| teacher's optimiser, rate, weight decay, norm bound | as in the profile; chosen on the validation split with one seed and 20 epochs |
| student's rate and hard weight | as in the profile; chosen on the validation split with one seed and 12 epochs. An earlier choice had been run on all cases with the first seed, and its test errors seen, before |
| all other lengths, batches and rates | not tuned: as long as two cores bear, with batches of 256 |
| how soft and hard targets are weighed on MNIST | (1 − w) T² KL(soft) + w CE(hard), w in the profile; a row with w = 0 stands beside it |
| whether hard targets were used for the missing-class students | none: soft targets only |
| their net and temperature | 2x800, T = 20 |
| the number of seeds | one seed in the paper, as far as it says; here as many as the table names, the student's seed being its teacher's |
| how the bias shift is found without the test set | on the validation split, with the net of the same seed trained on the other 50,000 cases |
| the optimum when several shifts tie | the one nearest to zero |"""

RULES = """\
Verdicts are computed by `repro/paper.py`, each claim's direction by the report. *reproduced*: the effect that the
row is about is there, with intervals clear of each other, and the 95% interval of the mean over seeds holds the
paper's figure or lies wholly on its better side (fewer errors than the paper's is no failure); for a range or a
statement, ours lies in it. *direction holds*: the effect is there and the figure is not met. *not reproduced*:
the effect is not there, or not clear of the noise. *shown*: not judged. `mnist.wide_flat` is judged by the absence of a spread that these seeds could tell from noise;
its remark says how large a spread that would have been."""


def page(
    claims: pd.DataFrame,
    found: list[Record],
    tables: dict[str, tuple[str, Callable[[list[Record]], pd.DataFrame]]],
    choice: bool,
) -> str:
    """The whole page, as Markdown."""
    seeds = len({record["seed"] for record in found})
    parts = [
        "# Reproduction report",
        f"{paper.TITLE}.\n\nMade by `repro report` from the records in `results/`; no figure here is typed by hand. "
        f"MNIST: {len(found)} runs, {seeds} seeds, means with 95% intervals.",
        "## Claims",
        markdown(_short(claims)),
        RULES,
        "## Cost",
        markdown(cost(found)),
        "## MNIST",
    ]
    for name, (title, make) in tables.items():
        table = make(found)
        if not table.empty:
            parts += [f"### {title}", markdown(table), f"`results/mnist/mnist/{name}.csv`"]
    parts.append("### Figures")
    parts += [f"![{text}](figures/mnist/mnist/{name}.png)\n\n{text}" for name, text in FIGURES.items()]
    if found[0]["profile"] != "paper" or found[0]["overrides"]:
        parts.append("These are not the paper profile's results; what follows describes that one.")
    parts += ["## Deviations from the paper", DEVIATIONS, "## What the paper leaves unsaid", UNSAID]
    if choice:
        parts.append(
            "The recipes that were tried, and their errors on the validation split: "
            "[results/mnist/choice/recipes.md](results/mnist/choice/recipes.md) (`repro mnist-choice`)."
        )
    return "\n\n".join(parts) + "\n"


def cost(found: list[Record]) -> pd.DataFrame:
    """Wall time by kind of run, and the machine, precision and commit it was measured at."""
    rows = []
    for role in dict.fromkeys(record["role"] for record in found):
        of_role = [record for record in found if record["role"] == role]
        seconds = sum(record["wall_seconds"] for record in of_role)
        rows.append(_cost_row(role, of_role, seconds))
    rows.append(_cost_row("all", found, sum(record["wall_seconds"] for record in found)))
    return pd.DataFrame(rows)


def _cost_row(name: str, of_role: list[Record], seconds: float) -> dict[str, str]:
    machines = {
        f"{r['machine']['processor']}, {r['machine']['cores']} cores, {r['machine']['precision']} "
        f"({r['machine']['bf16_units']})" for r in of_role
    }  # fmt: skip
    commits = {r["commit"][:10] + ("-dirty" if r["commit"].endswith("-dirty") else "") for r in of_role}
    return {
        "runs": name,
        "number": str(len(of_role)),
        "minutes in all": f"{seconds / 60:.1f}",
        "seconds a run": f"{seconds / len(of_role):.1f}",
        "machine": "; ".join(sorted(machines)),
        "commit": ", ".join(sorted(commits)),
    }


def _short(claims: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in claims.itertuples(index=False):
        interval = f"[{_number(row.ci_low)}, {_number(row.ci_high)}]" if row.ci_low != "" else "–"
        rows.append(
            {"claim": f"`{row.claim}`", "§": row.section, "quantity": f"{row.quantity} ({row.unit})", "paper": row.paper,
             "ours": _number(row.ours), "95% interval": interval, "seeds": row.seeds, "verdict": f"**{row.verdict}**",
             "command": f"`{row.command}`", "remark": row.note}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _number(text: str) -> str:
    return f"{float(text):.4g}"


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, every cell as it was written."""
    return table.astype(str).to_markdown(index=False, disable_numparse=True)
