"""Handlers of requests for tests of the pool; worker processes import them by name."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from repro.errors import UserError


class Unpicklable(Exception):
    """An exception that cannot be rebuilt from its arguments."""

    def __init__(self, first: str, second: str):
        super().__init__(first + second)


class DyingSlot:
    """A progress slot in whose middle of an update the process gets a signal."""

    def __init__(self, slot: Any, send: int):
        self._slot, self._send = slot, send

    def __setitem__(self, index: int, value: float) -> None:
        os.kill(os.getpid(), self._send)
        self._slot[index] = value

    def __getitem__(self, index: int) -> float:
        return self._slot[index]


def start(greeting: str, slot: Any) -> Callable[[tuple[str, Any]], Any]:
    """Return a handler of pairs: what to do, and a value."""
    if greeting == "fail":
        raise UserError("the worker cannot start")

    def handle(request: tuple[str, Any]) -> Any:
        action, value = request
        match action:
            case "greet":
                slot[1] += 1
                return f"{greeting} {value}", os.getpid()
            case "sleep":
                time.sleep(value)
                return value
            case "exit":
                os._exit(value)
            case "signal":
                os.kill(os.getpid(), value)
                return os.getpid()
            case "signal in a report":
                DyingSlot(slot, value)[1] += 1
                return os.getpid()
            case "large":
                return bytes(value)
            case "unpicklable":
                raise Unpicklable("no ", "copy")
            case "user error":
                raise UserError(value)
        raise ValueError(action)

    return handle


def start_hanging(slot: Any) -> Callable[[Any], Any]:
    """Return a handler that never answers."""
    return lambda request: time.sleep(600)


def start_dying(slot: Any) -> Callable[[Any], Any]:
    """Return a handler whose process is killed."""
    return lambda request: os.kill(os.getpid(), signal.SIGKILL)


KILL, STOP = signal.SIGKILL, signal.SIGSTOP
