"""Ray cluster of two nodes: the same records as on one machine, also when a node dies."""

import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import digits, make_runner, same

from repro import config, session
from repro.__main__ import main
from repro.data.mnist import Mnist
from repro.data.types import ImageSet
from repro.engine import worker
from repro.errors import UserError
from repro.mnist import experiment
from repro.mnist.settings import MnistSettings
from repro.variants import experiment as variants
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Arm, TimingRun, teacher_run
from repro.variants.settings import VariantsSettings

pytestmark = pytest.mark.timeout(600)  # of seven seconds: a cluster starts and dies slowly on a busy machine

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
ray_pool = pytest.importorskip("repro.engine.ray_pool")

# Room for one MNIST job or two of the variants; each node has its own temporary directory.
NODE = {"num_cpus": 2, "memory": 8 << 30, "object_store_memory": 200 << 20}


@pytest.fixture(scope="module")
def folders():
    """Temporary directory of each node, with a short path because paths of sockets are limited to 107 bytes."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        yield [Path(first), Path(second)]


def add_node(cluster, folder: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        return cluster.add_node(**NODE)


@pytest.fixture(scope="module")
def cluster(folders):
    """Cluster whose first node is the head, which this process joins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_health_check_period_ms", "500")
        nodes = cluster_utils.Cluster()
        add_node(nodes, folders[0])
        patch.setenv("RAY_ADDRESS", nodes.address)
        session.executor("ray")
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture
def second(cluster, folders):
    """Second node, started again if a test has killed it."""
    nodes = list(cluster.worker_nodes)
    return nodes[0] if nodes else add_node(cluster, folders[1])


def on_ray(runner):
    runner.executor = session.executor("ray")(runner)
    return runner


@pytest.fixture
def mnist():
    return config.load(MnistSettings, config.profile_path("mnist", "smoke"))


def longer(settings: MnistSettings, epochs: int) -> MnistSettings:
    """The settings with a longer training of the baseline, which can be disturbed."""
    recipe = settings.baseline.recipe.model_copy(update={"epochs": epochs})
    return settings.model_copy(update={"baseline": settings.baseline.model_copy(update={"recipe": recipe})})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Settings, a run, and the runner on this machine that executed it."""
    settings = longer(config.load(MnistSettings, config.profile_path("mnist", "smoke")), epochs=100)
    run = experiment.headline_runs(settings, 1)[1]
    local = make_runner(tmp_path_factory.mktemp("here"), settings, digits())
    local.execute([run])
    return settings, run, local


def test_mnist_records_are_the_same_on_two_nodes(second, runner_for, toy, mnist, folders):
    runners = []
    for folder, place in (("here", lambda runner: runner), ("there", on_ray)):
        runner = place(runner_for(mnist, toy, folder))
        headline = [run for seed in range(2) for run in experiment.headline_runs(mnist, seed)]
        runner.execute(headline)  # submitted together: students wait for their teachers
        runner.execute(experiment.missing_class_runs(mnist, 0)[:2])
        runners.append(runner)
    same(*reversed(runners))
    assert all(list(folder.glob("repro-*/*.json")) for folder in folders), "both nodes executed jobs"


def test_records_of_dependent_runs_are_the_same_on_two_nodes(second, runner_for, stripy):
    settings = config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"))
    runners = []
    for folder, place in (("here", lambda runner: runner), ("there", on_ray)):
        runner = place(runner_for(settings, stripy, folder, kind=VariantsRunner))
        soft = variants.grid(settings.baseline, None)[0]
        students = variants.students(settings, settings.baseline, soft)
        # Submitted together: each model waits for its teacher, and an ensemble for its models.
        runner.execute(
            [
                teacher_run(settings),
                *variants.sequential(settings, soft),
                *students,
                *variants.born_again_ensembles(settings),
            ]
        )
        runners.append(runner)
    same(*reversed(runners))
    costs = [TimingRun(Arm.TIMING, (students[0],), students[0], params=(("row", "KD"),))]  # timed in the driver
    assert runners[1].execute(costs)[0]["machine"]["threads"] == torch.get_num_threads()


def test_jobs_of_a_node_that_dies_are_executed_by_the_other(cluster, second, runner_for, toy, mnist, folders):
    long = longer(mnist, epochs=30)
    runs = [experiment.headline_runs(long, seed)[1] for seed in (1, 2)]
    local = runner_for(long, toy, "here")
    local.execute(runs)
    runner = on_ray(runner_for(long, toy, "there"))
    before = [scratch(folder) for folder in folders]
    killer = threading.Thread(target=kill_at_work, args=(cluster, second, folders[1], before[1]))
    killer.start()
    runner.execute(runs)
    killer.join()
    same(runner, local)
    deadline = time.monotonic() + 30  # the head notices a death by its health checks
    while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sum(node["Alive"] for node in ray.nodes()) == 1
    (left,) = scratch(folders[0]) - before[0]
    assert len(list(left.glob("*.json"))) == 2, "the remaining node executed the job of the other as well"


@pytest.mark.parametrize("send", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_is_replaced_and_one_that_is_stopped_is_named(
    second, runner_for, toy, undisturbed, monkeypatch, send
):
    monkeypatch.setattr(worker, "STALL_SECONDS", 1.0)
    monkeypatch.setattr(ray_pool, "REPORT_SECONDS", 0.5)  # in the driver alone
    settings, run, local = undisturbed
    lines: list[str] = []

    def say(text: object) -> None:
        lines.append(str(text))
        for process in re.findall(r"process (\d+)", str(text)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGCONT)

    signalled: list[int] = []
    for attempt in range(5):  # under load the job may end before its worker is seen at work
        runner = on_ray(runner_for(settings, toy, f"there {send} {attempt}"))
        monkeypatch.setattr(runner.progress, "say", say)
        ended = threading.Event()
        killer = threading.Thread(target=signal_at_work, args=(runner, send, signalled, ended))
        killer.start()
        runner.execute([run])
        ended.set()
        killer.join()
        same(runner, local)
        if signalled:
            break
    assert signalled
    if send == signal.SIGSTOP:
        assert any(f"(process {signalled[0]}) has made no progress" in line for line in lines)


def signal_at_work(runner, send: int, signalled: list[int], ended: threading.Event) -> None:
    """Send a signal to the first worker that the monitor knows to be busy, until the job has ended."""
    while not signalled and not ended.is_set():
        time.sleep(0.02)
        if "_runner_spec" in vars(runner.executor):
            for name in ray.get(runner.executor._runner_spec.monitor[0].idle.remote()):
                signalled.append(int(re.findall(r"process (\d+)", name)[0]))
                os.kill(signalled[-1], send)
                break


def scratch(folder: Path) -> set[Path]:
    """Return the folders of runners in a node's temporary directory."""
    return set(folder.glob("repro-*"))


