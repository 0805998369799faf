"""Device and precision, chosen once here."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from repro.errors import UserError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")
# Where Linux says how many bytes a container may have, by the version of control groups.
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Compute:
    """Device and precision of matrix products. Weights, losses and updates are always fp32."""

    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """The type of the operands of hidden-layer matrix multiplications."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def choose(device: str = "auto", precision: str = "auto") -> Compute:
    """CUDA if there, else the CPU; bf16 where the processor multiplies it in hardware, else fp32.

    Raises:
        UserError: a name that is not one of ``DEVICES`` or ``PRECISIONS``, or a device that is not there.
    """
    if precision not in PRECISIONS:
        raise UserError(f"--precision: must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if device not in DEVICES:
        raise UserError(f"--device: must be one of {', '.join(DEVICES)}, not {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is there; use --device cpu or auto")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "fp32" if bf16_units(torch.device(device)) == "none" else "bf16"
    if device == "cpu":
        # Momenta of weights that get no gradient shrink to denormals, on which arithmetic takes many times as long. The
        # setting is a thread's; threads that start later inherit it.
        torch.set_flush_denormal(True)
        _keep_freed_memory()
    else:  # fp32 without TF32, and a resumed run ends bit-identical to an uninterrupted one
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return Compute(torch.device(device), precision)


@cache
def _keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks instead of returning them to the kernel.

    Every training step frees and allocates the same few megabytes; faulting those pages in again costs
    about a tenth of the step. Where there is no ``mallopt`` (macOS, musl) nothing changes.
    """
    trim_threshold, mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    # An older glibc refuses more than 32 MB; to set the second alone would be worse than to set nothing.
    if mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 32 << 20):
        mallopt(trim_threshold, (1 << 31) - 1)


def machine(compute: Compute) -> dict[str, str | int]:
    """Description of this machine for a record."""
    return {
        "processor": processor_name(compute.device),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "device": compute.device.type,
        "precision": compute.precision,
        "bf16_units": bf16_units(compute.device),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
    }


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Context in which PyTorch's operations use ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of the machine or of the container, in bytes; 8 GB where neither is known."""
    known = "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {})
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else 8 << 30]
    for limit in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # the file says "max" where there is no limit
            limits.append(int(limit.read_text()))
    return min(limits)


def bf16_units(device: torch.device) -> str:
    """Hardware units for bf16 products: ``amx``, ``avx512``, ``cuda`` or ``none``."""
    if device.type == "cuda":
        return "cuda" if torch.cuda.is_bf16_supported(including_emulation=False) else "none"
    units = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "amx" if units.get("amx_bf16") else "avx512" if units.get("avx512_bf16") else "none"


def processor_name(device: torch.device) -> str:
    """Name of the processor or GPU, as it reports it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
