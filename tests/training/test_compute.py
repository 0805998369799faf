"""Device, precision and commit are what they are said to be."""

import subprocess

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
