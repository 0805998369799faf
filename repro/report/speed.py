"""Speed ratios and step times of results/bench.json; a ratio is two times taken in turn, one divided by the other."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from repro.report import plotting
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


CAPTION = (
    "Time of a training step of a student (784-800-800-10 on soft targets, batch size 64), and of its matrix products "
    "alone, as width, batch size, number of networks or number of threads is varied and the others are not."
)
# What is varied in the figure, and its label.
VARIED = {
    "width": "units of each hidden layer",
    "batch_size": "batch size",
    "networks": "networks trained as one batch",
    "threads": "threads",
}


def read(folder: Path) -> dict[str, Any] | None:
    """Return what ``results/bench.json`` holds; None where there is no such file."""
    file = folder / "results" / "bench.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def draw(bench: dict[str, Any]) -> Figure:
    """Return step time, and the time of its matrix products, against width, batch size, networks and threads."""
    figure, axes = plotting.subplots(1, len(VARIED), figsize=(11, 3), sharey=True)
    for axis, (name, label) in zip(axes, VARIED.items(), strict=True):
        points = bench["growth"][name]
        at = [point["at"] for point in points]
        for key, color, shown in (("step_ms", plotting.OURS, "whole step"), ("products_ms", "0.5", "matrix products")):
            axis.plot(at, [point[key] for point in points], color=color, marker="o", markersize=3, label=shown)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        plotting.ticks(axis.xaxis, at)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms per training step")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    return figure


def text(bench: dict[str, Any]) -> str:
    """Return the ratios, and the figure where step times were measured, as Markdown."""
    rows = pd.DataFrame([
        {"ratio": f"`{name}`", "meaning": MEANING[name][0], "target": MEANING[name][1],
         "median": f"{ratio['value']:.2f}", "min, max": f"{ratio['low']:.2f}, {ratio['high']:.2f}",
         "runs": ratio["runs"]}
        for name, ratio in bench["ratios"].items()
    ])  # fmt: skip
    host = machine(bench["machine"])
    made = f"`repro bench` at commit {bench['commit'][:10]} on {host}; targets are for two cores with AMX."
    parts = [markdown(rows), made]
    if "growth" in bench:
        parts += [CAPTION, "![Step time](figures/step_time.png)"]
    return "\n\n".join(parts)
