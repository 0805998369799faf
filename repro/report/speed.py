"""Speed ratios of results/bench.json as Markdown: two times taken in turn, one divided by the other."""

import json
from pathlib import Path

import pandas as pd

from repro.report.format import machine, markdown

# Meaning and target of each ratio, on two cores with AMX.
MEANING = {
    "mnist.teacher_step_matmul_share": ("fraction of a teacher step spent in its matrix products", "0.5"),
    "mnist.vs_dataloader": ("plain loop (Dataset, DataLoader, fp32) / ours, teacher", "10"),
    "mnist.vs_tensor_loop_fp32": ("loop on tensors in memory, fp32 / ours, teacher", "1.5"),
    "mnist.vs_tensor_loop_bf16": ("loop on tensors in memory, bf16 by autocast / ours, teacher", "1.5"),
    "mnist.population_gain": ("networks one after another / the same networks batched", "4"),
    "specialists.em_vs_gd": ("equation 5 by gradient descent / by its fixed point, to the same objective", "–"),
    "specialists.parallel_cost": ("all specialists one after another / the generalist", "–"),
    "specialists.conv_vs_plain": ("plain loop / ours, generalist", "4"),
    "specialists.conv_vs_tensor_loop_fp32": ("loop on tensors in memory, fp32 / ours, generalist", "1.5"),
    "specialists.conv_vs_tensor_loop_bf16": ("loop on tensors in memory, bf16 by autocast / ours, generalist", "1.5"),
    "speech.step_matmul_share": ("fraction of an ensemble step spent in its matrix products", "0.55"),
    "speech.vs_dataloader": ("plain loop with the same windows / ours, acoustic model", "4"),
    "speech.vs_tensor_loop_fp32": ("loop on tensors in memory, fp32 / ours, acoustic model", "1.5"),
    "speech.vs_tensor_loop_bf16": ("loop on tensors in memory, bf16 by autocast / ours, acoustic model", "1.5"),
    "speech.ensemble_gain": ("ten models one after another / ten batched", "–"),
    "speech.realtime": ("seconds of audio per second of feature extraction, scoring and decoding", "–"),
}


def text(folder: Path) -> str | None:
    """Return the ratios as Markdown; None where there is no ``results/bench.json``."""
    file = folder / "results" / "bench.json"
    if not file.exists():
        return None
    bench = json.loads(file.read_text(encoding="utf-8"))
    rows = pd.DataFrame([
        {"ratio": f"`{name}`", "meaning": MEANING[name][0], "target": MEANING[name][1],
         "median": f"{ratio['value']:.2f}", "min, max": f"{ratio['low']:.2f}, {ratio['high']:.2f}",
         "runs": ratio["runs"]}
        for name, ratio in bench["ratios"].items()
    ])  # fmt: skip
    host = machine(bench["machine"])
    made = f"`repro bench` at commit {bench['commit'][:10]} on {host}; targets are for two cores with AMX."
    return f"{markdown(rows)}\n\n{made}"
