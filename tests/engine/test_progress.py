"""Progress on standard error: fraction of the work done and time left."""

import pytest

from repro.engine import progress
from repro.engine.progress import ProgressDisplay


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_excludes_the_preparation_of_data(clock, capsys):
    progress = ProgressDisplay("speech")
    clock[0] += 3600  # preparation of data
    progress.expect(100.0)
    progress.now("single net")
    clock[0] += 40
    progress.advance(25.0)
    assert capsys.readouterr().err == "single net: 25% done, 2 min left\n"  # three times 40 seconds


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
    stderr = capsys.readouterr().err
    assert stderr.startswith("mnist: 37% done, 4 min left") and stderr.count("\n") == 1


def test_files_are_listed_by_reason(capsys):
    ProgressDisplay("any").list_by_reason("file", {"broken link": ["[b]", "c"]}, {"16 bits": ["d\n:smile:"]}, {})
    assert capsys.readouterr().err == (
        "2 files: broken link (for example [b])\n" + r"1 file: 16 bits (for example d\n:smile:)" + "\n"
    )
