"""A pool of worker processes that no killed or stopped worker can block.

The pools of the standard library share a queue and its lock among their workers, wait for stopped workers for ever, and
leave workers behind when the command is killed.
"""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import Any

from repro.engine import files
from repro.engine.worker import Worker, digest_of


class Pool:
    """Worker processes; they end when ``close`` is called or the driver ends, in whichever way."""

    def __init__(self, folder: Path, count: int, start: Callable[..., Callable[[Any], Any]], *arguments: Any):
        """Write how workers start to a file, so that starting a process does not wait for a large pipe.

        Args:
            folder: folder of the file; below a runs folder, the next command removes what a killed one left.
            count: maximum number of workers.
            start: module-level function that each worker calls with ``arguments`` and its progress slot, to which it
                adds expected work at index 0 and completed work at index 1. It returns the handler of requests.
            arguments: picklable arguments of ``start``.

        Raises:
            UserError: the file cannot be written.
        """
        self._file = folder / f"workers.{os.getpid()}.unfinished"
        state = pickle.dumps((start, arguments))
        files.write(self._file, state)
        self._digest = digest_of(state)
        self._context = multiprocessing.get_context("spawn")  # a forked process would inherit the driver's threads
        self._count = count
        self._workers: list[Worker] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def submit(self, request: Any) -> Worker:
        """Send a request to an idle worker, starting one if all are busy.

        Raises:
            UserError: the worker is dead.
        """
        worker = next((worker for worker in self._workers if not worker.busy), None)
        if worker is None:
            assert len(self._workers) < self._count
            worker = Worker(self._context, len(self._workers) + 1, self._file, self._digest)
            self._workers.append(worker)
        worker.send(request)
        return worker

    def wait(self, running: list[Worker], seconds: float) -> list[Worker]:
        """Wait at most ``seconds`` and return the workers that have answered or died."""
        ready = connection.wait([waitable for worker in running for waitable in worker.waitables], seconds)
        for worker in running:
            if worker.process.sentinel in ready:
                worker.process.join()  # its files are closed a moment before it has ended
        return [worker for worker in running if worker.ready]

    def progress(self, say: Callable[[str], None]) -> tuple[float, float]:
        """Return the expected and completed work since the last call, and name workers that make none with ``say``."""
        changes = [worker.progress() for worker in self._workers]
        for worker in self._workers:
            if message := worker.stalled():
                say(message)
        return sum(expected for expected, _ in changes), sum(completed for _, completed in changes)

    def map(self, requests: Iterable[Any], say: Callable[[str], None]) -> Iterator[Any]:
        """Yield the answers to requests as they come, in any order; ``say`` gets the names of workers that stall.

        Raises:
            UserError: a worker died.
        """
        waiting, running = list(reversed(list(requests))), list[Worker]()
        while waiting or running:
            while waiting and len(running) < self._count:
                running.append(self.submit(waiting.pop()))
            for worker in self.wait(running, seconds=1):
                running.remove(worker)
                yield worker.result()
            self.progress(say)

    def close(self) -> None:
        """Kill all workers, stopped ones included, and remove the file."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()
        self._file.unlink(missing_ok=True)
