"""Device, precision and commit are what they are said to be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from repro import session
from repro.training import compute


def test_a_gpu_that_only_emulates_bf16_has_no_units_for_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert compute.bf16_units(torch.device("cuda")) == "none"


@pytest.mark.parametrize("most", [1 << 30, 32 << 20, 0])
def test_freed_memory_is_kept_as_far_as_the_library_bears_it(monkeypatch, most):
    calls = []

    class Library:
        @staticmethod
        def mallopt(kind, value):
            calls.append((kind, value))
            return int(kind == -1 or value <= most)

    monkeypatch.setattr(compute.ctypes, "CDLL", lambda name: Library)
    compute._keep_freed_memory.__wrapped__()
    assert ((-1, (1 << 31) - 1) in calls) == (most > 0), "one threshold alone would be worse than none"


# Arithmetic on denormals by PyTorch and by a kernel, each on two threads.
DENORMALS = """
import numpy as np
import torch
from repro.training import compute
compute.choose("cpu", "bf16")
torch.set_num_threads(2)
small = torch.full((1 << 20,), 1e-40)
assert not (small * 0.5).any(), "PyTorch"
from repro.training import kernels
bits, sums = np.zeros((1, 64, 8), np.uint16), np.zeros((1, kernels.CHUNKS, 8), np.float32)
weight, velocity = np.ones((1, 64, 8), np.float32), np.full((1, 64, 8), 1e-40, np.float32)
constants = tuple(np.float32(value) for value in (0.1, 0.9, 0.0))
kernels.sgd(weight, bits.copy(), bits, velocity, sums, constants, np.float32(0))
assert not velocity.any(), "numba"
"""


def test_denormals_are_flushed_to_zero_in_all_threads():
    """Momenta of unused weights would otherwise make a step of MNIST's students twice as long."""
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", DENORMALS], check=True, env=environment, cwd=Path(__file__).parents[2])


def test_a_repository_around_an_installed_package_is_not_its_commit(monkeypatch, tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    package = tmp_path / "site-packages" / "repro"
    package.mkdir(parents=True)
    monkeypatch.setattr(session, "__file__", str(package / "session.py"))
    assert session.commit.__wrapped__() == "unknown"
    monkeypatch.setattr(session, "__file__", str(tmp_path / "repro" / "session.py"))
    assert len(session.commit.__wrapped__()) == 40
