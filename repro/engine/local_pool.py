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
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
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


def local(runner: Runner) -> Executor:
    """The executor of this machine: side by side on the CPU where it has the cores and the memory, else in order."""
    count = min(torch.get_num_threads(), compute.memory_bytes() // PROCESS_BYTES)
    if runner.compute.device.type != "cpu" or count < 2:
        return serial_executor
    return LocalPoolExecutor(runner, count)


@dataclass
class LocalPoolExecutor(Parallel[Future[list[str]]]):
    """Jobs of one core in ``max_in_flight`` processes; all others in this one, when nothing else runs."""

    _pool: "Pool | None" = None
    # Runs whose kept weights were seen to be whole.
    _whole: set[str] = field(default_factory=set)

    @property
    def where(self) -> str:
        """So many at a time."""
        return f"{self.max_in_flight} at a time"

    def runs_in_driver(self, job: Job) -> bool:
        """Whatever takes more than one core is this process's."""
        return job.here or job.cpus > 1

    def submit(self, job: Job, needs: dict[str, Any]) -> "Future[list[str]]":
        """To a free process; they start with the first job."""
        for key, run in needs.items():
            if key not in self._whole and self.runner.is_finished(run):
                self.runner.load_tensors(run)  # made again where damaged: once, and not by every process
                self._whole.add(key)
        if self._pool is None:
            self._pool = Pool(self.runner, self.max_in_flight)
        groups = sorted({self.runner.store.group(key) for key in needs if self.runner.store.record(key) is not None})
        with self._named():
            return self._pool.submit(execute, job.function.__name__, job.arguments, job.runs, groups)

    def wait_any(self, running: "list[Future[list[str]]]") -> "list[Future[list[str]]]":
        """The first that are done; meanwhile the watch shows what the processes do."""
        assert self._pool is not None
        while True:
            done = list(wait(running, timeout=1, return_when=FIRST_COMPLETED).done)
            self._pool.sync_progress(self.runner.progress)
            if done:
                return done

    def receive(self, job: Job, done: "Future[list[str]]") -> None:
        """Read the records of what was made."""
        with self._named():
            groups = done.result()
        for group in groups:
            self.runner.store.read(group)

    def cancel(self, unwanted: "list[Future[list[str]]]") -> None:
        """End the processes."""
        self.close()

    def close(self) -> None:
        """End the processes; new ones start with the next job."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (BrokenProcessPool, BrokenPipeError) as error:
            raise UserError(
                "a process that trained was killed, perhaps for want of memory; the same command goes on from the last "
                "checkpoints, in one process where the variable OMP_NUM_THREADS is 1"
            ) from error


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


class Pool:
    """The processes. They end when ``close`` is called or this process ends, in whichever way."""

    def __init__(self, runner: Runner, count: int):
        """``runner`` is what theirs are made of; it is handed over in a file, which a start does not wait for.

        Raises:
            UserError: the file cannot be written.
        """
        # By its name it is removed with what else was not finished, if this process is killed.
        self._file = runner.store.folder / f"data.{os.getpid()}.unfinished"
        state = pickle.dumps((type(runner), shared(runner), runner.store.folder))
        files.write(self._file, state)
        context = multiprocessing.get_context("spawn")  # none inherits the threads of this one
        theirs, self._lifeline = context.Pipe(duplex=False)
        self._work = context.Array("d", 2)
        self._pool = ProcessPoolExecutor(count, context, start, (self._file, _digest(state), theirs, self._work))
        self._told = [0.0, 0.0]

    def submit(self, *call: Any) -> "Future[list[str]]":
        """Start a process where none is free."""
        with block_sigint():
            return self._pool.submit(*call)

    def sync_progress(self, progress: ProgressDisplay) -> None:
        """Tell the watch what came up, and what was done, since it was told last."""
        with self._work.get_lock():
            now = [self._work[0], self._work[1]]
        expected, done = (new - old for new, old in zip(now, self._told, strict=True))
        self._told = now
        if expected:
            progress.expect(expected)
        if done:
            progress.advance(done)

    def close(self) -> None:
        """End them at once, whatever they do."""
        self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._file.unlink(missing_ok=True)


class ForwardingProgress(ProgressDisplay):
    """A process's watch: it adds up the work that is to come and that was done, for the command to show."""

    def __init__(self, work: Any):
        """``work`` are two shared numbers."""
        super().__init__("")
        self._work = work

    def expect(self, flops: float) -> None:
        """More work, or less of it."""
        with self._work.get_lock():
            self._work[0] += flops

    def advance(self, flops: float) -> None:
        """So much of it was done."""
        with self._work.get_lock():
            self._work[1] += flops


_runner: Runner


def start(file: Path, digest: str, lifeline: Connection, work: Any) -> None:
    """In a new process: one thread, and a runner on the same folder; it ends when the other end of the line does.

    Raises:
        ValueError: the file is not the one that the command wrote.
    """
    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where signals cannot be blocked
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(1)
    state = file.read_bytes()
    if _digest(state) != digest:
        raise ValueError(f"{file} was changed")
    kind, shared, folder = pickle.loads(state)
    compute.choose(shared["compute"].device.type, shared["compute"].precision)  # as the command did, and set up
    _runner = kind(**shared, store=store.Store(folder), progress=ForwardingProgress(work))


def _digest(state: bytes) -> str:
    return hashlib.sha256(state).hexdigest()


def _end_with(lifeline: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def execute(function: str, arguments: tuple[Any, ...], made: list[Any], needed: list[str]) -> list[str]:
    """In a process: carry out a job.

    Args:
        function: the name of the runner's method that is the job.
        arguments: its arguments.
        made: the runs that it makes.
        needed: the groups of runs that it needs, which may have been kept since this process began.

    Returns:
        The groups that were made.
    """
    for group in needed:
        _runner.store.read(group)
    getattr(_runner, function)(*arguments)
    return sorted({_runner.store.group(_runner.key(run)) for run in made})
