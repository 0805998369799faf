"""Handlers of Ctrl-C and SIGTERM: the process ends while it imports and gets a KeyboardInterrupt while it works."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # exit code
MESSAGE = "interrupted; rerun the same command to resume from the last checkpoint"
# A KeyboardInterrupt that a callback or a destructor swallows is raised again after this time.
REPEAT_SECONDS = 5.0
_repeat: threading.Timer | None = None


def end_process() -> None:
    """End the process at once when a signal arrives, with exit code 130.

    A KeyboardInterrupt within an import would be swallowed by packages that probe for optional dependencies, and leave
    half-imported modules behind.
    """
    _handle(_end)


def raise_exceptions() -> None:
    """Raise KeyboardInterrupt when a signal arrives, so that workers end and locks are released; after all imports."""
    _handle(_raise)


def ignore() -> None:
    """Ignore signals while the interpreter shuts down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def acknowledge() -> bool:
    """Stop repeating the exception, and return whether one was raised since the last call."""
    global _repeat
    raised, _repeat = _repeat, None
    if raised:
        raised.cancel()
    return raised is not None


def _handle(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # schedulers send SIGTERM
        signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{MESSAGE}\n".encode())
    os._exit(INTERRUPTED)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    global _repeat
    acknowledge()
    _repeat = threading.Timer(REPEAT_SECONDS, _interrupt_main_thread)
    _repeat.daemon = True
    _repeat.start()
    raise KeyboardInterrupt


def _interrupt_main_thread() -> None:
    if hasattr(signal, "pthread_kill"):  # wakes the thread from a wait, too
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
