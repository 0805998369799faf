"""Jobs side by side in processes of one thread end as they do one after another; kills and errors cost nothing more."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from commands import words
from conftest import same, write_pets

from repro import config
from repro.engine import local_pool
from repro.engine.jobs import serial_executor
from repro.errors import UserError
from repro.training import compute
from repro.variants import experiment
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Arm, TimingRun, label, teacher_run
from repro.variants.settings import VariantsSettings

NO_KD = (("name", "no KD"),)


@pytest.fixture
def icons() -> VariantsSettings:
    return config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"))


@pytest.fixture
def make(runner_for, stripy):
    """Makes runners of the variants; two jobs at a time unless told otherwise. Their processes end with the test."""
    made = []

    def make(settings: VariantsSettings, folder: str, max_in_flight: int = 2) -> VariantsRunner:
        runner = runner_for(settings, stripy, folder, kind=VariantsRunner)
        if max_in_flight > 1:
            runner.executor = local_pool.LocalPoolExecutor(runner, max_in_flight)
        made.append(runner)
        return runner

    yield make
    for runner in made:
        runner.executor.close()


def test_chains_are_the_same_in_two_processes(make, icons, monkeypatch):
    found = []
    for folder, max_in_flight in (("in order", 1), ("at once", 2)):
        runner = make(icons, folder, max_in_flight)
        soft = experiment.grid(icons.baseline, None)[0]
        students = experiment.students(icons, icons.baseline, soft)
        # All at once: each net waits for its teacher, and a mean for its nets.
        runner.execute(
            [
                teacher_run(icons),
                *experiment.sequential(icons, soft),
                *students,
                *experiment.born_again_ensembles(icons),
            ]
        )
        found.append(runner)
    same(*found)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    runner.executor.close()
    (net,) = runner.execute([experiment.student(icons, Arm.METHOD, 7, params=NO_KD)])
    assert net["machine"]["threads"] == 1, "a process has one thread, whatever it is told"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # in this process alone
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    (cost,) = runner.execute([TimingRun(Arm.TIMING, (students[0],), students[0], params=(("row", "KD"),))])
    assert cost["machine"]["threads"] == 2, "times are measured by the command itself"


def test_the_watch_shows_what_the_processes_do(make, icons, monkeypatch):
    runner = make(icons, "runs")
    runs = [teacher_run(icons), *(experiment.student(icons, Arm.METHOD, seed, params=NO_KD) for seed in (0, 1))]
    told = []
    monkeypatch.setattr(runner.progress, "advance", told.append)
    runner.execute(runs)
    assert sum(told) == pytest.approx(sum(runner.flops(run) for run in runs))


def test_a_process_that_is_killed_is_one_line_and_costs_its_own_work_alone(make, icons):
    long = icons.student.recipe.model_copy(update={"epochs": 60})
    settings = icons.model_copy(update={"student": icons.student.model_copy(update={"recipe": long})})
    runs = [teacher_run(settings), *(experiment.student(settings, Arm.METHOD, seed, params=NO_KD) for seed in (0, 1))]
    local, runner = make(settings, "in order", 1), make(settings, "at once")
    local.execute(runs)
    before = set(children_of(os.getpid()))
    runner.execute(runs[:1])
    (victim,) = (one for one in set(children_of(os.getpid())) - before if "spawn_main" in command_of(one))
    killer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
    killer.start()
    with pytest.raises(UserError, match="a process that trained was killed") as caught:
        runner.execute(runs)
    assert "\n" not in str(caught.value)
    runner.execute(runs)  # new processes
    same(runner, local)


@pytest.mark.timeout(120)
def test_kills_at_random_moments_end_with_one_line(make, icons):
    runner = make(icons, "runs")
    runs = [teacher(icons), *(experiment.student(icons, "no distillation", seed) for seed in range(3))]
    moments = random.Random(0)
    for _ in range(3):
        before, stop = set(children_of(os.getpid())), threading.Event()
        killer = threading.Thread(target=kill_a_worker, args=(before, moments.uniform(0, 1), stop))
        killer.start()
        with contextlib.suppress(UserError):
            runner.execute(runs)
        stop.set()
        killer.join(10)
        runner.executor.close()
    runner.execute(runs)
    assert all(runner.is_finished(run) for run in runs)


def kill_a_worker(before: set[int], delay: float, stop: threading.Event) -> None:
    """Kill the first new worker process, ``delay`` seconds after it appears."""
    while not stop.is_set():
        new = [one for one in set(children_of(os.getpid())) - before if "spawn_main" in command_of(one)]
        if new:
            stop.wait(delay)
            with contextlib.suppress(ProcessLookupError):
                os.kill(new[0], signal.SIGKILL)
            return
        time.sleep(0.01)


@pytest.mark.timeout(120)
def test_a_stopped_worker_is_named_and_goes_on(make, icons, monkeypatch):
    monkeypatch.setattr(local_pool, "STALL_SECONDS", 2.0)
    runner = make(icons, "runs")
    before = set(children_of(os.getpid()))
    runner.execute([teacher(icons)])
    (worker,) = (one for one in set(children_of(os.getpid())) - before if "spawn_main" in command_of(one))
    lines = []

    def say(text: object) -> None:
        lines.append(str(text))
        os.kill(worker, signal.SIGCONT)

    monkeypatch.setattr(runner.progress, "say", say)
    os.kill(worker, signal.SIGSTOP)
    runner.execute([experiment.student(icons, "no distillation", 0)])
    assert any(f"process {worker}" in line and "no progress" in line for line in lines)


def test_damaged_weights_that_many_jobs_need_are_made_again_once(make, icons, capsys):
    runs = [teacher_run(icons), *experiment.students(icons, icons.baseline, experiment.grid(icons.baseline, None)[0])]
    runner = make(icons, "runs")
    runner.execute(runs[:1])
    weights = runner.store.folder / f"{runner.key(runs[0])}.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    again = make(icons, "runs")
    again.execute(runs)
    assert weights.read_bytes() == whole and all(again.is_finished(run) for run in runs)
    assert len(list(again.store.folder.glob("*.damaged"))) == 1
    assert capsys.readouterr().err.count("is damaged") == 1


def test_what_is_wrong_in_a_job_is_one_line(make, icons):
    runner = make(icons, "runs")
    steep = icons.student.recipe.model_copy(update={"learning_rate": 1e30, "max_norm": None})
    with pytest.raises(UserError, match="training diverged") as caught:
        runner.execute([teacher_run(icons), experiment.student(icons, Arm.METHOD, 0, params=NO_KD, recipe=steep)])
    assert "\n" not in str(caught.value)
    runner.execute([experiment.student(icons, Arm.METHOD, 0, params=NO_KD)])  # the next is as good as any


@pytest.mark.parametrize("send", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_no_process_outlives_its_command_and_all_is_taken_up_again(tmp_path, real_folder, send):
    if compute.memory_bytes() < 2 * local_pool.PROCESS_BYTES:
        pytest.skip("memory for one process")
    write_pets(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "repro", *words("variants", "runs", tmp_path)]
    said, kept = tmp_path / "said", tmp_path / "runs" / "variants"
    with said.open("w") as file:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stderr=file, stdout=file, start_new_session=True
        )
        wait_for(lambda: len(list(kept.glob("*.json"))) >= 3 or process.poll() is not None, 120)
        children = children_of(process.pid)
        if send == signal.SIGINT:
            os.killpg(process.pid, send)  # as a terminal sends it: to all
        else:
            process.send_signal(send)
        process.wait(30)
    assert process.returncode == (130 if send == signal.SIGINT else -send), said.read_text()
    assert sum("spawn_main" in one for one in children.values()) == 2
    assert "Traceback" not in said.read_text()
    wait_for(lambda: not any(command_of(child) for child in children), 10)
    if send != signal.SIGKILL:
        return  # from here on, the same
    before = {path.name: path.read_bytes() for path in kept.glob("*.json")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert before and before.items() <= {path.name: path.read_bytes() for path in kept.glob("*.json")}.items()
    assert not list(kept.glob("*.unfinished")) and not list(kept.glob("*.damaged"))
    (records,) = (tmp_path / "runs-out").rglob("records.jsonl")
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    labels = {label(record["arm"], record["params"]) for record in lines}
    assert {"teacher", "KD", "hints", "born again, generation 2", "timing: hints"} <= labels


def wait_for(what, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children_of(process: int) -> dict[int, str]:
    """The command lines of a process's children."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return {int(child): command_of(int(child)) for task in tasks for child in task.read_text().split()}


def command_of(process: int) -> str:
    """What a process runs; nothing where it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_one_after_another_where_there_is_one_core_or_little_memory_or_a_gpu(monkeypatch, make, icons):
    runner = make(icons, "runs", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(compute, "memory_bytes", lambda: 7 << 30)
    assert local_pool.local(runner).max_in_flight == 3
    monkeypatch.setattr(compute, "memory_bytes", lambda: 3 << 30)
    assert local_pool.local(runner) is serial_executor
    monkeypatch.setattr(compute, "memory_bytes", lambda: 64 << 30)
    assert local_pool.local(runner).max_in_flight == 8
    runner.compute = compute.Compute(torch.device("cuda"), "bf16")
    assert local_pool.local(runner) is serial_executor
    runner.compute = compute.choose("cpu", "fp32")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert local_pool.local(runner) is serial_executor


def test_a_containers_memory_counts(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(compute, "MEMORY_LIMITS", (limit,))
    whole = compute.memory_bytes()
    assert whole > 1 << 30
    limit.write_text("max\n")
    assert compute.memory_bytes() == whole
    limit.write_text("1073741824\n")
    assert compute.memory_bytes() == 1 << 30
