"""Progress on standard error: fraction of the work done and time left."""

import errno
import io
import sys

import pytest

from repro.engine import progress
from repro.engine.progress import ProgressDisplay


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_excludes_what_comes_before_the_first_work(clock, capsys):
    progress = ProgressDisplay("speech")
    progress.expect(100.0)
    clock[0] += 3600  # preparation of data, stored networks that are loaded
    progress.now("single net")
    progress.advance(5.0)
    clock[0] += 40
    progress.advance(20.0)
    assert capsys.readouterr().err == "single net: 25% done, 2 min left\n"  # 20 in 40 seconds, 75 are left


def test_the_time_left_follows_the_recent_speed(clock, capsys):
    progress = ProgressDisplay("speech")
    progress.expect(10_000.0)
    for seconds in (1, 40):
        for _ in range(60):
            clock[0] += seconds
            progress.advance(40.0)
    assert capsys.readouterr().err.splitlines()[-1] == "speech: 48% done, 87 min left"  # 5200 at 40 in 40 seconds


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


def test_work_too_small_to_count_beside_the_rest_has_no_speed(clock, capsys):
    progress = ProgressDisplay("on the cluster")
    progress.expect(2e18)
    progress.advance(1e18)
    clock[0] += 3600
    progress.advance(1.0)
    assert capsys.readouterr().err == ""
    progress.advance(5e17)
    assert capsys.readouterr().err == "on the cluster: 75% done, 60 min left\n"


def test_files_left_out_are_listed_by_reason_and_most_of_them_with_a_warning(capsys):
    display = ProgressDisplay("any")
    few, many = ["[a]", "b"], [f"u{n}" for n in range(15)]
    display.list_by_reason("utterances", 10, {"few": few, "many": many}, {"odd": ["d\n:smile:"]})
    assert capsys.readouterr().err.splitlines() == [
        "left out: 2 of 27 utterances: few (for example [a])",
        "warning: more than half of the utterances are left out: 15 of 27 utterances: many (for example u0)",
        r"changed: 1 of 27 utterances: odd (for example d\n:smile:)",
    ]


class Unwritable(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    flush = close = lambda self: self.write("")


def test_a_stream_that_cannot_be_written_does_not_end_the_work(monkeypatch):
    for stream in (Unwritable(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        with ProgressDisplay("any") as display:
            display.say("nobody reads this")
