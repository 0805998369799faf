"""What Ctrl-C and SIGTERM do: end the process while it imports, and raise KeyboardInterrupt while it works."""

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # exit code
MESSAGE = "interrupted; rerun the same command to resume from the last checkpoint"
# A KeyboardInterrupt that a callback or a destructor swallows is raised again after this time.
REPEAT_SECONDS = 5.0
_HAS_TIMER = hasattr(signal, "setitimer")  # not on Windows


def end_process() -> None:
    """End the process at once when a signal arrives, with exit code 130.

    A KeyboardInterrupt within an import would be swallowed by packages that try whether another one is there, and leave
    half-imported modules behind.
    """
    _handle(_end)


def raise_exceptions() -> None:
    """Raise KeyboardInterrupt when a signal arrives, so that workers end and locks are released; after all imports."""
    _handle(_raise)
    if _HAS_TIMER:
        signal.signal(signal.SIGALRM, _raise)


def ignore() -> None:
    """Ignore Ctrl-C while the interpreter shuts down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def acknowledge() -> bool:
    """Stop repeating the exception, and return whether one was raised since the last call."""
    return _HAS_TIMER and signal.setitimer(signal.ITIMER_REAL, 0)[0] > 0


def _handle(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # schedulers send SIGTERM
        signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{MESSAGE}\n".encode())
    os._exit(INTERRUPTED)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    if _HAS_TIMER:
        signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS)
    raise KeyboardInterrupt
