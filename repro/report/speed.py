"""The page of results/bench.json: every speed claim of the project, as a ratio of two times taken in turn."""

import json
from pathlib import Path

import pandas as pd

from repro.report.format import machine, markdown

# What a ratio is, and what it was hoped to be: on two cores with AMX, except where it says otherwise.
MEANING = {
    "mnist.teacher_step_matmul_share": ("share of a teacher's step that its matrix products alone take", "0.6"),
    "mnist.vs_dataloader": ("a plain loop (Dataset, DataLoader, fp32) over ours, the teacher", "10"),
    "mnist.population_gain": ("nets one after another over the same as one population", "4"),
    "specialists.em_vs_gd": ("equation 5 by gradient descent over its fixed point, to the same objective", "–"),
    "specialists.parallel_cost": ("all specialists one after another over the generalist (with it: one more)", "–"),
    "specialists.conv_vs_plain": ("a plain loop over ours, the generalist", "–"),
    "speech.step_matmul_share": ("share of the ensemble's step that its matrix products alone take", "0.6"),
    "speech.vs_dataloader": ("a plain loop with the same windows over ours, an acoustic model", "10"),
    "speech.ensemble_gain": ("ten nets one after another over ten as a population", "–"),
    "speech.realtime": ("seconds of audio in a second of features, scores and decoding", "–"),
}


def text(folder: Path) -> str | None:
    """The ratios as Markdown; None where ``make bench`` was not run."""
    file = folder / "results" / "bench.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = pd.DataFrame([
        {"ratio": f"`{name}`", "of what": MEANING[name][0], "aim": MEANING[name][1], "median": f"{one['value']:.2f}",
         "smallest and largest": f"{one['low']:.2f}, {one['high']:.2f}", "runs": one["runs"]}
        for name, one in found["ratios"].items()
    ])  # fmt: skip
    where = machine(found["machine"])
    made = f"`repro bench` at commit {found['commit'][:10]} on {where}; aims are for two cores with AMX."
    return f"{markdown(rows)}\n\n{made}"
