"""The estimated cost at the paper's scale, and the page of the speed ratios."""

import json
from pathlib import Path

import pytest

from repro.errors import UserError
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
    assert speed.files(tmp_path) == [] and (ROOT / "results" / "bench.json") in speed.files(ROOT)
    benches = [speed.read(file) for file in speed.files(ROOT)]
    assert all(set(bench["ratios"]) == set(speed.MEANING) for bench in benches)
    assert all(f"`{name}`" in speed.text(benches) for name in speed.MEANING)


def bench_of(units: str, value: float, precision: str = "bf16") -> str:
    host = {"processor": "P", "cores": 2, "threads": 2, "device": "cpu", "precision": precision, "bf16_units": units}
    ratio = {"value": value, "low": value, "high": value + 1, "runs": 5}
    return json.dumps({"ratios": {"mnist.vs_dataloader": ratio}, "machine": host, "commit": units * 10})


def test_machines_stand_side_by_side_with_their_targets(tmp_path):
    (tmp_path / "results").mkdir()
    for units, value in (("avx512", 7.5), ("amx", 9.25), ("cuda", 70.0)):
        speed.path(tmp_path, units).write_text(bench_of(units, value))
    speed.path(tmp_path, "fp32").write_text(bench_of("amx", 2.0, "fp32"))
    benches = [speed.read(file) for file in speed.files(tmp_path)]
    header, _, row, *_ = speed.text(benches).splitlines()
    cells = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert cells["AMX"] == "9.25 [9.25, 10.25]" and cells["target, AMX"] == "10"
    assert cells["AVX-512 bf16"].startswith("7.50") and cells["target, AVX-512 bf16"] == "8"
    assert cells["CUDA"].startswith("70.00") and cells["fp32"].startswith("2.00") and cells["target, CUDA"] == "–"


def test_ratios_of_another_kind_of_machine_and_unknown_ones_are_refused(tmp_path):
    file = tmp_path / "bench.json"
    file.write_text(bench_of("avx512", 7.5))
    with pytest.raises(UserError, match=r"whose file is bench_avx512\.json"):
        speed.read(file)
    file.write_text(bench_of("amx", 7.5).replace("vs_dataloader", "vs_nothing"))
    with pytest.raises(KeyError, match="vs_nothing"):
        speed.read(file)


def test_step_times_are_drawn_where_they_were_measured(tmp_path):
    point = {"at": 1, "step_ms": 2.0, "products_ms": 1.0}
    bench = speed.read(speed.files(ROOT)[0]) | {"growth": {name: [point, point | {"at": 2}] for name in speed.VARIED}}
    assert [axis.get_xlabel() for axis in speed.draw(bench).axes] == list(speed.VARIED.values())
    assert "step_time.png" in speed.text([bench])
