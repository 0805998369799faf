"""Processes as tests see them from outside: children, their command lines, and waiting for a condition."""

import os
import time
from collections.abc import Callable
from pathlib import Path


def new_workers(before: set[int]) -> list[int]:
    """Return the workers of this process that are not in ``before``."""
    return [child for child, line in children_of(os.getpid()).items() if child not in before and "spawn_main" in line]


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition holds, for at most ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children_of(process: int) -> dict[int, str]:
    """Return the command lines of a process's children by process id."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return {int(child): command_of(int(child)) for task in tasks for child in task.read_text().split()}


def command_of(process: int) -> str:
    """Return the command line of a process; the empty string if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
