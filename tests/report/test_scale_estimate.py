"""The estimated cost at the paper's scale, and the page of the speed ratios."""

import json
from pathlib import Path

import pytest

from repro.report import scale_estimate, speed

ROOT = Path(__file__).parents[2]


def record(arm, **metrics):
    machine = {"processor": "X", "cores": 2, "threads": 2, "precision": "bf16", "bf16_units": "amx"}
    settings = {"hidden_units": [8, 8], "width": 2, "recipe": {"epochs": 2.0}}
    return {"arm": arm, "params": {}, "seed": 0, "dataset": "toy", "machine": machine, "settings": settings,
            "metrics": metrics, "wall_seconds": 4.0}  # fmt: skip


def test_the_estimate_equals_a_calculation_by_hand():
    weights = 1041 * 2560 + 7 * 2561 * 2560 + 2561 * 14_000
    table = scale_estimate.table([record("single_model", train_frames=1000)], []).set_index("part")
    first = table.iloc[0]
    assert float(first["operations"]) == pytest.approx(10 * 6 * weights * 700e6 * 3, rel=0.05)
    assert float(first["days on one H100"]) == pytest.approx(
        10 * 6 * weights * 2100e6 / (989e12 * 0.4 * 86400), rel=0.05
    )
    ours = 6 * (1041 * 8 + 9 * 8 + 9 * 5126) * 2 * 1000 / 4.0
    days = 10 * 6 * weights * 2100e6 / ours / 86400
    assert float(first["days on this machine"].replace(",", "")) == pytest.approx(days, rel=0.01)
    assert table["days on this machine"].iloc[-1] == "–"  # no record has the rate on images


def test_every_measured_ratio_is_explained(tmp_path):
    assert speed.files(tmp_path) == []
    benches = [speed.read(file) for file in speed.files(ROOT)]
    assert all(set(bench["ratios"]) == set(speed.MEANING) for bench in benches)
    assert all(f"`{name}`" in speed.text(benches) for name in speed.MEANING)


def test_machines_stand_side_by_side_with_their_targets(tmp_path):
    (tmp_path / "results").mkdir()
    for units, value in (("avx512", 7.5), ("amx", 9.25), ("cuda", 70.0)):
        host = {"processor": "P", "cores": 2, "threads": 2, "device": "cpu", "precision": "bf16", "bf16_units": units}
        ratio = {"value": value, "low": value, "high": value + 1, "runs": 5}
        content = {"ratios": {"mnist.vs_dataloader": ratio}, "machine": host, "commit": units * 10}
        speed.path(tmp_path, units).write_text(json.dumps(content))
    benches = [speed.read(file) for file in speed.files(tmp_path)]
    header, _, row, *_ = speed.text(benches).splitlines()
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["AMX"] == "9.25 [9.25, 10.25]" and cells["target, AMX"] == "10"
    assert cells["AVX-512 bf16, no AMX"].startswith("7.50") and cells["target, AVX-512 bf16, no AMX"] == "8"
    assert cells["CUDA"].startswith("70.00") and cells["target, CUDA |"] == "– |"
    assert (tmp_path / "results" / "bench.json").exists(), "the file of the machine with AMX has no suffix"


def test_step_times_are_drawn_where_they_were_measured(tmp_path):
    point = {"at": 1, "step_ms": 2.0, "products_ms": 1.0}
    bench = speed.read(speed.files(ROOT)[0]) | {"growth": {name: [point, point | {"at": 2}] for name in speed.VARIED}}
    assert [axis.get_xlabel() for axis in speed.draw(bench).axes] == list(speed.VARIED.values())
    assert "step_time.png" in speed.text([bench])
