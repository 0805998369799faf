"""Measure all speed ratios in turn, and what a step's time grows with, and write them to a file."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

from repro import config
from repro.bench import growth
from repro.bench import mnist as mnist_bench
from repro.bench import specialists as specialists_bench
from repro.bench import speech as speech_bench
from repro.bench.timing import Learning, Side
from repro.data import icons
from repro.data import mnist as mnist_data
from repro.data.speech import sources
from repro.data.speech.sources import CorpusSource
from repro.data.speech.synth import SynthSettings
from repro.engine.files import check_writable, write
from repro.errors import UserError
from repro.specialists.settings import SpecialistsSettings
from repro.speech.preparation import prepare
from repro.speech.settings import SpeechSettings
from repro.training.compute import Compute, cores, machine

SPOKEN = SynthSettings(train_hours=0.25, test_hours=0.05, train_speakers=20, test_speakers=5)
# Ratios of another loop to ours, by how their names begin, in which both must learn alike: the largest difference, in
# nats, between the mean training losses over the timed batches. Their noise is about 0.01 for ten classes and 0.05 for
# a thousand.
TOLERANCES = {"mnist.vs_": 0.05, "specialists.conv_vs_": 0.15, "speech.vs_": 0.15}


def measure(data: Path, out: Path, compute: Compute, repeats: int, commit: str, say: Callable[[str], None]) -> None:
    """Time both sides of each ratio ``repeats`` times in turn and write the medians to ``out``.

    ``low`` and ``high`` are the smallest and the largest of the repeats. Each line is shown as soon as it is measured.

    Args:
        data: folder of the data.
        out: the file.
        compute: device and precision.
        repeats: timings of each side.
        commit: commit of the code.
        say: function that shows a line of text.

    Raises:
        UserError: a plain loop and ours do not reach the same loss.
    """
    check_writable(out.parent)
    ratios, losses, mnist = {}, {}, mnist_data.load(data)
    for name, (numerator, denominator) in _sides(mnist, data, compute).items():
        numerator(), denominator()  # the first call of each allocates memory and starts thread pools
        values = [numerator() / denominator() for _ in range(repeats)]
        ratios[name] = {"value": statistics.median(values), "low": min(values), "high": max(values), "runs": repeats}
        say(f"{name:36} {ratios[name]['value']:6.2f}  [{min(values):.2f}, {max(values):.2f}]")
        if tolerance := next((value for start, value in TOLERANCES.items() if name.startswith(start)), None):
            assert isinstance(numerator, Learning) and isinstance(denominator, Learning), "both sides train"
            losses[name] = {"plain": numerator.losses[-1], "ours": denominator.losses[-1]}
            say(_alike(name, tolerance, **losses[name]))
    ratios = {name: {k: round(v, 4) for k, v in ratio.items()} for name, ratio in ratios.items()}
    content = {"ratios": ratios, "machine": machine(compute), "commit": commit, "losses": losses}
    content["growth"] = growth.curves(mnist, compute, repeats, say)
    write(out, (json.dumps(content, indent=1) + "\n").encode())
    say(f"written to {out}")


def _sides(mnist: mnist_data.Mnist, data: Path, compute: Compute) -> dict[str, tuple[Side, Side]]:
    specialists = config.load(SpecialistsSettings, config.profile_path("specialists", "paper"))
    speech = config.load(SpeechSettings, config.profile_path("speech", "paper"))
    corpus = sources.load(CorpusSource(synth=SPOKEN), data)
    aligned = data / "aligned"
    return {
        **mnist_bench.ratios(mnist, data, compute),
        **specialists_bench.ratios(specialists, icons.load(), compute),
        **speech_bench.ratios(speech, corpus, prepare(corpus, aligned, 0.1, cores()), aligned, compute),
    }


def _alike(name: str, tolerance: float, plain: float, ours: float) -> str:
    line = f"  loss after as many steps: plain loop {plain:.3f}, ours {ours:.3f} nats"
    if abs(plain - ours) > tolerance:
        raise UserError(
            f"bench {name}: the plain loop and ours do not learn alike, so their ratio is meaningless: {line}"
        )
    return line
