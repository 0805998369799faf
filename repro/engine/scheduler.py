"""Parallel scheduling of jobs, shared by the local pool and Ray.

The driver, which is the process of the command, submits a job as soon as the runs that it depends on are stored.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from types import MethodType
from typing import Any, Generic, TypeVar

from repro.engine.jobs import Job
from repro.engine.runner import Runner

# An executor's handle of a submitted job.
Handle = TypeVar("Handle")
# Fields of a runner that each process makes for itself, as it does the caches, whose names begin with an underscore.
PER_PROCESS = ("store", "progress", "executor", "finished")


@dataclass(frozen=True)
class Task:
    """A job as it is sent to a worker: the method without its runner, and its arguments.

    Attributes:
        method: method of the runner's class, pickled by name.
        arguments: its arguments after ``self``.
        runs: the runs that it stores.
    """

    method: Callable[..., None]
    arguments: tuple[Any, ...]
    runs: list[Any]

    @classmethod
    def of(cls, job: Job) -> "Task":
        """Return the task of a job, whose function must be a method of a runner."""
        assert isinstance(job.function, MethodType)
        return cls(job.function.__func__, job.arguments, job.runs)

    def execute(self, runner: Runner) -> list[str]:
        """Execute the task with a worker's runner and return the groups of runs that it stored."""
        self.method(runner, *self.arguments)
        return sorted({runner.store.group(runner.key(run)) for run in self.runs})


@dataclass
class Parallel(ABC, Generic[Handle]):
    """Executor that submits jobs in the given order, as soon as their dependencies are stored and there is room.

    Attributes:
        runner: the driver's runner.
        max_in_flight: maximum number of submitted jobs. Default: no limit, for executors with their own queue.
    """

    runner: Runner
    max_in_flight: int = sys.maxsize
    # Keys of runs whose stored weights were verified.
    _verified: set[str] = field(default_factory=set)

    def __call__(self, jobs: Iterable[Job]) -> None:
        """Execute the jobs; those that run in the driver are executed when no others are running.

        Raises:
            UserError: a worker was lost, or the job raised it.
        """
        jobs, key = list(jobs), self.runner.key
        outputs = [{key(run) for run in job.runs} for job in jobs]
        dependencies = [
            {key(other): other for run in job.runs for other in self.runner.dependencies(run)} for job in jobs
        ]
        for needed in dependencies:
            self._verify(needed)  # before any job is submitted: making runs again takes workers, too
        waiting, running = list(range(len(jobs))), dict[Handle, int]()
        try:
            while waiting or running:
                unfinished = set().union(*(outputs[n] for n in (*waiting, *running.values())))
                ready = [
                    n for n in waiting
                    if not self.runs_in_driver(jobs[n]) and not dependencies[n].keys() & unfinished
                ]  # fmt: skip
                for n in ready[: self.max_in_flight - len(running)]:
                    running[self.submit(jobs[n], dependencies[n])] = n
                    waiting.remove(n)
                if not running:
                    job = jobs[waiting.pop(0)]
                    job.function(*job.arguments)
                    continue
                name, more = jobs[min(running.values())].name, len(running) + len(waiting) - 1
                self.runner.progress.now(f"{self.location}: {name}" + (f", {more} more jobs" if more else ""))
                for handle in self.wait_any(list(running)):
                    self.receive(jobs[running.pop(handle)], handle)
        except BaseException:
            self.cancel(list(running))
            raise

    def _verify(self, dependencies: dict[str, Any]) -> None:
        """Make stored runs again whose weights are corrupt, here rather than in every worker that needs them."""
        # Listed first: of runs that share a file, all count as unfinished once it is found to be corrupt.
        stored = {key: run for key, run in dependencies.items() if self.runner.is_finished(run)}
        for key, run in stored.items():
            if key not in self._verified:
                self.runner.load_tensors(run)
                self._verified.add(key)

    @property
    @abstractmethod
    def location(self) -> str:
        """Description of the workers, for the progress display."""

    def runs_in_driver(self, job: Job) -> bool:
        """Return whether the driver executes the job itself."""
        return job.driver_only

    @abstractmethod
    def submit(self, job: Job, dependencies: dict[str, Any]) -> Handle:
        """Submit a job; ``dependencies`` are the runs that it needs, by key."""

    @abstractmethod
    def wait_any(self, running: list[Handle]) -> list[Handle]:
        """Wait until at least one job is done, and return the handles of those that are."""

    @abstractmethod
    def receive(self, job: Job, handle: Handle) -> None:
        """Read the records of a job that is done into the driver's store; raise the exception that the job raised."""

    @abstractmethod
    def cancel(self, running: list[Handle]) -> None:
        """Cancel submitted jobs; their checkpoints stay."""

    def close(self) -> None:
        """Release workers; no more jobs follow."""


def shared_fields(runner: Runner) -> dict[str, Any]:
    """Return the fields of a runner that workers construct their runners from: settings, data, device."""
    names = [field.name for field in fields(runner) if field.name not in PER_PROCESS]
    return {name: getattr(runner, name) for name in names if not name.startswith("_")}
