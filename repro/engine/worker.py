"""Worker processes of the local pool: the driver's handle of a process, and the main function of that process."""

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
from collections.abc import Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import torch

from repro.engine import store
from repro.engine.progress import ProgressDisplay
from repro.engine.scheduler import Task
from repro.errors import UserError
from repro.training import compute

# A busy worker is reported as stalled after this time without progress, in seconds.
STALL_SECONDS = 300.0
KILLED = (
    "a worker process was killed (out of memory?). Rerun to resume from the last checkpoints; "
    "set OMP_NUM_THREADS=1 to use a single process"
)


@contextlib.contextmanager
def block_sigint() -> Iterator[None]:
    """Block SIGINT while processes are started: they inherit the mask, and Ctrl-C is handled by this process alone."""
    block = getattr(signal, "pthread_sigmask", None)
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
            file: pickled state of the driver's runner.
            digest: SHA-256 of the file.

        Raises:
            UserError: the process died while it started.
        """
        self.number = number
        self.busy = False
        self._progress = context.RawArray("d", 2)  # expected and completed FLOPs: only the worker writes
        self._synced = [0.0, 0.0]
        self._progress_at = time.monotonic()
        self._stalled = False
        self._pipe, worker_end = context.Pipe()
        self.process = context.Process(target=worker_main, args=(file, digest, worker_end, self._progress), daemon=True)
        try:
            with block_sigint():
                self.process.start()
        except BrokenPipeError as error:
            raise UserError(KILLED) from error
        finally:
            worker_end.close()  # so that the pipe reaches its end when the worker dies

    def send(self, task: Task, needed: list[str]) -> None:
        """Send a task to the worker, which must be idle.

        Args:
            task: the task.
            needed: groups of stored runs that the task reads.

        Raises:
            UserError: the worker is dead.
        """
        try:
            self._pipe.send((task, needed))
        except OSError as error:
            raise UserError(KILLED) from error
        self.busy, self._progress_at, self._stalled = True, time.monotonic(), False

    @property
    def waitables(self) -> list[Any]:
        """Objects for ``multiprocessing.connection.wait`` that become ready when the worker answers or dies."""
        return [self._pipe, self.process.sentinel]

    @property
    def ready(self) -> bool:
        """True if the worker has answered or is dead."""
        return self._pipe.poll() or not self.process.is_alive()

    def result(self) -> list[str]:
        """Return the groups of runs that the task stored.

        Raises:
            UserError: the worker is dead.
            Exception: the exception that the task raised.
        """
        try:
            if not self._pipe.poll():
                raise EOFError
            groups, error = self._pipe.recv()
        except (EOFError, OSError) as lost:
            raise UserError(KILLED) from lost
        self.busy = False
        if error is not None:
            raise error
        return groups

    def sync_progress(self, progress: ProgressDisplay) -> None:
        """Report the change of this worker's slot since the last call; report once that a busy worker has stalled."""
        slot = list(self._progress)
        expected, completed = (new - old for new, old in zip(slot, self._synced, strict=True))
        if slot != self._synced:
            self._synced, self._progress_at, self._stalled = slot, time.monotonic(), False
        if expected:
            progress.expect(expected)
        if completed:
            progress.advance(completed)
        idle = time.monotonic() - self._progress_at
        if self.busy and not self._stalled and idle > STALL_SECONDS:
            self._stalled = True
            progress.say(
                f"worker {self.number} (process {self.process.pid}) has made no progress for {idle / 60:.0f} minutes "
                "(stopped?)"
            )


class ForwardingProgress(ProgressDisplay):
    """Progress of a worker: expected and completed FLOPs are added up in its slot, which the driver reads."""

    def __init__(self, slot: Any):
        """``slot`` holds the expected and the completed FLOPs; no other process writes to it."""
        super().__init__("")
        self._slot = slot

    def expect(self, flops: float) -> None:
        """Add to the expected FLOPs; a negative number takes work back."""
        self._slot[0] += flops

    def advance(self, flops: float) -> None:
        """Add to the completed FLOPs."""
        self._slot[1] += flops


def worker_main(file: Path, digest: str, pipe: Connection, slot: Any) -> None:
    """Execute tasks on one thread until the driver ends.

    Args:
        file: pickled state of the driver's runner.
        digest: SHA-256 of the file.
        pipe: connection over which tasks arrive and results are sent.
        slot: expected and completed FLOPs.

    Raises:
        ValueError: the file is not the file that the driver wrote.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for platforms where signals cannot be blocked
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    state = file.read_bytes()
    if digest_of(state) != digest:
        raise ValueError(f"{file} was changed")
    kind, shared, folder = pickle.loads(state)
    compute.choose(shared["compute"].device.type, shared["compute"].precision)  # sets the precision of this process
    runner = kind(**shared, store=store.Store(folder), progress=ForwardingProgress(slot))
    while True:
        task, needed = pipe.recv()
        answer: tuple[list[str] | None, Exception | None]
        try:
            for group in needed:  # stored after this process read the folder, perhaps
                runner.store.read(group)
            answer = (task.execute(runner), None)
        except Exception as error:
            if not isinstance(error, UserError):
                error.add_note(traceback.format_exc())
            answer = (None, _portable(error))
        pipe.send(answer)


def digest_of(state: bytes) -> str:
    """Return the SHA-256 of a pickled state."""
    return hashlib.sha256(state).hexdigest()


def _portable(error: Exception) -> Exception:
    """Return the exception, or a RuntimeError with its text if it cannot be pickled and unpickled."""
    try:
        pickle.dumps(error)
        copy.copy(error)  # calls the constructor with the pickled arguments, as unpickling does
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _end_with_parent() -> None:
    """End this process when its parent ends, in whichever way."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
