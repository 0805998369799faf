"""Execution of jobs on a Ray cluster (``--executor ray``), with the same code, keys and records as on one machine.

The driver, which is the process of the command, owns the runs folder and alone writes to it. Data are sent to every
node once, through Ray's object store, and so are the stored runs that a job depends on; the files of the groups that a
job makes come back. Nodes therefore need the same version of this package, but no shared file system and no data.

A worker keeps its checkpoints and the runs that it received in a folder of its node's temporary directory. A job whose
node or worker dies is started again, from the beginning on another node or from its checkpoint on the same one; other
jobs are not affected.
"""

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from repro.engine import store, worker
from repro.engine.files import check_writable
from repro.engine.jobs import Job
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Runner
from repro.engine.scheduler import Parallel, Task, shared_fields
from repro.errors import UserError, reason
from repro.training import compute

# Restarts of a job whose worker died: more than nodes are lost in practice, so that only a job too large for its memory
# fails.
RETRIES = 20
# Seconds between two reports of a worker to the monitor, and between two questions of the driver to it.
REPORT_SECONDS = 5.0
# Contents of a group's files by name; a reference to them in Ray's object store; a reference to a job's result.
Files = dict[str, bytes]
GroupRef: TypeAlias = "ray.ObjectRef[Files]"
ResultRef: TypeAlias = "ray.ObjectRef[list[Files]]"


def join() -> None:
    """Join the cluster at RAY_ADDRESS; without that variable, start one on this machine that ends with the process.

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
        raise UserError(f"--executor ray: no cluster at {address} (RAY_ADDRESS): {reason(error)}") from error


@dataclass
class Cluster(Parallel[ResultRef]):
    """Executor of all jobs on the nodes of a cluster; Ray places and queues them."""

    _groups: dict[str, GroupRef] = field(default_factory=dict)
    _asked_at: float = 0.0
    # Workers that were named as stalled.
    _stalled: set[str] = field(default_factory=set)

    @property
    def location(self) -> str:
        """The cluster, for the progress display."""
        return "on the cluster"

    def submit(self, job: Job, dependencies: dict[str, Any]) -> ResultRef:
        """Submit a job with references to the runs that it needs.

        Raises:
            UserError: no node is large enough.
        """
        gpus = job.gpus if self.runner.compute.device.type == "cuda" else 0
        required = {"CPU": job.cpus, "GPU": gpus, "memory": job.memory_bytes}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= amount for name, amount in required.items()) for node in nodes):
            raise UserError(
                f"--executor ray: no node has the {job.cpus} CPUs, {gpus} GPUs and {job.memory_bytes / 2**30:.0f} GB "
                f"of memory that {job.name} needs"
            )
        remote = ray.remote(execute).options(
            name=job.name, num_cpus=job.cpus, num_gpus=gpus, memory=job.memory_bytes, max_retries=RETRIES
        )
        # Ray does not resolve references inside a tuple or a dict: a worker fetches only what it lacks.
        stored = {key: self._group_ref(key) for key in sorted(dependencies) if self.runner.store.record(key)}
        threads = min(job.cpus, torch.get_num_threads())
        keys = [self.runner.key(run) for run in job.runs]
        return remote.remote(self._runner_spec, Task.of(job), keys, stored, threads)

    def _group_ref(self, run: str) -> GroupRef:
        """Return a reference to the files of a stored run's group, which are put into Ray's object store once."""
        group = self.runner.store.group(run)
        if group not in self._groups:
            self._groups[group] = ray.put(self.runner.store.files(group))
        return self._groups[group]

    def wait_any(self, running: list[ResultRef]) -> list[ResultRef]:
        """Wait for the next job that is done, and name workers that stall meanwhile."""
        while not (ready := ray.wait(running, timeout=1)[0]):
            self._name_stalled_workers()
        return ready

    def _name_stalled_workers(self) -> None:
        if time.monotonic() - self._asked_at < min(REPORT_SECONDS, worker.STALL_SECONDS):
            return
        self._asked_at, idle = time.monotonic(), {}
        with contextlib.suppress(RayError):  # the monitor is started again if its node was lost
            idle = ray.get(self._runner_spec.monitor[0].idle.remote(), timeout=10)
        stalled = {name: seconds for name, seconds in idle.items() if seconds > worker.STALL_SECONDS}
        for name in stalled.keys() - self._stalled:
            self.runner.progress.say(
                f"{name} has made no progress for {stalled[name] / 60:.0f} minutes (stopped, or its node lost?)"
            )
        self._stalled = set(stalled)

    def cancel(self, running: list[ResultRef]) -> None:
        """Cancel jobs at once, killing their workers."""
        for handle in running:
            ray.cancel(handle, force=True)

    def receive(self, job: Job, handle: ResultRef) -> None:
        """Store the groups that a job made.

        Raises:
            UserError: the job raised it, or its workers died too often.
        """
        try:
            groups = ray.get(handle)
        except RayTaskError as error:
            if isinstance(error.cause, UserError | OSError):
                raise error.cause from None
            raise
        except RayError as error:
            raise UserError(f"--executor ray: {job.name}: {reason(error)}") from error
        for files in groups:
            self.runner.store.import_group(files)
        self.runner.progress.advance(job.flops)

    @cached_property
    def _runner_spec(self) -> "RunnerSpec":
        """The specification of this runner for workers."""
        runner = self.runner
        name = f"repro-{store.key([socket.gethostname(), str(runner.store.folder.resolve())])}"
        monitor = ray.remote(num_cpus=0, max_restarts=-1)(Monitor).remote()
        return RunnerSpec(name, type(runner), (ray.put(shared_fields(runner)),), (monitor,))


@dataclass(frozen=True)
class RunnerSpec:
    """Specification of a worker's runner.

    Attributes:
        folder_name: name of the worker's folder in the temporary directory.
        kind: class of the runner.
        state: reference to the fields shared with the driver's runner, in a tuple so that Ray does not resolve it.
        monitor: handle of the monitor that workers report to.
    """

    folder_name: str
    kind: type[Runner]
    state: tuple["ray.ObjectRef[dict[str, Any]]"]
    monitor: tuple[Any]


class Monitor:
    """Actor that knows when the worker of each running job last made progress."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[str, float]] = {}

    def report(self, job: str, worker_name: str) -> None:
        """Note that a job makes progress in a worker, which may have replaced another."""
        self._reports[job] = (worker_name, time.monotonic())

    def end(self, job: str) -> None:
        """Note that a job has ended."""
        self._reports.pop(job, None)

    def idle(self) -> dict[str, float]:
        """Return the seconds since the last report of each worker."""
        return {name: time.monotonic() - at for name, at in self._reports.values()}


