"""Jobs, the units of work that executors schedule, and the serial executor.

``local_pool`` executes single-core jobs in parallel on this machine, and ``ray_pool`` all jobs on a cluster.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """A call that depends on its arguments and the stored runs alone, with the resources that it needs.

    Attributes:
        name: name in progress messages.
        function: method of a runner that stores the runs.
        arguments: runs to be made, or lists of them.
        flops: floating-point operations, for the progress display.
        cpus: cores. Default: 2.
        gpus: GPUs, if the device is one. Default: 1.
        memory_bytes: memory. Default: 4 GiB.
        driver_only: execute in the command's own process while no other job runs: the job measures time, uses all
            cores or reads local files. Default: no.
    """

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    flops: float
    cpus: int = 2
    gpus: int = 1
    memory_bytes: int = 4 << 30
    driver_only: bool = False

    @property
    def runs(self) -> list[Any]:
        """The runs that the job makes."""
        return [run for item in self.arguments for run in (item if isinstance(item, list) else [item])]


class Executor(Protocol):
    """Executor of jobs.

    Attributes:
        max_in_flight: maximum number of jobs that are executed side by side.
    """

    max_in_flight: int

    def __call__(self, jobs: Iterable[Job]) -> None: ...

    def close(self) -> None:
        """Release workers; no more jobs follow."""


class InOrder:
    """Executor of one job after another in the command's own process, on all cores."""

    max_in_flight = 1

    def __call__(self, jobs: Iterable[Job]) -> None:
        """Execute the jobs in the given order."""
        for job in jobs:
            job.function(*job.arguments)

    def close(self) -> None:
        """Do nothing: no workers are held."""


serial_executor = InOrder()
