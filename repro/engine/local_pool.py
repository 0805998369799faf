"""Jobs that take one core, side by side on this machine: as many processes as cores, of one thread each.

A second thread makes a small net's steps 1.4 times as fast; a second net beside the first leaves them almost as they
were, which is more.
The processes share the runs folder, which the command holds, and no two write the same group of runs.
"""

import contextlib
import hashlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import torch

from repro.engine import files, store
from repro.engine.jobs import Executor, Job, serial_executor
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Runner
from repro.engine.scheduler import Parallel, shared
from repro.errors import UserError
from repro.training import compute

# What a process takes for itself, with the data and a small net on its way.
PROCESS_BYTES = 2 << 30
# After so long without progress a worker is named.
STALL_SECONDS = 300.0
KILLED = (
    "a process that trained was killed, perhaps for want of memory; the same command goes on from the last "
    "checkpoints, in one process where the variable OMP_NUM_THREADS is 1"
)


def local(runner: Runner) -> Executor:
    """The executor of this machine: side by side on the CPU where it has the cores and the memory, else in order."""
    count = min(torch.get_num_threads(), compute.memory_bytes() // PROCESS_BYTES)
    if runner.compute.device.type != "cpu" or count < 2:
        return serial_executor
    return LocalPoolExecutor(runner, count)


@dataclass
class LocalPoolExecutor(Parallel["Worker"]):
    """Jobs of one core in ``max_in_flight`` processes; all others in this one, when nothing else runs."""

    _pool: "Pool | None" = None
    # Runs whose stored weights were checked.
    _whole: set[str] = field(default_factory=set)

    @property
    def where(self) -> str:
        """So many at a time."""
        return f"{self.max_in_flight} at a time"

    def runs_in_driver(self, job: Job) -> bool:
        """Whatever takes more than one core is this process's."""
        return job.here or job.cpus > 1

    def submit(self, job: Job, needs: dict[str, Any]) -> "Worker":
        """Send a job to a free process; processes start with the first jobs."""
        for key, run in needs.items():
            if key not in self._whole and self.runner.is_finished(run):
                self.runner.load_tensors(run)  # regenerated where damaged: once, and not by every process
                self._whole.add(key)
        if self._pool is None:
            self._pool = Pool(self.runner, self.max_in_flight)
        groups = sorted({self.runner.store.group(key) for key in needs if self.runner.store.record(key) is not None})
        return self._pool.submit(job.function.__name__, job.arguments, job.runs, groups)

    def wait_any(self, running: "list[Worker]") -> "list[Worker]":
        """Return the processes that are done with their job or dead; meanwhile show the progress of all."""
        assert self._pool is not None
        while True:
            done = self._pool.wait(running, seconds=1)
            self._pool.sync_progress(self.runner.progress)
            if done:
                return done

    def receive(self, job: Job, done: "Worker") -> None:
        """Read the records that a job made."""
        for group in done.result():
            self.runner.store.read(group)

    def cancel(self, unwanted: "list[Worker]") -> None:
        """End the processes."""
        self.close()

    def close(self) -> None:
        """End the processes; new ones start with the next job."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


@contextlib.contextmanager
def block_sigint() -> Iterator[None]:
    """While processes are started: Ctrl-C waits, and never gets to them, for it is this one's."""
    block = getattr(signal, "pthread_sigmask", None)
    before = block(signal.SIG_BLOCK, {signal.SIGINT}) if block else None
    try:
        yield
    finally:
        if block:
            block(signal.SIG_SETMASK, before)


class Worker:
    """A process with a pipe and a progress slot of its own: nothing that it can hold when it dies stops another."""

    def __init__(self, context: SpawnContext, number: int, *state: Any):
        """Start the process.

        Raises:
            UserError: the process died while it started.
        """
        self.number = number
        self.busy = False
        self._progress = context.RawArray("d", 2)  # expected and done FLOPs: the process alone writes
        self._synced = [0.0, 0.0]
        self._moved = time.monotonic()
        self._stalled = False
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=worker_main, args=(*state, theirs, self._progress), daemon=True)
        try:
            with block_sigint():
                self.process.start()
        except BrokenPipeError as error:
            raise UserError(KILLED) from error
        finally:
            theirs.close()  # so that the pipe ends with the process

    def send(self, *call: Any) -> None:
        """Hand a job to the process, which must be free.

        Raises:
            UserError: the process is dead.
        """
        try:
            self._pipe.send(call)
        except OSError as error:
            raise UserError(KILLED) from error
        self.busy, self._moved, self._stalled = True, time.monotonic(), False

    @property
    def waitables(self) -> list[Any]:
        """What becomes ready when the process answers or dies."""
        return [self._pipe, self.process.sentinel]

    @property
    def ready(self) -> bool:
        """Whether the process has answered or is dead."""
        return self._pipe.poll() or not self.process.is_alive()

    def result(self) -> list[str]:
        """Return the groups that the job made.

        Raises:
            UserError: the process is dead.
            Exception: as the job raised it.
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
        """Report what changed in this worker's slot; name a worker in whose slot nothing has changed for long."""
        now = list(self._progress)
        expected, done = (new - old for new, old in zip(now, self._synced, strict=True))
        if now != self._synced:
            self._synced, self._moved, self._stalled = now, time.monotonic(), False
        if expected:
            progress.expect(expected)
        if done:
            progress.advance(done)
        idle = time.monotonic() - self._moved
        if self.busy and not self._stalled and idle > STALL_SECONDS:
            self._stalled = True
            progress.say(
                f"worker {self.number} (process {self.process.pid}) has made no progress for {idle / 60:.0f} minutes "
                "(stopped?)"
            )