class ReportingProgress(ProgressDisplay):
    """Progress of a worker, which is not shown: the driver's display advances when a job is done.

    The monitor gets a report every ``REPORT_SECONDS``.
    """

    def __init__(self, monitor: Any):
        """``monitor`` is the handle of a ``Monitor``."""
        super().__init__("")
        self._monitor, self._job, self._reported_at = monitor, "", 0.0
        self._worker_name = f"the worker on {socket.gethostname()} (process {os.getpid()})"

    @contextlib.contextmanager
    def job(self, key: str) -> Iterator[None]:
        """Report the start and the end of a job."""
        self._job = key
        self._report()
        try:
            yield
        finally:
            self._monitor.end.remote(key)

    def advance(self, flops: float) -> None:
        """Report progress, at most once in ``REPORT_SECONDS``."""
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        self._monitor.report.remote(self._job, self._worker_name)  # the answer is not awaited


# The runner of this worker process, by its state.
_runners: dict[Any, Runner] = {}


def worker_runner(spec: RunnerSpec) -> Runner:
    """Return the runner of this worker process, which is constructed for the first job."""
    if spec.state not in _runners:
        _runners.clear()  # holds the data of at most one experiment in memory
        folder = Path(tempfile.gettempdir()) / spec.folder_name
        check_writable(folder)
        state = ray.get(spec.state[0])
        compute.choose(state["compute"].device.type, state["compute"].precision)  # sets the precision of this process
        # The folder is temporary and its disk may be memory: caches are not kept there.
        state |= {"keeps_caches": False, "store": store.Store(folder), "progress": ReportingProgress(spec.monitor[0])}
        _runners[spec.state] = spec.kind(**state)
    return _runners[spec.state]


def execute(
    spec: RunnerSpec, task: Task, keys: list[str], dependencies: dict[str, GroupRef], threads: int
) -> list[Files]:
    """Execute a task in a worker process.

    Args:
        spec: specification of the worker's runner.
        task: the task.
        keys: keys that the runs of the task have in the driver.
        dependencies: references to the groups that the task reads, by the key of a run.
        threads: number of threads.

    Returns:
        The files of each group of runs that the task stored.

    Raises:
        UserError: this node has another version of the code, or the task raised it.
    """
    torch.set_num_threads(threads)
    runner = worker_runner(spec)
    if [runner.key(run) for run in task.runs] != keys:
        raise UserError(f"--executor ray: {socket.gethostname()} has another version of this package than the head")
    assert isinstance(runner.progress, ReportingProgress)
    with runner.progress.job(keys[0]):
        for key, group in dependencies.items():
            if runner.store.record(key) is None:
                runner.store.import_group(ray.get(group))
        return [runner.store.files(group) for group in task.execute(runner)]
