"""Checks of processor, device, memory, worker processes and figures, and an estimate of the time that profiles take."""

import contextlib
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repro import config, config_help
from repro.doctor.finding import Finding, error, ok, warning
from repro.registry import EXPERIMENTS

# Memory that the default profiles need, in GB, as docs/cli.md says; the variants start as many processes as fit.
NEEDED_GB = {"mnist": 4, "specialists": 4, "speech": 8, "variants": 4}
LEAST_GB = 2
WORKER_SECONDS = 60.0
SIDE = 512  # of the matrices whose products are timed
# Their fp32 products on two cores of a Xeon with AVX-512, in operations per second: the profiles' times are taken to be
# those of such a machine.
REFERENCE_FLOPS = 380e9
MEASURED_SECONDS = 1.0
UNITS = ("none", "avx512", "amx")  # bf16 units of a CPU, from slow to fast
DURATION = re.compile(r"([\d.]+) (h|min)\b")


def processor() -> Iterator[Finding]:
    """Yield name, cores, threads and bf16 units of the processor."""
    import torch

    from repro.training import compute

    cpu, threads, cores = torch.device("cpu"), torch.get_num_threads(), compute.cores()
    text = f"{compute.processor_name(cpu)}, {cores} cores, {threads} threads, bf16 units: {compute.bf16_units(cpu)}"
    if threads > cores:
        yield warning(f"{text}; more threads than cores make commands slow", f"set OMP_NUM_THREADS={cores}")
    else:
        yield ok(text)


def device() -> Iterator[Finding]:
    """Yield what ``--device auto --precision auto`` chooses, whether it computes, and the GPUs."""
    import torch

    from repro.training import compute

    chosen = compute.choose()
    square = torch.ones(64, 64, dtype=chosen.dtype, device=chosen.device)
    text = f"auto chooses {chosen.device.type}, {chosen.precision}"
    if float((square @ square)[0, 0]) == 64:
        yield ok(f"{text}; CUDA {torch.version.cuda or 'is not part of this PyTorch'}")
    else:
        yield error(f"{text}, whose matrix products are wrong", "try --device cpu --precision fp32")
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = torch.cuda.get_device_properties(number)
        yield ok(f"GPU {number}: {card.name}, {card.total_memory / 2**30:.0f} GB, compute {card.major}.{card.minor}")


def memory() -> Iterator[Finding]:
    """Yield the memory of the machine or container, and the experiments that may need more."""
    from repro.training import compute

    total = compute.memory_bytes() / 2**30
    available = min(total, _available_bytes() / 2**30)
    text = f"{total:.1f} GB, {available:.1f} GB of it available"
    larger = [f"{name} up to {needed} GB" for name, needed in NEEDED_GB.items() if needed > available]
    if available < LEAST_GB:
        yield error(f"{text}; every experiment needs more", f"free at least {LEAST_GB} GB, or raise the limit")
    elif larger:
        yield warning(f"{text}; needed: {', '.join(larger)}", "close other programs, or use --profile quick")
    else:
        yield ok(text)


def _available_bytes() -> float:
    """Return the memory that the kernel could give to a program now; infinite where it does not say."""
    with contextlib.suppress(OSError):
        kilobytes = re.search(r"MemAvailable:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
        return int(kilobytes[1]) * 1024 if kilobytes else float("inf")
    return float("inf")


def figures() -> Iterator[Finding]:
    """Draw a figure as the report does, into a temporary folder."""
    from matplotlib import font_manager

    from repro.report import build, plotting

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "figure"
        plotting.save(build.trial_figure, path, "doctor")
        sizes = {ending: len(path.with_suffix(f".{ending}").read_bytes()) for ending in plotting.ENDINGS}
    font = Path(font_manager.findfont("DejaVu Sans", fallback_to_default=False)).name
    yield ok(", ".join(f"{ending} of {size} bytes" for ending, size in sizes.items()) + f", font {font}")


def worker_process() -> Iterator[Finding]:
    """Start a worker as training does and wait for its answer, at most ``WORKER_SECONDS``."""
    from repro.engine.pool import Pool

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, Pool(Path(scratch), 1, start_worker) as pool:
        worker = pool.submit("hello")
        if pool.wait([worker], WORKER_SECONDS):
            worker.result()
            yield ok(f"answered after {time.monotonic() - start:.1f} s")
        else:
            remedy = "set OMP_NUM_THREADS=1: commands then use a single process"
            yield error(f"did not answer within {WORKER_SECONDS:.0f} s", remedy)


def start_worker(slot: Any) -> Callable[[str], str]:
    """Return the handler of requests in a worker, which answers with the request."""
    return str


def times() -> Iterator[Finding]:
    """Yield how long the default profiles take here: their recorded time, scaled by the speed of matrix products."""
    from repro.training import compute

    rate = _fp32_flops()
    yield ok(
        f"fp32 matrix products: {rate / 1e9:.0f} GFLOP/s on all threads; the times below are those recorded in the "
        f"profiles, scaled from {REFERENCE_FLOPS / 1e9:.0f} GFLOP/s: a rough estimate, without the preparation of data"
    )
    chosen = compute.choose()
    for command, experiment in EXPERIMENTS.items():
        groups = config.GROUPS.get(experiment.name, {})
        for profile in groups.get(experiment.default_profile, (experiment.default_profile,)):
            recorded = config_help.header(config.profile_path(experiment.name, profile)).time
            if chosen.device.type == "cuda":
                here = "not estimated on a GPU"
            else:
                here = estimate(recorded, rate, compute.bf16_units(chosen.device))
            yield ok(f"{command}, profile {profile}: {here}; recorded: {recorded}")


def estimate(recorded: str, rate: float, units: str) -> str:
    """Return in words how long a profile takes here.

    Args:
        recorded: the time in the profile's header, ``2 h 15 min (2 cores, AVX-512 bf16, no AMX)``.
        rate: fp32 operations per second here.
        units: bf16 units here, one of ``UNITS``; faster ones than the profile's make the estimate an upper bound.
    """
    duration, _, machine = recorded.partition("(")
    minutes = sum(float(number) * (60 if unit == "h" else 1) for number, unit in DURATION.findall(duration))
    if not minutes:
        return "not estimated"
    theirs = "none" if "no bf16" in machine else "avx512" if "no AMX" in machine else "amx"
    difference = UNITS.index(units) - UNITS.index(theirs)
    bound = "at most" if difference > 0 else "at least" if difference < 0 else "about"
    minutes *= REFERENCE_FLOPS / rate
    return f"{bound} {minutes:.0f} min" if minutes < 90 else f"{bound} {minutes / 60:.1f} h"


def _fp32_flops() -> float:
    """Return the operations per second of matrix products on one thread, times the number of threads.

    The fastest product in ``MEASURED_SECONDS`` counts, and on one thread, for other programs may use the processor now.
    """
    import torch

    from repro.training import compute

    fastest = float("inf")
    left, right = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
    end = time.monotonic() + MEASURED_SECONDS
    with compute.threads(1):
        while (start := time.monotonic()) < end:
            left @ right
            fastest = min(fastest, time.monotonic() - start)
    return 2 * SIDE**3 / fastest * torch.get_num_threads()
