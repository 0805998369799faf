"""Speed ratios and step times of results/bench*.json; a ratio is two times taken in turn, one divided by the other."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from repro.errors import UserError
from repro.report import plotting
from repro.report.format import machine, markdown

Bench = dict[str, Any]
# Kinds of machines: their units for bf16 products, or fp32 where products are in fp32.
KINDS = {"amx": "AMX", "avx512": "AVX-512 bf16", "none": "no bf16 units", "cuda": "CUDA", "fp32": "fp32"}
# Meaning of each ratio, and the least values aimed at on two cores with AMX and with AVX-512 bf16 alone.
MEANING = {
    "mnist.teacher_step_matmul_share": ("fraction of a teacher step spent in its matrix products", 0.5, 0.75),
    "mnist.vs_dataloader": ("plain loop (Dataset, DataLoader, fp32) / ours, teacher", 10, 8),
    "mnist.vs_tensor_loop_fp32": ("loop on tensors in memory, fp32 / ours, teacher", 1.5, 1.5),
    "mnist.vs_tensor_loop_bf16": ("loop on tensors in memory, bf16 by autocast / ours, teacher", 1.5, 1.5),
    "mnist.population_gain": ("networks one after another / the same networks batched", 4, None),
    "specialists.em_vs_gd": ("equation 5 by gradient descent / by its fixed point, to the same objective", None, None),
    "specialists.parallel_cost": ("all specialists one after another / the generalist", None, None),
    "specialists.conv_vs_plain": ("plain loop / ours, generalist", 4, 4),
    "specialists.conv_vs_tensor_loop_fp32": ("loop on tensors in memory, fp32 / ours, generalist", 1.5, 1.5),
    "specialists.conv_vs_tensor_loop_bf16": (
        "loop on tensors in memory, bf16 by autocast / ours, generalist",
        1.5,
        1.5,
    ),
    "speech.step_matmul_share": ("fraction of an ensemble step spent in its matrix products", 0.55, 0.75),
    "speech.vs_dataloader": ("plain loop with the same windows / ours, acoustic model", 4, 3),
    "speech.vs_tensor_loop_fp32": ("loop on tensors in memory, fp32 / ours, acoustic model", 1.5, 1.5),
    "speech.vs_tensor_loop_bf16": ("loop on tensors in memory, bf16 by autocast / ours, acoustic model", 1.5, 1.5),
    "speech.ensemble_gain": ("ten models one after another / ten batched", None, None),
    "speech.realtime": ("seconds of audio per second of feature extraction, scoring and decoding", None, None),
}


CAPTION = (
    "Time of a training step of a student (784-800-800-10 on soft targets, batch size 64), and of its matrix products "
    "alone, as width, batch size, number of networks or number of threads is varied and the others are not; on the "
    "first machine."
)
LEGEND = (
    "Medians and ranges of timings by `repro bench`; targets, for two cores, were set before the measurements, and "
    "several are missed."
)
# What is varied in the figure, and its label.
VARIED = {
    "width": "units of each hidden layer",
    "batch_size": "batch size",
    "networks": "networks trained as one batch",
    "threads": "threads",
}


def path(folder: Path, kind: str) -> Path:
    """Return the file of the ratios measured on a kind of machine; AMX, the main one, is not part of its name."""
    return folder / "results" / ("bench.json" if kind == "amx" else f"bench_{kind}.json")


def kind_of(machine: dict[str, Any]) -> str:
    """Return the kind of a machine, as described in records."""
    return machine["bf16_units"] if machine["precision"] == "bf16" else "fp32"


def files(folder: Path) -> list[Path]:
    """Return the files ``results/bench*.json`` that exist, that of a machine with AMX first."""
    return [file for file in (path(folder, kind) for kind in KINDS) if file.exists()]


def read(file: Path) -> Bench:
    """Return the ratios in a file; one that ``text`` cannot show raises what it raises there.

    Raises:
        UserError: the name of the file is that of another kind of machine.
    """
    bench = json.loads(file.read_text(encoding="utf-8"))
    text([bench])
    named = path(Path(), kind_of(bench["machine"])).name
    if file.name != named:
        raise UserError(f"{file}: was measured on a machine whose file is {named}; rename it, or run repro bench again")
    return bench


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


def text(benches: list[Bench]) -> str:
    """Return the ratios of every machine, and the figure where step times were measured, as Markdown."""
    names = list(dict.fromkeys(name for bench in benches for name in bench["ratios"]))
    rows = []
    for name in names:
        row = {"ratio": f"`{name}`", "meaning": MEANING[name][0]}
        for bench in benches:
            row |= _cells(name, bench)
        rows.append(row)
    hosts = "\n".join(map(_host, benches))
    page = f"{markdown(pd.DataFrame(rows))}\n\n{LEGEND}\n\n{hosts}"
    return page + (f"\n\n{CAPTION}\n\n![Step time](figures/step_time.png)" if "growth" in benches[0] else "")


def _cells(name: str, bench: Bench) -> dict[str, str]:
    """Return median, range and target of a ratio on one machine."""
    kind, ratio = kind_of(bench["machine"]), bench["ratios"].get(name)
    target = {"amx": MEANING[name][1], "avx512": MEANING[name][2]}.get(kind)
    shown = f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else "–"
    return {KINDS[kind]: shown, f"target, {KINDS[kind]}": "–" if target is None else f"{target:g}"}


def _host(bench: Bench) -> str:
    host, runs = bench["machine"], sorted({ratio["runs"] for ratio in bench["ratios"].values()})
    timings = f"{', '.join(map(str, runs))} timings of each side"
    return f"- {KINDS[kind_of(host)]}: {machine(host)}; {timings}; commit {bench['commit'][:10]}"
