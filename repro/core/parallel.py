"""Jobs carried out elsewhere, many at once: what all such executors share, whatever the place.

The command's own process owns the kept runs' folder and hands out the jobs; a job begins once the runs it needs are
kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from repro.core.executor import Job
from repro.core.runner import Runner

# What stands for a job that was handed out.
Handle = TypeVar("Handle")
# What a worker's runner has of its own; with the caches, whose names begin with an underscore.
OWN = ("kept", "watch", "executor", "finished")


@dataclass
class Parallel(ABC, Generic[Handle]):
    """An executor: every job as soon as the runs it needs are kept, wherever there is room for it."""

    runner: Runner

    def __call__(self, jobs: Iterable[Job]) -> Iterator[None]:
        """Carry out the jobs; those that must run in this process, one after another when no others run.

        Raises:
            UserError: as the job raised it, or a worker was lost.
        """
        jobs = list(jobs)
        makes = [{self.runner.key(run) for run in job.runs} for job in jobs]
        needs = [{self.runner.key(one) for run in job.runs for one in self.runner.needs(run)} for job in jobs]
        waiting, running = list(range(len(jobs))), dict[Handle, int]()
        try:
            while waiting or running:
                unfinished = set().union(*(makes[n] for n in (*waiting, *running.values())))
                for n in [n for n in waiting if not self.is_here(jobs[n]) and not needs[n] & unfinished]:
                    running[self.submit(jobs[n], needs[n])] = n
                    waiting.remove(n)
                if not running:
                    job = jobs[waiting.pop(0)]
                    job.function(*job.arguments)
                    continue
                name, more = jobs[min(running.values())].name, len(running) + len(waiting) - 1
                self.runner.watch.now(f"{self.where}: {name}" + (f", {more} more jobs" if more else ""))
                for done in self.some_done(list(running)):
                    job = jobs[running.pop(done)]
                    self.receive(job, done)
                    self.runner.watch.advance(job.flops)
        finally:
            if running:
                self.cancel(list(running))
        yield from (None for _ in jobs)

    @property
    @abstractmethod
    def where(self) -> str:
        """What a person watching is told of the place."""

    def is_here(self, job: Job) -> bool:
        """Whether this process carries it out."""
        return job.here

    @abstractmethod
    def submit(self, job: Job, needs: set[str]) -> Handle:
        """Hand out a job; ``needs`` are the keys of the runs that it is made from."""

    @abstractmethod
    def some_done(self, running: list[Handle]) -> list[Handle]:
        """Wait until at least one of them is done; those that are."""

    @abstractmethod
    def receive(self, job: Job, done: Handle) -> None:
        """See to it that the runner knows what a job has made; raises what the job raised."""

    @abstractmethod
    def cancel(self, unwanted: list[Handle]) -> None:
        """End jobs that nobody waits for any more."""


def shared(runner: Runner) -> dict[str, Any]:
    """The fields of a runner that a worker's own runner is made of: settings, data, device."""
    names = [one.name for one in fields(runner) if one.name not in OWN and not one.name.startswith("_")]
    return {one: getattr(runner, one) for one in names}
