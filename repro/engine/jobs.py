"""Runs that do not depend on each other are jobs; an executor carries them out.

``repro.engine.local_pool`` carries out jobs of one core side by side on this machine, and all others one after another;
``repro.engine.ray_pool`` carries out all of them on more than one machine. A job says what it needs: what it is placed by.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """A call that depends on nothing but its arguments and the kept runs, and what it needs.

    The arguments are the runs that it makes, or lists of them. ``gpus`` count where the device is one. ``here`` is
    for what must be carried out by the command's own process, with nothing beside it: it measures time, or takes all
    cores, or reads files.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    flops: float
    cpus: int = 2
    gpus: int = 1
    memory_bytes: int = 4 << 30
    here: bool = False

    @property
    def runs(self) -> list[Any]:
        """The runs that it makes."""
        return [run for one in self.arguments for run in (one if isinstance(one, list) else [one])]


class Executor(Protocol):
    """Carries out jobs."""

    def __call__(self, jobs: Iterable[Job]) -> None: ...

    def close(self) -> None:
        """Nothing is to be carried out any more."""


class InOrder:
    """One job after another, in the command's own process, on all cores."""

    def __call__(self, jobs: Iterable[Job]) -> None:
        """Carry them out, in the order given."""
        for job in jobs:
            job.function(*job.arguments)

    def close(self) -> None:
        """Nothing is held."""


serial_executor = InOrder()
