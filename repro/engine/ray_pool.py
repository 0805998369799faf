"""Jobs on a Ray cluster (``--executor ray``): the same code, keys and records as on one machine.

The head, which is the process that the command runs in, owns the kept runs and alone writes to them. The data go to
every node once, through Ray, and so do the kept runs that a job needs; what it makes comes back as the files of its
group. So nodes need no file system in common and no data folder: this package, the same on every node, is enough.

A worker keeps its checkpoints, and what it was sent, in a folder of its node's temporary directory. A job whose node or
worker dies starts again elsewhere, or at its checkpoint if it comes back to the node; the others are not touched.
"""

import logging
import os
import socket
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from repro.engine import store
from repro.engine.files import check_writable
from repro.engine.jobs import Job
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Runner
from repro.engine.scheduler import Parallel, shared
from repro.errors import UserError
from repro.training import compute

# How often a job starts again whose worker died: no node dies that often, a job too large for its memory would.
RETRIES = 20
# The files of a group of runs by their names, in Ray's store; and what comes back of a job: those of its groups.
Files = dict[str, bytes]
Group: TypeAlias = "ray.ObjectRef[Files]"
Made: TypeAlias = "ray.ObjectRef[list[Files]]"


def join() -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine; it ends with the process.

    Raises:
        UserError: there is no cluster at that address, or Ray does not start.
    """
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address not in ("local", "auto"):
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), 10).close()  # Ray itself tries for minutes
        ray.init(address, include_dashboard=False, logging_level=logging.ERROR)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--executor ray: no cluster at {address} (RAY_ADDRESS): {reason}") from error


@dataclass
class Cluster(Parallel[Made]):
    """Every job on a node with room for it."""

    _groups: dict[str, Group] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The cluster."""
        return "on the cluster"

    def submit(self, job: Job, needs: dict[str, Any]) -> Made:
        """To whichever node has room, with the runs that it needs.

        Raises:
            UserError: no node is large enough.
        """
        gpus = job.gpus if self.runner.compute.device.type == "cuda" else 0
        wanted = {"CPU": job.cpus, "GPU": gpus, "memory": job.memory_bytes}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            raise UserError(
                f"--executor ray: no node has the {job.cpus} CPUs, {gpus} GPUs and {job.memory_bytes / 2**30:.0f} GB "
                f"of memory that {job.name} needs"
            )
        task = ray.remote(execute).options(
            name=job.name, num_cpus=job.cpus, num_gpus=gpus, memory=job.memory_bytes, max_retries=RETRIES
        )
        # Within a tuple or a dict a reference is not resolved: a worker fetches what it has not got.
        kept = {key: self._group(key) for key in sorted(needs) if self.runner.store.record(key) is not None}
        threads = min(job.cpus, torch.get_num_threads())
        keys = [self.runner.key(run) for run in job.runs]
        return task.remote(self._shipped, job.function.__name__, job.arguments, (job.runs, keys), kept, threads)

    def _group(self, run: str) -> Group:
        """The files of a kept run's group, put into Ray's store once."""
        group = self.runner.store.group(run)
        if group not in self._groups:
            self._groups[group] = ray.put(self.runner.store.files(run))
        return self._groups[group]

    def wait_any(self, running: list[Made]) -> list[Made]:
        """The next one."""
        return ray.wait(running)[0]

    def cancel(self, unwanted: list[Made]) -> None:
        """At once."""
        for one in unwanted:
            ray.cancel(one, force=True)

    def receive(self, job: Job, done: Made) -> None:
        """Keep what a job made.

        Raises:
            UserError: as the job raised it; or its workers died too often.
        """
        try:
            groups = ray.get(done)
        except RayTaskError as error:
            if isinstance(error.cause, UserError | OSError):
                raise error.cause from None
            raise
        except RayError as error:
            raise UserError(f"--executor ray: {job.name}: {' '.join(str(error).split())[:200]}") from error
        for files in groups:
            self.runner.store.import_group(files)
        self.runner.progress.advance(job.flops)

    @cached_property
    def _shipped(self) -> "RunnerSpec":
        """The runner, for workers."""
        runner = self.runner
        name = f"repro-{store.key([socket.gethostname(), str(runner.store.folder.resolve())])}"
        return RunnerSpec(name, type(runner), (ray.put(shared(runner)),))


@dataclass(frozen=True)
class RunnerSpec:
    """What a worker makes its runner of: a name of its folder, and the fields that it shares with the head's."""

    name: str
    kind: type[Runner]
    state: tuple["ray.ObjectRef[dict[str, Any]]"]


class NullProgress(ProgressDisplay):
    """A worker's watch: the head's advances when the job is done."""

    def __init__(self) -> None:
        super().__init__("")

    def advance(self, flops: float) -> None:
        """Show nothing."""


# The runner of this worker process, by what it was made of.
_runners: dict[Any, Runner] = {}


def runner_here(shipped: RunnerSpec) -> Runner:
    """This worker's runner, made when its first job comes."""
    if shipped.state not in _runners:
        _runners.clear()  # the data of one experiment at a time
        folder = Path(tempfile.gettempdir()) / shipped.name
        check_writable(folder)
        state = ray.get(shipped.state[0])
        compute.choose(state["compute"].device.type, state["compute"].precision)  # as the head did: there, and set up
        _runners[shipped.state] = shipped.kind(**state, store=store.Store(folder), progress=NullProgress())
    return _runners[shipped.state]


def execute(
    shipped: RunnerSpec,
    function: str,
    arguments: tuple[Any, ...],
    made: tuple[list[Any], list[str]],
    needs: dict[str, Group],
    threads: int,
) -> list[Files]:
    """In a worker: carry out a job.

    Args:
        shipped: what the worker's runner is made of.
        function: the name of the runner's method that is the job.
        arguments: its arguments.
        made: the runs that it makes, and their keys at the head.
        needs: by the key of a run, the files of its group.
        threads: how many threads compute.

    Returns:
        The files of each group of runs that was made.

    Raises:
        UserError: this node's code is not the head's; or as the job raises it.
    """
    torch.set_num_threads(threads)
    runner = runner_here(shipped)
    if [runner.key(run) for run in made[0]] != made[1]:
        raise UserError(f"--executor ray: {socket.gethostname()} has another version of this package than the head")
    for key, files in needs.items():
        if runner.store.record(key) is None:
            runner.store.import_group(ray.get(files))
    getattr(runner, function)(*arguments)
    return list({runner.store.group(key): runner.store.files(key) for key in made[1]}.values())
