"""Local pool: the same results as in order, and recovery from killed, stopped and failing workers."""

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
from processes import children_of, command_of, new_workers, wait_for

from repro import config
from repro.__main__ import main
from repro.engine import local_pool, worker
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
    """Function that makes runners of the variants, by default with two workers, which end with the test."""
    runners = []

    def make(settings: VariantsSettings, folder: str, max_in_flight: int = 2) -> VariantsRunner:
        runner = runner_for(settings, stripy, folder, kind=VariantsRunner)
        if max_in_flight > 1:
            runner.executor = local_pool.LocalPoolExecutor(runner, max_in_flight)
        runners.append(runner)
        return runner

    yield make
    for runner in runners:
        runner.executor.close()


def test_dependent_runs_give_the_same_records_in_two_workers_as_in_order(make, icons, monkeypatch):
    torch.set_num_threads(1)  # in order, too: sums of convolutions depend on it
    runners = []
    for folder, max_in_flight in (("in order", 1), ("at once", 2)):
        runner = make(icons, folder, max_in_flight)
        soft = experiment.grid(icons.baseline, None)[0]
        students = experiment.students(icons, icons.baseline, soft)
        # Submitted together: each model waits for its teacher, and an ensemble for its models.
        runner.execute(
            [
                teacher_run(icons),
                *experiment.sequential(icons, soft),
                *students,
                *experiment.born_again_ensembles(icons),
            ]
        )
        runners.append(runner)
    same(*runners)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    runner.executor.close()
    (net,) = runner.execute([experiment.student(icons, Arm.METHOD, 7, params=NO_KD)])
    assert net["machine"]["threads"] == 1, "workers use one thread whatever OMP_NUM_THREADS is"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # in this process alone
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    (cost,) = runner.execute([TimingRun(Arm.TIMING, (students[0],), students[0], params=(("row", "KD"),))])
    assert cost["machine"]["threads"] == 2, "timings are measured in the driver"


def test_the_progress_display_adds_up_the_work_of_all_workers(make, icons, monkeypatch):
    runner = make(icons, "runs")
    runs = [teacher_run(icons), *(experiment.student(icons, Arm.METHOD, seed, params=NO_KD) for seed in (0, 1))]
    reported: list[float] = []
    monkeypatch.setattr(runner.progress, "advance", reported.append)
    runner.execute(runs)
    assert sum(reported) == pytest.approx(sum(runner.flops(run) for run in runs))


def test_a_killed_worker_raises_a_one_line_error_and_a_rerun_gives_the_same_records(make, icons):
    long = icons.student.recipe.model_copy(update={"epochs": 30})
    settings = icons.model_copy(update={"student": icons.student.model_copy(update={"recipe": long})})
    runs = [teacher_run(settings), *(experiment.student(settings, Arm.METHOD, seed, params=NO_KD) for seed in (0, 1))]
    local, runner = make(settings, "in order", 1), make(settings, "at once")
    local.execute(runs)
    before = set(children_of(os.getpid()))
    runner.execute(runs[:1])
    (victim,) = new_workers(before)
    killer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
    killer.start()
    with pytest.raises(UserError, match=r"^worker \d \(process \d+\) was killed by SIGKILL") as caught:
        runner.execute(runs)
    assert "\n" not in str(caught.value)
    runner.execute(runs)  # new processes
    same(runner, local)


