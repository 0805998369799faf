"""Parallel execution of single-core jobs on this machine, in as many worker processes as there are cores.

Two small networks side by side on one thread each train almost at full speed, whereas two threads make one network only
1.4 times as fast. The workers share the runs folder, which the driver has locked; no two write the same group of runs.
"""

import multiprocessing
import os
import pickle
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

import torch

from repro.engine import files
from repro.engine.jobs import Executor, Job, serial_executor
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Runner
from repro.engine.scheduler import Parallel, Task, shared_fields
from repro.engine.worker import Worker, digest_of
from repro.training import compute

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

    _pool: "Pool | None" = None
    # Keys of runs whose stored weights were verified.
    _verified: set[str] = field(default_factory=set)

    @property
    def location(self) -> str:
        """The number of workers, for the progress display."""
        return f"{self.max_in_flight} at a time"

    def runs_in_driver(self, job: Job) -> bool:
        """Return whether the job needs the driver or more than one core."""
        return job.driver_only or job.cpus > 1

    def submit(self, job: Job, dependencies: dict[str, Any]) -> Worker:
        """Send a job to an idle worker; workers are started by the first jobs."""
        for key, run in dependencies.items():
            if key not in self._verified and self.runner.is_finished(run):
                self.runner.load_tensors(run)  # regenerated here if corrupt, rather than by every worker
                self._verified.add(key)
        if self._pool is None:
            self._pool = Pool(self.runner, self.max_in_flight)
        store = self.runner.store
        groups = sorted({store.group(key) for key in dependencies if store.record(key) is not None})
        return self._pool.submit(Task.of(job), groups)

    def wait_any(self, running: list[Worker]) -> list[Worker]:
        """Return the workers that have finished or died, updating the progress display while waiting."""
        assert self._pool is not None
        while True:
            ready = self._pool.wait(running, seconds=1)
            self._pool.sync_progress(self.runner.progress)
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


class Pool:
    """Worker processes; they end when ``close`` is called or the driver ends, in whichever way."""

    def __init__(self, runner: Runner, count: int):
        """Write the state of ``runner`` to a file, so that starting a process does not wait for a large pipe.

        Args:
            runner: the driver's runner.
            count: maximum number of workers.

        Raises:
            UserError: the file cannot be written.
        """
        # The suffix has it removed with other partial files if the driver is killed.
        self._file = runner.store.folder / f"data.{os.getpid()}.unfinished"
        state = pickle.dumps((type(runner), shared_fields(runner), runner.store.folder))
        files.write(self._file, state)
        self._digest = digest_of(state)
        self._context = multiprocessing.get_context("spawn")  # a forked process would inherit the driver's threads
        self._count = count
        self._workers: list[Worker] = []

    def submit(self, task: Task, needed: list[str]) -> Worker:
        """Send a task to an idle worker, starting one if all are busy.

        Raises:
            UserError: the worker is dead.
        """
        worker = next((worker for worker in self._workers if not worker.busy), None)
        if worker is None:
            assert len(self._workers) < self._count
            worker = Worker(self._context, len(self._workers) + 1, self._file, self._digest)
            self._workers.append(worker)
        worker.send(task, needed)
        return worker

    def wait(self, running: list[Worker], seconds: float) -> list[Worker]:
        """Wait at most ``seconds`` and return the workers that have answered or died."""
        connection.wait([waitable for worker in running for waitable in worker.waitables], seconds)
        return [worker for worker in running if worker.ready]

    def sync_progress(self, progress: ProgressDisplay) -> None:
        """Report the progress of all workers."""
        for worker in self._workers:
            worker.sync_progress(progress)

    def close(self) -> None:
        """Kill all workers, stopped ones included, and remove the state file."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()
        self._file.unlink(missing_ok=True)
