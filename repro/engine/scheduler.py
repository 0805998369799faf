"""Jobs carried out elsewhere, many at once: what such executors share, whatever the place.

The command's own process hands out the jobs; a job begins once the runs it needs are kept.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from repro.engine.jobs import Job
from repro.engine.runner import Runner

# What stands for a job that was handed out.
Handle = TypeVar("Handle")
# What a worker's runner has of its own; with the caches, whose names begin with an underscore.
OWN = ("store", "progress", "executor", "finished")


@dataclass
class Parallel(ABC, Generic[Handle]):
    """An executor: every job as soon as the runs it needs are kept and there is room for it, in the order given."""

    runner: Runner
    # How many jobs are handed out at a time: all, where there is a queue elsewhere.
    max_in_flight: int = sys.maxsize

    def __call__(self, jobs: Iterable[Job]) -> None:
        """Carry out the jobs; those that must run in this process, one after another when no others run.

        Raises:
            UserError: as the job raised it, or a worker was lost.
        """
        jobs = list(jobs)
        makes = [{self.runner.key(run) for run in job.runs} for job in jobs]
        needs = [{self.runner.key(one): one for run in job.runs for one in self.runner.needs(run)} for job in jobs]
        waiting, running = list(range(len(jobs))), dict[Handle, int]()
        try:
            while waiting or running:
                unfinished = set().union(*(makes[n] for n in (*waiting, *running.values())))
                ready = [n for n in waiting if not self.runs_in_driver(jobs[n]) and not needs[n].keys() & unfinished]
                for n in ready[: self.max_in_flight - len(running)]:
                    running[self.submit(jobs[n], needs[n])] = n
                    waiting.remove(n)
                if not running:
                    job = jobs[waiting.pop(0)]
                    job.function(*job.arguments)
                    continue
                name, more = jobs[min(running.values())].name, len(running) + len(waiting) - 1
                self.runner.progress.now(f"{self.where}: {name}" + (f", {more} more jobs" if more else ""))
                for done in self.wait_any(list(running)):
                    self.receive(jobs[running.pop(done)], done)
        except BaseException:
            self.cancel(list(running))
            raise

    @property
    @abstractmethod
    def where(self) -> str:
        """What a person watching is told of the place."""

    def runs_in_driver(self, job: Job) -> bool:
        """Whether this process carries it out."""
        return job.here

    @abstractmethod
    def submit(self, job: Job, needs: dict[str, Any]) -> Handle:
        """Hand out a job; ``needs`` are the runs that it is made from, by their keys."""

    @abstractmethod
    def wait_any(self, running: list[Handle]) -> list[Handle]:
        """Wait until at least one of them is done; those that are."""

    @abstractmethod
    def receive(self, job: Job, done: Handle) -> None:
        """See to it that the runner knows what a job has made; raises what the job raised."""

    @abstractmethod
    def cancel(self, unwanted: list[Handle]) -> None:
        """End jobs that nobody waits for any more; their checkpoints stay."""

    def close(self) -> None:
        """Nothing is to be carried out any more."""


def shared(runner: Runner) -> dict[str, Any]:
    """The fields of a runner that a worker's own runner is made of: settings, data, device."""
    names = [one.name for one in fields(runner) if one.name not in OWN and not one.name.startswith("_")]
    return {one: getattr(runner, one) for one in names}
