"""Remarks on the findings of sections 4 and 6."""

import pytest

from repro.evaluation.stats import Estimate
from repro.report.speech import remarks


@pytest.mark.parametrize(("half_width", "expected"), [(0.4, None), (1.0, "4.0 times as many utterances (1,200),")])
def test_a_wide_interval_of_a_word_error_rate_says_how_much_data_would_decide(half_width, expected):
    """Twice the width that decides, 2% of 25, takes four times the data."""
    change = Estimate(-0.1, -0.1 - half_width, -0.1 + half_width, 300)
    remark = remarks.word_error_change(change, Estimate(25.0, 24.0, 26.0, 300), 300, 5)
    assert expected in remark if expected else "times as many" not in remark


def test_without_an_interval_nothing_is_said_of_more_data():
    change, single = Estimate(-0.1, None, None, 1), Estimate(25.0, None, None, 1)
    assert "times as many" not in remarks.word_error_change(change, single, 1, 5)


def test_few_models_do_not_tell_how_much_data_would_decide():
    change, single = Estimate(-0.1, -1.1, 0.9, 300), Estimate(25.0, 24.0, 26.0, 300)
    remark = remarks.word_error_change(change, single, 300, 2)
    assert "times as many" not in remark and "2 decoded single models are too few to tell" in remark
