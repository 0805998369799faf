"""The single-file version: its loss is the package's, a short run works, and it stays short."""

from pathlib import Path

import pytest
import torch
from conftest import blobs

from repro import kd, minimal
from repro.data.mnist import Mnist


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_loss_is_that_of_the_package(temperature):
    draw = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(64, 10, generator=draw) for _ in range(2))
    expected = kd.soft_target_loss(student, teacher, temperature)
    torch.testing.assert_close(minimal.distillation_loss(student, teacher, temperature), expected, rtol=1e-6, atol=1e-6)


def test_a_short_run_on_few_images_prints_three_numbers(monkeypatch, capsys):
    monkeypatch.setattr(minimal, "TEACHER", 32)
    monkeypatch.setattr(minimal, "STUDENT", 16)
    minimal.main(Mnist(blobs(400, 0), blobs(200, 1), "toy"), epochs=(2, 1, 1))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line, paper in zip(lines, (67, 146, 74), strict=True):
        assert "test errors" in line and f"(paper: {paper})" in line


def test_dropout_drops_the_fraction_asked_for_and_keeps_the_mean():
    dropped = minimal.dropout(torch.ones(200, 500), 0.2)
    assert float((dropped == 0).float().mean()) == pytest.approx(51 / 256, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)


def test_it_has_at_most_90_lines():
    assert len(Path(minimal.__file__).read_text(encoding="utf-8").splitlines()) <= 90
