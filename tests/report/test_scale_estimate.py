"""The estimated cost at the paper's scale, and the page of the speed ratios."""

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
    assert speed.read(tmp_path) is None
    bench = speed.read(ROOT)
    assert set(bench["ratios"]) == set(speed.MEANING)
    assert all(f"`{name}`" in speed.text(bench) for name in bench["ratios"])


def test_step_times_are_drawn_where_they_were_measured(tmp_path):
    point = {"at": 1, "step_ms": 2.0, "products_ms": 1.0}
    bench = speed.read(ROOT) | {"growth": {name: [point, point | {"at": 2}] for name in speed.VARIED}}
    assert [axis.get_xlabel() for axis in speed.draw(bench).axes] == list(speed.VARIED.values())
    assert "step_time.png" in speed.text(bench)
