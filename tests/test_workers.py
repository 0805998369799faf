"""Jobs side by side in processes of one thread end as they do one after another; kills and errors cost nothing more."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import same, write_pets

from repro import config
from repro.core import compute, workers
from repro.core.executor import one_after_another
from repro.errors import UserError
from repro.variants import experiment
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Cost, teacher
from repro.variants.settings import VariantsSettings


@pytest.fixture
def icons() -> VariantsSettings:
    return config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"))


def side_by_side(runner):
    runner.executor = workers.SideBySide(runner, 2)
    return runner


def test_chains_are_the_same_in_two_processes(runner_for, stripy, icons):
    found = []
    for folder, place in (("in order", lambda runner: runner), ("at once", side_by_side)):
        runner = place(runner_for(icons, stripy, folder, kind=VariantsRunner))
        soft = experiment.tried(icons.baseline, None)[0]
        students = experiment.students(icons, icons.baseline, soft)
        # All at once: each net waits for its teacher, and a mean for its nets.
        runner.carry_out([teacher(icons), *experiment.chains(icons, soft), *students, *experiment.ensembles(icons)])
        found.append(runner)
    same(*found)
    threads = torch.get_num_threads()
    (cost,) = found[1].carry_out([Cost("cost", (students[0],), students[0])])
    assert cost["machine"]["threads"] == threads, "times are measured by the command itself"
    assert all(record["machine"]["threads"] == 1 for key, record in found[1].finished.items() if key[0] != "cost")


def test_a_process_that_is_killed_is_one_line_and_costs_its_own_work_alone(runner_for, stripy, icons):
    long = icons.student.recipe.model_copy(update={"epochs": 60})
    settings = icons.model_copy(update={"student": icons.student.model_copy(update={"recipe": long})})
    runs = [teacher(settings), *(experiment.student(settings, "no distillation", seed) for seed in (0, 1))]
    local = runner_for(settings, stripy, "in order", kind=VariantsRunner)
    local.carry_out(runs)
    runner = side_by_side(runner_for(settings, stripy, "at once", kind=VariantsRunner))
    runner.carry_out(runs[:1])
    victim = multiprocessing.active_children()[0]
    killer = threading.Timer(0.2, victim.kill)
    killer.start()
    with pytest.raises(UserError, match="a process that trained was killed") as caught:
        runner.carry_out(runs)
    assert "\n" not in str(caught.value)
    runner.carry_out(runs)  # new processes
    same(runner, local)


def test_what_is_wrong_in_a_job_is_one_line(runner_for, stripy, icons):
    runner = side_by_side(runner_for(icons, stripy, kind=VariantsRunner))
    steep = icons.student.recipe.model_copy(update={"learning_rate": 1e30, "max_norm": None})
    with pytest.raises(UserError, match="training diverged") as caught:
        runner.carry_out([teacher(icons), experiment.student(icons, "no distillation", 0, recipe=steep)])
    assert "\n" not in str(caught.value)
    runner.carry_out([experiment.student(icons, "no distillation", 0)])  # the next is as good as any


@pytest.mark.parametrize("send", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_its_command_and_all_is_taken_up_again(tmp_path, real_folder, send):
    write_pets(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    if not two_at_once(environment):
        pytest.skip("one core")
    command = [sys.executable, "-m", "repro", "variants", "--profile", "smoke_icons", "--precision", "fp32"]
    command += ["--set", "data.source=folder", "--set", "data.folder=pets", "--set", "teacher.recipe.batch=16"]
    command += ["--set", "student.recipe.batch=16", "--runs", "runs", "--out", "out"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=said, stdout=said)
        kept = tmp_path / "runs" / "variants"
        wait_for(lambda: len(list(kept.glob("*.json"))) >= 3 or process.poll() is not None, 120)
        children = children_of(process.pid)
        process.send_signal(send)
        process.wait(30)
    assert process.returncode != 0 and len(children) >= 2, (tmp_path / "said").read_text()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10)
    before = {path.name: path.read_bytes() for path in kept.glob("*.json")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert before and before.items() <= {path.name: path.read_bytes() for path in kept.glob("*.json")}.items()
    assert not list(kept.glob("*.unfinished")) and not list(kept.glob("*.damaged"))
    (records,) = (tmp_path / "out").rglob("records.jsonl")
    roles = {json.loads(line)["role"] for line in records.read_text().splitlines()}
    assert {"teacher", "soft targets", "gap", "view"} <= roles


def two_at_once(environment: dict[str, str]) -> bool:
    command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout) >= 2


def wait_for(what, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_one_after_another_where_there_is_one_core_or_little_memory_or_a_gpu(monkeypatch, runner_for, stripy, icons):
    runner = runner_for(icons, stripy, kind=VariantsRunner)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(compute, "memory_bytes", lambda: 7 << 30)
    assert workers.local(runner).processes == 3
    monkeypatch.setattr(compute, "memory_bytes", lambda: 3 << 30)
    assert workers.local(runner) is one_after_another
    monkeypatch.setattr(compute, "memory_bytes", lambda: 64 << 30)
    assert workers.local(runner).processes == 8
    runner.compute = compute.Compute(torch.device("cuda"), "bf16")
    assert workers.local(runner) is one_after_another
    runner.compute = compute.choose("cpu", "fp32")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert workers.local(runner) is one_after_another
