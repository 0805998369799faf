"""Exit codes: 130 after Ctrl-C at any moment, also during imports or where it is swallowed; 2 without memory."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import wait_for

from repro import __main__, cli, interrupts

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("send", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_imports_ends_the_command_with_one_line(tmp_path, send):
    command = [sys.executable, "-m", "repro", "mnist", "--profile", "smoke"]
    for seconds in (0.0, 0.3, 0.7):
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        wait_for(lambda of=process.pid: catches(of, signal.SIGTERM), 60)
        time.sleep(seconds)
        process.send_signal(send)
        _, stderr = process.communicate()
        assert process.returncode == 130, stderr
        assert stderr.strip().splitlines()[-1] == interrupts.MESSAGE and "Traceback" not in stderr


def catches(process: int, number: signal.Signals) -> bool:
    """Whether a process has set a handler of a signal; Python itself sets none of SIGTERM."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():  # no /proc
        return True
    (mask,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_missing_package_of_the_command_line_itself_is_one_line(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as end:
        __main__.main()
    (line,) = capfd.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith("error: typer cannot be loaded (") and line.endswith("make` again")


@pytest.fixture
def exit_code(monkeypatch):
    """Function that runs ``work`` as the command ``repro report`` and returns the exit code."""

    def run(work) -> int:
        def app(standalone_mode: bool) -> int:
            interrupts.raise_exceptions()
            work()
            return 0

        monkeypatch.setattr(cli, "app", app)
        with pytest.raises(SystemExit) as end:
            __main__.main()
        return int(end.value.code or 0)

    return run


def test_an_interrupt_that_is_swallowed_is_raised_again(exit_code, monkeypatch, capfd):
    monkeypatch.setattr(interrupts, "REPEAT_SECONDS", 0.1)

    def work() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        time.sleep(30)

    start = time.monotonic()
    assert exit_code(work) == 130 and time.monotonic() - start < 10
    assert capfd.readouterr().err.splitlines() == [interrupts.MESSAGE]


def test_an_interrupt_that_becomes_another_exception_is_still_one(exit_code, capfd):
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise ImportError("cannot load module more than once per process") from error

    assert exit_code(work) == 130
    assert capfd.readouterr().err.splitlines() == [interrupts.MESSAGE]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "error: not enough memory (MemoryError); close other programs"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
            "error: not enough memory (Def",
        ),
        (
            ImportError("libtorch_cpu.so: failed to map segment", name="torch"),
            "error: torch cannot be loaded (libtorch",
        ),
    ],
)
def test_too_little_memory_and_a_broken_package_are_one_line(exit_code, capfd, error, message):
    def work() -> None:
        raise error

    assert exit_code(work) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(message)


def test_other_exceptions_keep_their_traceback(exit_code):
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code(work)
    assert not interrupts.acknowledge()
