"""Worker processes: the driver's handle of a process, and the main function of that process."""

import contextlib
import copy
import hashlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import torch

from repro.errors import UserError

# A busy worker is reported as stalled after this time without progress, in seconds.
STALL_SECONDS = 300.0
# Characters of a traceback that a worker sends: an answer fits into the buffer of a pipe, so that a worker which is
# stopped within an answer does not block the driver.
LONGEST_TRACEBACK = 8_000


@contextlib.contextmanager
def block_sigint() -> Iterator[None]:
    """Block SIGINT while processes are started: they inherit the mask, and Ctrl-C is handled by this process alone."""
    block = getattr(signal, "pthread_sigmask", None)
    if block:
        resource_tracker.ensure_running()  # which unblocks SIGINT when it starts
    before = block(signal.SIG_BLOCK, {signal.SIGINT}) if block else None
    try:
        yield
    finally:
        if block:
            block(signal.SIG_SETMASK, before)


class Worker:
    """A worker process as the driver sees it.

    Each worker has its own pipe and its own progress slot and shares no lock, so that a worker which is killed or
    stopped at any moment cannot block another.
    """

    def __init__(self, context: SpawnContext, number: int, file: Path, digest: str):
        """Start the process.

        Args:
            context: the multiprocessing context.
            number: number of the worker in messages.
            file: pickled function and arguments that make the worker's handler of requests.
            digest: SHA-256 of the file.

        Raises:
            UserError: the process died while it started.
        """
        self.number = number
        self.busy = False
        self._progress = context.RawArray("d", 2)  # expected and completed work: only the worker writes
        self._seen = [0.0, 0.0]
        self._progress_at = time.monotonic()
        self._stalled = False
        self._pipe, worker_end = context.Pipe()
        self.process = context.Process(target=worker_main, args=(file, digest, worker_end, self._progress), daemon=True)
        try:
            with block_sigint():
                self.process.start()
        except BrokenPipeError as error:
            raise self._lost() from error
        finally:
            worker_end.close()  # so that the pipe reaches its end when the worker dies

    def send(self, request: Any) -> None:
        """Send a request to the worker, which must be idle.

        Raises:
            UserError: the worker is dead.
        """
        try:
            self._pipe.send(request)
        except OSError as error:
            raise self._lost() from error
        self.busy, self._progress_at, self._stalled = True, time.monotonic(), False

    @property
    def waitables(self) -> list[Any]:
        """Objects for ``multiprocessing.connection.wait`` that become ready when the worker answers or dies."""
        return [self._pipe, self.process.sentinel]

    @property
    def ready(self) -> bool:
        """True if the worker has answered or is dead."""
        return self._pipe.poll() or not self.process.is_alive()

    def result(self) -> Any:
        """Return the answer to the request.

        Raises:
            UserError: the worker is dead.
            Exception: the exception that the handler raised.
        """
        try:
            if not self._pipe.poll():
                raise EOFError
            answer, error = self._pipe.recv()
        except (EOFError, OSError) as lost:
            raise self._lost() from lost
        self.busy = False
        if error is not None:
            raise error
        return answer

    def progress(self) -> tuple[float, float]:
        """Return the expected and the completed work that the worker has added since the last call."""
        slot = list(self._progress)
        expected, completed = (new - old for new, old in zip(slot, self._seen, strict=True))
        if slot != self._seen:
            self._seen, self._progress_at, self._stalled = slot, time.monotonic(), False
        return expected, completed

    def stalled(self) -> str | None:
        """Return a message that names the worker once it is busy and has made no progress for ``STALL_SECONDS``."""
        idle = time.monotonic() - self._progress_at
        if not self.busy or self._stalled or idle <= STALL_SECONDS:
            return None
        self._stalled = True
        return f"{self._name} has made no progress for {idle / 60:.0f} minutes (stopped?)"

    @property
    def _name(self) -> str:
        return f"worker {self.number} (process {self.process.pid})"

    def _lost(self) -> UserError:
        self.process.join(1)  # the pipe may end before the exit code is there
        code = self.process.exitcode
        if code is None or code >= 0:
            cause = "died" if code is None else f"ended with exit code {code}"
        else:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            cause = f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return UserError(f"{self._name} {cause}. Rerun to resume; set OMP_NUM_THREADS=1 to use a single process")


def worker_main(file: Path, digest: str, pipe: Connection, slot: Any) -> None:
    """Handle requests on one thread until the driver ends.

    Args:
        file: pickled function and arguments; called with these and ``slot``, the function returns the handler.
        digest: SHA-256 of the file.
        pipe: connection over which requests arrive and answers are sent.
        slot: expected and completed work.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for platforms where signals cannot be blocked
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    handler: Callable[[Any], Any] | None = None
    while True:
        try:
            request = pipe.recv()
        except EOFError:  # the driver has ended
            return
        answer: tuple[Any, Exception | None]
        try:
            handler = handler or _make_handler(file, digest, slot)
            answer = (handler(request), None)
        except Exception as error:
            if not isinstance(error, UserError):
                error.add_note(traceback.format_exc()[-LONGEST_TRACEBACK:])
            answer = (None, _portable(error))
        pipe.send(answer)


def _make_handler(file: Path, digest: str, slot: Any) -> Callable[[Any], Any]:
    state = file.read_bytes()
    if digest_of(state) != digest:
        raise UserError(f"{file}: was changed while the command ran")
    start, arguments = pickle.loads(state)
    return start(*arguments, slot)


def digest_of(state: bytes) -> str:
    """Return the SHA-256 of a pickled state."""
    return hashlib.sha256(state).hexdigest()


def _portable(error: Exception) -> Exception:
    """Return the exception, or a RuntimeError with its text if it cannot be pickled and unpickled."""
    try:
        pickle.dumps(error)
        copy.copy(error)  # calls the constructor with the pickled arguments, as unpickling does
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:])
    return error


def _end_with_parent() -> None:
    """End this process when its parent ends, in whichever way."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
