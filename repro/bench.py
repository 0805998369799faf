"""``repro bench``: every speed claim of the project as a ratio of two times taken in turn on one machine."""

import json
import statistics
from pathlib import Path

from repro.core.compute import Compute, machine
from repro.core.store import check_writable, write
from repro.data import mnist as mnist_data
from repro.errors import UserError
from repro.mnist import bench as mnist_bench

# In nats, between mean training losses over 60 batches of 256: their noise is about 0.01.
LOSS_TOLERANCE = 0.05


def measure(data: Path, out: Path, compute: Compute, repeats: int, commit: str) -> str:
    """Time both sides of each ratio ``repeats`` times in turn and write the medians to ``out``.

    ``low`` and ``high`` are the smallest and the largest of the repeats.

    Returns:
        The table for the screen.

    Raises:
        UserError: the two sides of ``mnist.vs_dataloader`` do not reach the same loss.
    """
    check_writable(out.parent)
    sides = mnist_bench.ratios(mnist_data.load(data), data, compute)
    ratios, lines = {}, []
    for name, (numerator, denominator) in sides.items():
        numerator(), denominator()  # the first of each pays for memory and thread pools
        found = [numerator() / denominator() for _ in range(repeats)]
        ratios[name] = {"value": statistics.median(found), "low": min(found), "high": max(found), "runs": repeats}
        lines.append(f"{name:36} {ratios[name]['value']:6.2f}  [{min(found):.2f}, {max(found):.2f}]")
    plain, ours = sides["mnist.vs_dataloader"]
    losses = {"plain": plain.losses[-1], "ours": ours.losses[-1]}
    lines.append(f"loss after as many steps: plain loop {losses['plain']:.3f}, ours {losses['ours']:.3f} nats")
    if abs(losses["plain"] - losses["ours"]) > LOSS_TOLERANCE:
        raise UserError("bench: the plain loop and ours do not learn alike; their ratio says nothing: " + lines[-1])
    ratios = {name: {k: round(v, 4) for k, v in ratio.items()} for name, ratio in ratios.items()}
    content = {"ratios": ratios, "machine": machine(compute), "commit": commit, "mnist.vs_dataloader_loss": losses}
    write(out, (json.dumps(content, indent=1) + "\n").encode())
    return "\n".join([*lines, f"written to {out}"])