def test_workers_killed_at_random_moments_never_block_the_driver(make, icons):
    kill_repeatedly(make, icons, kills=3, seconds=60.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_storm_of_kills_never_blocks_the_driver(make, icons):
    kill_repeatedly(make, icons, kills=200, seconds=600.0)


def kill_repeatedly(make, settings: VariantsSettings, kills: int, seconds: float) -> None:
    """Kill a worker at a random moment of each of ``kills`` attempts, then execute the same runs to the end.

    New attempts are not started after ``seconds``. Runs with new seeds replace completed ones, so that there is always
    work to interrupt.
    """
    deadline, moments = time.monotonic() + seconds, random.Random(0)
    runner, seed, killed = make(settings, "runs"), 0, 0
    runner.execute([teacher_run(settings)])
    runner.executor.close()
    runs: list = []
    while killed < kills and time.monotonic() < deadline:
        if all(runner.is_finished(run) for run in runs):
            runs = [experiment.student(settings, Arm.METHOD, seed + n, params=NO_KD) for n in range(3)]
            seed += 3
        before, stop, victims = set(children_of(os.getpid())), threading.Event(), list[int]()
        killer = threading.Thread(target=kill_a_worker, args=(before, moments.uniform(0, 3), stop, victims))
        killer.start()
        try:
            runner.execute(runs)
        except UserError as error:
            assert "was killed by SIGKILL (out of memory?). Rerun to resume" in str(error)
        stop.set()
        killer.join(10)
        runner.executor.close()
        killed += len(victims)
    runner.execute(runs)
    assert killed and all(runner.is_finished(run) for run in runs)
    assert not list(runner.store.folder.glob("*.damaged")) and not list(runner.store.folder.glob("*.checkpoint"))


def kill_a_worker(before: set[int], delay: float, stop: threading.Event, victims: list[int]) -> None:
    """Kill the first new worker, ``delay`` seconds after it appears or when ``stop`` is set, and add it to victims."""
    while not stop.is_set():
        if workers := new_workers(before):
            stop.wait(delay)
            with contextlib.suppress(ProcessLookupError):
                os.kill(workers[0], signal.SIGKILL)
                victims.append(workers[0])
            return
        time.sleep(0.01)


def test_a_stopped_worker_is_reported_and_finishes_after_it_continues(make, icons, monkeypatch):
    monkeypatch.setattr(worker, "STALL_SECONDS", 2.0)
    runner = make(icons, "runs")
    before = set(children_of(os.getpid()))
    runner.execute([teacher_run(icons)])
    (stopped,) = new_workers(before)
    lines = []

    def say(text: object) -> None:
        lines.append(str(text))
        os.kill(stopped, signal.SIGCONT)

    monkeypatch.setattr(runner.progress, "say", say)
    os.kill(stopped, signal.SIGSTOP)
    runner.execute([experiment.student(icons, Arm.METHOD, 0, params=NO_KD)])
    assert any(f"process {stopped}" in line and "no progress" in line for line in lines)


def test_corrupt_weights_that_several_jobs_need_are_regenerated_once(make, icons, capsys):
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


def test_an_error_in_a_job_is_one_line_and_the_pool_stays_usable(make, icons):
    runner = make(icons, "runs")
    steep = icons.student.recipe.model_copy(update={"learning_rate": 1e30, "max_norm": None})
    with pytest.raises(UserError, match="training diverged") as caught:
        runner.execute([teacher_run(icons), experiment.student(icons, Arm.METHOD, 0, params=NO_KD, recipe=steep)])
    assert "\n" not in str(caught.value)
    runner.execute([experiment.student(icons, Arm.METHOD, 0, params=NO_KD)])  # the next is as good as any


@pytest.mark.parametrize("send", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are listed in /proc")
def test_no_worker_outlives_its_command_and_a_rerun_completes_it(tmp_path, monkeypatch, figures_are_stubs, send):
    if compute.memory_bytes() < 2 * local_pool.PROCESS_BYTES:
        pytest.skip("not enough memory for two workers")
    write_pets(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    command = words("variants", "runs", tmp_path)
    output, stored = tmp_path / "output", tmp_path / "runs" / "variants"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "repro", *command],
            cwd=tmp_path, env=environment, stderr=file, stdout=file, start_new_session=True,
        )  # fmt: skip
        wait_for(lambda: len(list(stored.glob("*.json"))) >= 3 or process.poll() is not None, 120)
        children = children_of(process.pid)
        if send == signal.SIGINT:
            os.killpg(process.pid, send)  # as a terminal sends it: to all
        else:
            process.send_signal(send)
        process.wait(30)
    assert process.returncode == (130 if send == signal.SIGINT else -send), output.read_text()
    assert sum("spawn_main" in line for line in children.values()) == 2
    assert "Traceback" not in output.read_text()
    wait_for(lambda: not any(command_of(child) for child in children), 10)
    if send != signal.SIGKILL:
        return  # from here on, the same
    before = {path.name: path.read_bytes() for path in stored.glob("*.json")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["repro", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert before and before.items() <= {path.name: path.read_bytes() for path in stored.glob("*.json")}.items()
    assert not list(stored.glob("*.unfinished")) and not list(stored.glob("*.damaged"))
    (records,) = (tmp_path / "runs-out").rglob("records.jsonl")
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    labels = {label(record["arm"], record["params"]) for record in lines}
    assert {"teacher", "KD", "hints", "born again, generation 2", "timing: hints"} <= labels


def test_execution_is_serial_on_one_core_with_little_memory_or_on_a_gpu(monkeypatch, make, icons):
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


def test_the_memory_limit_of_a_container_is_respected(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(compute, "MEMORY_LIMITS", (limit,))
    whole = compute.memory_bytes()
    assert whole > 1 << 30
    limit.write_text("max\n")
    assert compute.memory_bytes() == whole
    limit.write_text("1073741824\n")
    assert compute.memory_bytes() == 1 << 30
