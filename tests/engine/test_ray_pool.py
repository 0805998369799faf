"""Jobs on a Ray cluster of two nodes end as they do here; so they do when one of the nodes dies."""

import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import same

from repro import config, session
from repro.__main__ import main
from repro.data.mnist import LabelledSet, Mnist
from repro.errors import UserError
from repro.mnist import experiment
from repro.mnist.settings import MnistSettings
from repro.variants import experiment as variants
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Arm, TimingRun, teacher_run
from repro.variants.settings import VariantsSettings

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

# A node holds one job of MNIST's at a time, or two of the variants', and has a temporary directory of its own.
NODE = {"num_cpus": 2, "memory": 8 << 30, "object_store_memory": 200 << 20}


@pytest.fixture(scope="module")
def folders():
    """Each node's temporary directory; short, for sockets lie below it, whose paths may have 107 bytes."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        yield [Path(first), Path(second)]


def add_node(cluster, folder: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        return cluster.add_node(**NODE)


@pytest.fixture(scope="module")
def cluster(folders):
    """Two nodes; the first is the head, which this process joins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_health_check_period_ms", "500")
        found = cluster_utils.Cluster()
        add_node(found, folders[0])
        patch.setenv("RAY_ADDRESS", found.address)
        session.executor("ray")
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture
def second(cluster, folders):
    """The node that is not the head, there at the start of a test."""
    nodes = list(cluster.worker_nodes)
    return nodes[0] if nodes else add_node(cluster, folders[1])


def on_ray(runner):
    runner.executor = session.executor("ray")(runner)
    return runner


@pytest.fixture
def mnist():
    return config.load(MnistSettings, config.profile_path("mnist", "smoke"))


def test_mnist_is_the_same_on_two_nodes(second, runner_for, toy, mnist, folders):
    found = []
    for folder, place in (("here", lambda runner: runner), ("there", on_ray)):
        runner = place(runner_for(mnist, toy, folder))
        heads = [run for seed in range(3) for run in experiment.headline_runs(mnist, seed)]
        runner.execute(heads)  # teachers and their students at once: what learns waits for its teacher
        runner.execute(experiment.missing_class_runs(mnist, 0)[:2])
        found.append(runner)
    same(*reversed(found))
    assert all(list(folder.glob("repro-*/*.json")) for folder in folders), "both nodes had work"


def test_chains_are_the_same_on_two_nodes(second, runner_for, stripy):
    own = config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"))
    found = []
    for folder, place in (("here", lambda runner: runner), ("there", on_ray)):
        runner = place(runner_for(own, stripy, folder, kind=VariantsRunner))
        soft = variants.grid(own.baseline, None)[0]
        students = variants.students(own, own.baseline, soft)
        # All at once: on the cluster, each net waits for its teacher, and a mean for its nets.
        runner.execute(
            [teacher_run(own), *variants.sequential(own, soft), *students, *variants.born_again_ensembles(own)]
        )
        found.append(runner)
    same(*reversed(found))
    costs = [
        TimingRun(Arm.TIMING, (students[0],), students[0], params=(("row", "KD"),))
    ]  # is timed here, where nothing else runs
    assert found[1].execute(costs)[0]["machine"]["threads"] == torch.get_num_threads()


def test_a_node_that_dies_costs_its_unfinished_runs_alone(cluster, second, runner_for, toy, mnist, folders):
    recipe = mnist.baseline.recipe.model_copy(update={"epochs": 60})
    long = mnist.model_copy(update={"baseline": mnist.baseline.model_copy(update={"recipe": recipe})})
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
    deadline = time.monotonic() + 30  # the head learns of a death by its health checks
    while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sum(node["Alive"] for node in ray.nodes()) == 1
    (left,) = scratch(folders[0]) - before[0]
    assert len(list(left.glob("*.json"))) == 2, "the node that is left did the other's job, too"


def scratch(folder: Path) -> set[Path]:
    """The folders of runners in a node's temporary directory, where others leave theirs, too."""
    return set(folder.glob("repro-*"))


def kill_at_work(cluster, node, folder: Path, before: set[Path]) -> None:
    """Kill a node soon after it has begun with a runner's first job."""
    deadline = time.monotonic() + 60
    while not scratch(folder) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)


def test_what_is_wrong_in_a_job_is_one_line(cluster, runner_for, toy, mnist):
    blank = Mnist(LabelledSet(toy.train.images * float("nan"), toy.train.labels), toy.test, "blank")
    runner = on_ray(runner_for(mnist, blank))
    with pytest.raises(UserError, match=r"^baseline, seed 0: training diverged") as caught:
        runner.execute([experiment.headline_runs(mnist, 0)[1]])
    assert "\n" not in str(caught.value)
    large = on_ray(runner_for(mnist, toy, "large"))
    jobs = [replace(job, cpus=3) for job in large.jobs([experiment.headline_runs(mnist, 0)[1]])]
    with pytest.raises(UserError, match="no node has the 3 CPUs, 0 GPUs and 4 GB of memory that baseline needs"):
        large.executor(jobs)


def test_another_version_of_the_code_on_a_node_is_named(cluster, runner_for, toy, mnist):
    runner, run = on_ray(runner_for(mnist, toy)), experiment.headline_runs(mnist, 0)[1]
    runner._keys[run] = "made by other code"
    with pytest.raises(UserError, match="has another version of this package than the head"):
        runner.execute([run])


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        ("slurm", "", "must be one of local, ray, not 'slurm'"),
        ("ray", "", 'Ray is not installed; pip install -e ".[ray]"'),
        ("ray", "127.0.0.1:9", "no cluster at 127.0.0.1:9 (RAY_ADDRESS)"),
        ("ray", "nowhere", "no cluster at nowhere (RAY_ADDRESS)"),
    ],
)
def test_no_cluster_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, name, address, said):
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
    told = capsys.readouterr().err
    assert ended.value.code == 2 and said in told and len(told.strip().splitlines()) == 1
