"""Progress display: completed fraction and remaining time."""

import pytest

from repro.engine import progress
from repro.engine.progress import ProgressDisplay


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_counts_from_the_first_work_not_from_the_preparing_before_it(clock, capsys):
    progress = ProgressDisplay("speech")
    clock[0] += 3600  # the data were made
    progress.expect(100.0)
    progress.now("single net")
    clock[0] += 40
    progress.advance(25.0)
    assert capsys.readouterr().err == "single net: 25% of all, 2 min left\n"  # three times 40 seconds


def test_a_line_every_half_minute_at_most_and_more_work_makes_it_longer(clock, capsys):
    progress = ProgressDisplay("mnist")
    progress.expect(100.0)
    for _ in range(10):
        clock[0] += 10
        progress.advance(5.0)
    assert len(capsys.readouterr().err.splitlines()) == 2
    progress.expect(50.0)
    clock[0] += 40
    progress.advance(5.0)
    told = capsys.readouterr().err
    assert told.startswith("mnist: 37% of all, 4 min left") and told.count("\n") == 1
