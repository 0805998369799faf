"""Pool of worker processes: answers, errors, and workers that are killed or stopped at any moment."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pool_handlers
import pytest
from pool_handlers import KILL, STOP

from repro.engine import worker
from repro.engine.pool import Pool
from repro.errors import UserError


@pytest.fixture
def pool(tmp_path):
    with Pool(tmp_path, 2, pool_handlers.start, "hello") as pool:
        yield pool
    assert not list(tmp_path.iterdir()), "the file of the start is removed"


def fail(text: str) -> None:
    raise AssertionError(text)


def test_all_answers_come_and_the_work_is_added_up(pool):
    answers = list(pool.map([("greet", n) for n in range(20)], fail))
    assert sorted(text for text, _ in answers) == sorted(f"hello {n}" for n in range(20))
    assert os.getpid() not in {process for _, process in answers} and len({process for _, process in answers}) <= 2
    assert pool.progress(fail) == (0, 0), "map has taken the progress"
    workers = [pool.submit(("greet", n)) for n in range(2)]
    while not all(worker.ready for worker in workers):
        pool.wait(workers, 1)
    assert pool.progress(fail) == (0, 2) and pool.progress(fail) == (0, 0)


def test_errors_of_a_handler_are_raised_and_the_worker_goes_on(pool):
    for action, kind, message in (
        ("user error", UserError, "^no such file$"),
        ("unpicklable", RuntimeError, "Unpicklable: no copy"),
        ("nonsense", ValueError, "nonsense"),
    ):
        with pytest.raises(kind, match=message):
            list(pool.map([(action, "no such file")], fail))
    ((text, _),) = pool.map([("greet", 1)], fail)
    assert text == "hello 1"


def test_a_worker_that_cannot_start_says_why(tmp_path):
    with Pool(tmp_path, 1, pool_handlers.start, "fail") as pool, pytest.raises(UserError, match="cannot start"):
        list(pool.map([("greet", 1)], fail))
    with Pool(tmp_path, 1, pool_handlers.start, "hello") as pool:
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes() + b"\0")
        with pytest.raises(UserError, match=f"{file}: was changed"):
            list(pool.map([("greet", 1)], fail))


@pytest.mark.parametrize(
    ("request_", "cause"),
    [
        (("signal", KILL), r"was killed by SIGKILL \(out of memory\?\)"),
        (("signal in a report", KILL), r"was killed by SIGKILL \(out of memory\?\)"),
        (("signal", signal.SIGSEGV), "was killed by SIGSEGV"),
        (("exit", 3), "ended with exit code 3"),
        (("exit", 0), "ended with exit code 0"),
    ],
)
def test_a_worker_that_dies_is_named_while_another_works(pool, request_, cause):
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"^worker [12] \(process \d+\) {cause}\. Rerun to resume"):
        list(pool.map([("sleep", 60), request_], fail))
    pool.close()
    assert time.monotonic() - start < 30, "the other worker is not waited for"


def test_a_worker_that_dies_idle_is_named(pool):
    (answer,) = pool.map([("greet", 1)], fail)
    os.kill(answer[1], signal.SIGKILL)
    with pytest.raises(UserError, match="was killed by SIGKILL"):
        list(pool.map([("greet", 2)], fail))


def test_a_worker_that_dies_with_half_an_answer_sent_is_named(pool):
    handle = pool.submit(("large", 50 << 20))  # more than a pipe holds
    pool.wait([handle], 60)
    handle.process.kill()
    with pytest.raises(UserError, match="was killed by SIGKILL"):
        handle.result()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="masks of signals are in /proc")
def test_even_the_first_worker_starts_with_ctrl_c_blocked(tmp_path):
    """A new process, in which nothing has started multiprocessing's resource tracker."""
    code = """
import pool_handlers, sys
from pathlib import Path
from repro.engine.pool import Pool
if __name__ == "__main__":
    with Pool(Path(sys.argv[1]), 1, pool_handlers.start, "hello") as pool:
        ((_, process),) = pool.map([("greet", 1)], print)
        print(Path(f"/proc/{process}/status").read_text())
"""
    (tmp_path / "first.py").write_text(code)
    paths = os.pathsep.join([str(Path(pool_handlers.__file__).parent), *sys.path])
    command = [sys.executable, str(tmp_path / "first.py"), str(tmp_path)]
    status = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    ).stdout
    (blocked,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")]
    assert int(blocked, 16) >> (signal.SIGINT - 1) & 1


@pytest.mark.parametrize("action", ["signal", "signal in a report"])
def test_a_stopped_worker_is_named_once_and_does_not_outlive_the_pool(pool, monkeypatch, action):
    monkeypatch.setattr(worker, "STALL_SECONDS", 1.0)
    lines: list[str] = []
    finished = threading.Event()

    def let_go_on(text: str) -> None:
        """Continue the worker again and again: under load it is named while it starts, and stops itself later."""
        lines.append(text)
        worker_id = int(text.split("process ")[1].split(")")[0])

        def continue_worker() -> None:
            while not finished.wait(0.5):
                os.kill(worker_id, signal.SIGCONT)

        threading.Thread(target=continue_worker).start()

    (process,) = pool.map([(action, STOP)], let_go_on)
    finished.set()
    assert len(lines) == 1 and f"(process {process}) has made no progress" in lines[0]
    handle = pool.submit((action, STOP))
    while not lines[1:]:
        pool.wait([handle], 1)
        pool.progress(lines.append)
    pool.close()  # returns although a stopped process ignores other signals
    assert not handle.process.is_alive()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_200_kills_at_random_moments_never_block_the_driver(tmp_path):
    """Requests take microseconds, so that many kills fall into a report of progress or an answer."""
    moments, kills = random.Random(0), 0
    while kills < 200:
        start, timers = time.monotonic(), list[threading.Timer]()
        with Pool(tmp_path, 2, pool_handlers.start, "hello") as pool, pytest.raises(UserError, match="by SIGKILL"):
            for _, process in pool.map([("greet", n) for n in range(1_000_000)], fail):
                if not timers:
                    timers.append(threading.Timer(moments.uniform(0, 0.3), os.kill, (process, signal.SIGKILL)))
                    timers[0].start()
        kills += 1
        assert time.monotonic() - start < 60
