"""Runs that do not depend on each other are jobs; an executor carries them out.

Here they run one after another, in the order given. A job says what it needs: what an executor for more
than one machine would place it by.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """A call that depends on nothing but its arguments and the kept runs, and what it needs."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    flops: float
    cpus: int = 2
    gpus: int = 0
    memory_bytes: int = 4 << 30


class Executor(Protocol):
    """Carries out jobs and gives their results in the order of the jobs."""

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Any]: ...


def one_after_another(jobs: Iterable[Job]) -> Iterator[Any]:
    """The local executor."""
    for job in jobs:
        yield job.function(*job.arguments)
