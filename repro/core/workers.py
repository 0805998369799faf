"""Jobs that take one core, side by side on this machine: as many processes as cores, of one thread each.

A second thread gains a small net little, for it mostly waits; a second net beside it takes no more time than one. And
what is trained on one thread does not depend on how many cores there are. All processes share the runs folder; no two
write the same group of runs.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from repro.core import compute, store
from repro.core.executor import Executor, Job, one_after_another
from repro.core.parallel import Parallel, shared
from repro.core.progress import Unseen
from repro.core.runner import Runner
from repro.errors import UserError

# What a process takes for itself, with the data and a small net on its way.
PROCESS_BYTES = 2 << 30


def local(runner: Runner) -> Executor:
    """The executor of this machine: side by side on the CPU where it has the cores and the memory, else in order."""
    count = min(torch.get_num_threads(), compute.memory_bytes() // PROCESS_BYTES)
    if runner.compute.device.type != "cpu" or count < 2:
        return one_after_another
    return SideBySide(runner, count)


@dataclass
class SideBySide(Parallel[Future[list[str]]]):
    """Jobs of one core in ``processes`` processes; all others in this one, when nothing else runs."""

    processes: int
    _pool: ProcessPoolExecutor | None = None

    @property
    def where(self) -> str:
        """So many at a time."""
        return f"{self.processes} at a time"

    def is_here(self, job: Job) -> bool:
        """Whatever takes more than one core is this process's."""
        return job.here or job.cpus > 1

    def submit(self, job: Job, needs: set[str]) -> "Future[list[str]]":
        """Into the queue; the processes start with the first job."""
        if self._pool is None:
            folder = self.runner.kept.folder
            state = pickle.dumps((type(self.runner), shared(self.runner), folder))
            context = multiprocessing.get_context("spawn")  # none inherits the threads of this one
            self._pool = ProcessPoolExecutor(self.processes, context, start, (state,))
        groups = sorted({self.runner.kept.group(key) for key in needs if self.runner.kept.record(key) is not None})
        return self._submitted(job, groups)

    def _submitted(self, job: Job, groups: list[str]) -> "Future[list[str]]":
        assert self._pool is not None
        try:
            return self._pool.submit(carry_out, job.function.__name__, job.arguments, job.runs, groups)
        except BrokenProcessPool as error:
            raise self._lost(job) from error

    def some_done(self, running: "list[Future[list[str]]]") -> "list[Future[list[str]]]":
        """The first that are done."""
        return list(wait(running, return_when=FIRST_COMPLETED).done)

    def receive(self, job: Job, done: "Future[list[str]]") -> None:
        """Read the records of what was made."""
        try:
            groups = done.result()
        except BrokenProcessPool as error:
            raise self._lost(job) from error
        for group in groups:
            self.runner.kept.read(group)

    def _lost(self, job: Job) -> UserError:
        return UserError(
            f"{job.name}: a process that trained was killed, perhaps for want of memory; start the command again, "
            "which goes on from the last checkpoints, with OMP_NUM_THREADS=1 for one process"
        )

    def cancel(self, unwanted: "list[Future[list[str]]]") -> None:
        """End the processes: what they were doing goes on from its checkpoint when it is asked for again."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            self._pool = None


_runner: Runner


def start(state: bytes) -> None:
    """In a new process: one thread, and a runner on the same folder; Ctrl-C and a kill are the command's to handle."""
    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    torch.set_num_threads(1)
    kind, fields, folder = pickle.loads(state)
    compute.choose(fields["compute"].device.type, fields["compute"].precision)  # as the command did, and set up
    _runner = kind(**fields, kept=store.Store(Path(folder)), watch=Unseen())


def _end_with_the_command() -> None:
    command = multiprocessing.parent_process()
    assert command is not None
    command.join()
    os._exit(1)


def carry_out(function: str, arguments: tuple[Any, ...], made: list[Any], needed: list[str]) -> list[str]:
    """In a worker: carry out a job.

    Args:
        function: the name of the runner's method that is the job.
        arguments: its arguments.
        made: the runs that it makes.
        needed: the groups of runs that it needs, which may have been kept since this process began.

    Returns:
        The groups that were made.
    """
    for group in needed:
        _runner.kept.read(group)
    getattr(_runner, function)(*arguments)
    return sorted({_runner.kept.group(_runner.key(run)) for run in made})