class Pool:
    """The processes. They end when ``close`` is called or this process ends, in whichever way."""

    def __init__(self, runner: Runner, count: int):
        """Hand over ``runner`` in a file, which the start of a process does not wait for.

        Raises:
            UserError: the file cannot be written.
        """
        # By its name it is removed with other unfinished files, if this process is killed.
        self._file = runner.store.folder / f"data.{os.getpid()}.unfinished"
        state = pickle.dumps((type(runner), shared(runner), runner.store.folder))
        files.write(self._file, state)
        self._digest = _digest(state)
        self._context = multiprocessing.get_context("spawn")  # none inherits the threads of this one
        self._count = count
        self._workers: list[Worker] = []

    def submit(self, *call: Any) -> Worker:
        """Send a job to a free process; start one where none is free."""
        worker = next((one for one in self._workers if not one.busy), None)
        if worker is None:
            assert len(self._workers) < self._count
            worker = Worker(self._context, len(self._workers) + 1, self._file, self._digest)
            self._workers.append(worker)
        worker.send(*call)
        return worker

    def wait(self, running: list[Worker], seconds: float) -> list[Worker]:
        """Return those that have answered or died, after at most ``seconds``; a dead process is asked for itself."""
        connection.wait([one for worker in running for one in worker.waitables], seconds)
        return [worker for worker in running if worker.ready]

    def sync_progress(self, progress: ProgressDisplay) -> None:
        """Report the progress of all processes."""
        for worker in self._workers:
            worker.sync_progress(progress)

    def close(self) -> None:
        """End the processes at once, stopped ones too."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()
        self._file.unlink(missing_ok=True)


class ForwardingProgress(ProgressDisplay):
    """The progress of a worker process: it adds up expected and done work in its slot, for the command to show."""

    def __init__(self, slot: Any):
        """``slot`` holds the expected and the done FLOPs; no other process writes to it."""
        super().__init__("")
        self._slot = slot

    def expect(self, flops: float) -> None:
        """Expect more work, or less."""
        self._slot[0] += flops

    def advance(self, flops: float) -> None:
        """Count work as done."""
        self._slot[1] += flops


def worker_main(file: Path, digest: str, pipe: Connection, slot: Any) -> None:
    """Carry out jobs in a new process of one thread, until the command ends.

    Raises:
        ValueError: the file is not the one that the command wrote.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where signals cannot be blocked
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    state = file.read_bytes()
    if _digest(state) != digest:
        raise ValueError(f"{file} was changed")
    kind, shared, folder = pickle.loads(state)
    compute.choose(shared["compute"].device.type, shared["compute"].precision)  # as the command did, and set up
    runner = kind(**shared, store=store.Store(folder), progress=ForwardingProgress(slot))
    while True:
        call = pipe.recv()
        try:
            answer: tuple[list[str] | None, Exception | None] = (execute_job(runner, *call), None)
        except Exception as error:
            if not isinstance(error, UserError):
                error.add_note(traceback.format_exc())
            answer = (None, _portable(error))
        pipe.send(answer)


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _digest(state: bytes) -> str:
    return hashlib.sha256(state).hexdigest()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def execute_job(
    runner: Runner, function: str, arguments: tuple[Any, ...], made: list[Any], needed: list[str]
) -> list[str]:
    """Carry out a job in a worker process.

    Args:
        runner: the runner of this process.
        function: the name of the runner's method that is the job.
        arguments: its arguments.
        made: the runs that it makes.
        needed: the groups of runs that it needs, which may have been stored since this process began.

    Returns:
        The groups that were made.
    """
    for group in needed:
        runner.store.read(group)
    getattr(runner, function)(*arguments)
    return sorted({runner.store.group(runner.key(run)) for run in made})