def kill_at_work(cluster, node, folder: Path, before: set[Path]) -> None:
    """Kill a node shortly after it has started a runner's first job."""
    deadline = time.monotonic() + 60
    while not scratch(folder) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)


def test_an_error_in_a_job_is_one_line(cluster, runner_for, toy, mnist):
    blank = Mnist(ImageSet(toy.train.images * float("nan"), toy.train.labels), toy.test, "blank")
    runner = on_ray(runner_for(mnist, blank))
    with pytest.raises(UserError, match=r"^baseline, seed 0: training diverged") as caught:
        runner.execute([experiment.headline_runs(mnist, 0)[1]])
    assert "\n" not in str(caught.value)
    large = on_ray(runner_for(mnist, toy, "large"))
    jobs = [replace(job, cpus=3) for job in large.jobs([experiment.headline_runs(mnist, 0)[1]])]
    with pytest.raises(UserError, match="no node has the 3 CPUs, 0 GPUs and 2 GB of memory that baseline needs"):
        large.executor(jobs)


def test_another_version_of_the_code_on_a_node_is_reported(cluster, runner_for, toy, mnist):
    runner, run = on_ray(runner_for(mnist, toy)), experiment.headline_runs(mnist, 0)[1]
    runner._keys[run] = "made by other code"
    with pytest.raises(UserError, match="has another version of this package than the head"):
        runner.execute([run])


@pytest.mark.parametrize(
    ("name", "address", "message"),
    [
        ("slurm", "", "must be one of local, ray, not 'slurm'"),
        ("ray", "", 'Ray is not installed; pip install -e ".[ray]"'),
        ("ray", "127.0.0.1:9", "no cluster at 127.0.0.1:9 (RAY_ADDRESS)"),
        ("ray", "nowhere", "no cluster at nowhere (RAY_ADDRESS)"),
    ],
)
def test_a_missing_cluster_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, name, address, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["repro", "mnist", "--profile", "smoke", "--executor", name])
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
    else:
        monkeypatch.delitem(sys.modules, "repro.engine.ray_pool", raising=False)
        monkeypatch.delattr("repro.engine.ray_pool", raising=False)
        monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as ended:
        main()
    stderr = capsys.readouterr().err
    # Without what the processes of the cluster before it still write.
    lines = [line for line in stderr.strip().splitlines() if not re.match(r"\x1b\[\d+m\(\w+ pid=\d+", line)]
    assert ended.value.code == 2 and message in stderr and len(lines) == 1
