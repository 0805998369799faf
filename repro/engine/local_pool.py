"""Parallel execution of single-core jobs on this machine, in as many worker processes as there are cores.

Two small networks side by side on one thread each train almost at full speed, whereas two threads make one network only
1.4 times as fast. The workers share the runs folder, which the driver has locked; no two write the same group of runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from repro.engine.jobs import Executor, Job, serial_executor
from repro.engine.pool import Pool
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Runner
from repro.engine.scheduler import Parallel, Task, shared_fields
from repro.engine.store import Store
from repro.engine.worker import Worker
from repro.training import compute

# A task, and the groups of stored runs that it reads.
Request = tuple[Task, list[str]]

# Memory of a worker that trains a small network, with its copy of the data.
PROCESS_BYTES = 2 << 30


def local(runner: Runner) -> Executor:
    """Return the executor for this machine: a pool on a CPU with cores and memory for two workers, else serial."""
    count = min(torch.get_num_threads(), compute.memory_bytes() // PROCESS_BYTES)
    if runner.compute.device.type != "cpu" or count < 2:
        return serial_executor
    return LocalPoolExecutor(runner, count)


@dataclass
class LocalPoolExecutor(Parallel[Worker]):
    """Executor of single-core jobs in ``max_in_flight`` workers; the driver executes all others between them."""

    _pool: Pool | None = None

    @property
    def location(self) -> str:
        """The number of workers, for the progress display."""
        return f"{self.max_in_flight} at a time"

    def runs_in_driver(self, job: Job) -> bool:
        """Return whether the job needs the driver or more than one core."""
        return job.driver_only or job.cpus > 1

    def submit(self, job: Job, dependencies: dict[str, Any]) -> Worker:
        """Send a job to an idle worker; workers are started by the first jobs."""
        if self._pool is None:
            arguments = (type(self.runner), shared_fields(self.runner), self.runner.store.folder)
            self._pool = Pool(self.runner.store.folder, self.max_in_flight, start_worker, *arguments)
        store = self.runner.store
        groups = sorted({store.group(key) for key in dependencies if store.record(key) is not None})
        return self._pool.submit((Task.of(job), groups))

    def wait_any(self, running: list[Worker]) -> list[Worker]:
        """Return the workers that have finished or died, updating the progress display while waiting."""
        assert self._pool is not None
        while True:
            ready = self._pool.wait(running, seconds=1)
            expected, completed = self._pool.progress(self.runner.progress.say)
            if expected:
                self.runner.progress.expect(expected)
            if completed:
                self.runner.progress.advance(completed)
            if ready:
                return ready

    def receive(self, job: Job, handle: Worker) -> None:
        """Read the records that a job stored."""
        for group in handle.result():
            self.runner.store.read(group)

    def cancel(self, running: list[Worker]) -> None:
        """Kill all workers."""
        self.close()

    def close(self) -> None:
        """Kill all workers; the next job starts new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


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


def start_worker(kind: type[Runner], shared: dict[str, Any], folder: Path, slot: Any) -> Callable[[Request], list[str]]:
    """Return the function that executes tasks in a worker and returns the groups of runs that they stored.

    Args:
        kind: class of the runner.
        shared: fields of the driver's runner.
        folder: the runs folder.
        slot: expected and completed FLOPs.
    """
    compute.choose(shared["compute"].device.type, shared["compute"].precision)  # sets the precision of this process
    runner = kind(**shared, store=Store(folder), progress=ForwardingProgress(slot))

    def execute(request: Request) -> list[str]:
        task, needed = request
        for group in needed:  # stored after this process read the folder, perhaps
            runner.store.read(group)
        return task.execute(runner)

    return execute
