"""Comparison of the rows of a testbed of the variants with KD."""

import numpy as np
import pytest

from repro.report.variants import analysis, tables
from repro.variants.runs import Arm


def record(seed, errors, cases, method, arm=Arm.METHOD, **params):
    metrics = {"test_errors": errors, "test_cases": cases}
    settings = {"method": method}
    return {"arm": arm, "params": params, "seed": seed, "settings": settings, "metrics": metrics, "baseline": "KD"}


def test_a_row_is_compared_with_kd_by_seed():
    rows = [record(seed, 20 + 10 * seed, 100, "kd", name="KD") for seed in (0, 1)]
    rows += [record(seed, 18 + 10 * seed, 100, "fitnets", name="hints") for seed in (0, 1)]
    rows += [record(1001, 81, 100, "kd", Arm.BORN_AGAIN, generation=1)]  # the order of examples of seed 1
    rows += [record(9, 1, 100, "fitnets", Arm.SEARCH, name="hints")]
    assert analysis.kd_baseline(rows) == "KD"
    gain = analysis.gains(rows)["hints"]
    assert gain.value == pytest.approx(2) and gain.low == pytest.approx(2)
    assert analysis.rows(rows) == ["KD", "hints", "born again, generation 1"]
    assert analysis.gains(rows)["born again, generation 1"].value == pytest.approx(30 - 81)
    assert analysis.gains(rows, "hints").keys() == {"KD", "born again, generation 1"}


def test_significance_is_corrected_for_the_number_of_rows():
    num_correct = {"KD": (900, 901, 899), "better": (920, 922, 921), "worse": (880, 878, 879),
             "alone": (903, 903, 901), "same": (899, 900, 901)}  # fmt: skip
    rows = [
        record(seed, 1000 - n, 1000, "other", name=name)
        for name, counts in num_correct.items()
        for seed, n in enumerate(counts)
    ]
    alone = analysis.contrasts(rows)["alone"]
    assert alone.difference.low > 0 and 0.025 < alone.p_value < 0.05  # by Holm's method two rows are left at this point
    not_significant = dict.fromkeys(("alone", "same"), analysis.NOT_SIGNIFICANT)
    assert analysis.verdicts(rows) == {"better": "better", "worse": "worse"} | not_significant
    without_kd = [record(seed, 1000 - n, 1000, "none", name="no KD") for seed, n in enumerate((905, 902, 901))]
    verdicts = analysis.verdicts(rows + without_kd)  # whether distillation helps is tested by itself
    assert verdicts == {"better": "better", "worse": "worse", "no KD": "better"} | not_significant
    table = tables.testbeds({"only": rows}).set_index("method")["only"]
    assert set(table.index[table.str.contains("†")]) == {"better", "worse"}


def test_a_row_of_which_one_student_failed_does_not_widen_the_other_intervals():
    counts = {"KD": (900, 902, 899, 901), "better": (920, 923, 921, 920), "same": (899, 902, 900, 901)}
    counts["unstable"] = (910, 911, 5, 912)

    def made(names):
        return [
            record(seed, 1000 - n, 1000, "other", name=name) for name in names for seed, n in enumerate(counts[name])
        ]

    alone, together = (analysis.gains(made(names)) for names in (["KD", "better", "same"], counts))
    assert {name: together[name] for name in alone} == alone
    assert together["unstable"].low < -50 < 50 < together["unstable"].high
    assert list(together) == ["better", "same", "unstable"]
    counts["KD"] = (900, 10, 899, 901)  # each row is then compared by itself
    differences = np.subtract(counts["better"], counts["KD"]) / 10
    assert analysis.gains(made(counts))["better"].value == pytest.approx(differences.mean())
