"""The command line in processes of its own: exit codes, single error lines, interruptions and whole smoke runs."""

import inspect
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import COMMANDS

from repro import cli, config_help
from repro.bench import measure
from repro.engine import progress
from repro.registry import EXPERIMENTS, load_components
from repro.report import terminal
from repro.training import compute

INTERRUPTED = "interrupted; rerun the same command to resume from the last checkpoint"
MARKUP = "[bold]runs[/bold] :smile: [/] 12"


def repro(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command to its end, without a GPU."""
    command = [sys.executable, "-m", "repro", *words]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False, env=env)


def smoke_command(data: Path, cwd: Path) -> list[str]:
    """Return the command line of a small MNIST run."""
    overrides = [word for override in COMMANDS["mnist"][1:] for word in ("--set", override)]
    return ["mnist", "--profile", "smoke", "--data", str(data), "--out", str(cwd / "out"), *overrides]


def test_bad_input_is_one_clear_line_and_exit_code_2(tmp_path):
    """The installed command; tests/cli/test_bad_input.py has more kinds of bad input."""
    done = repro("mnist", "--set", "seeds=0", cwd=tmp_path)
    assert done.returncode == 2 and "setting seeds" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("columns", ["", "0", "80"])
def test_help_lists_the_commands_at_any_terminal_width(tmp_path, columns):
    done = repro("--help", cwd=tmp_path, COLUMNS=columns)
    assert done.returncode == 0 and all(word in done.stdout for word in (*EXPERIMENTS, "report", "bench", "config"))


def test_help_has_report_only_and_hides_its_former_name(tmp_path):
    done = repro("mnist", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--report-only" in done.stdout and "--finished-only" not in done.stdout


@pytest.mark.parametrize("option", ["--report-only", "--finished-only"])
def test_report_only_and_its_former_name_skip_training(monkeypatch, option):
    calls = []
    monkeypatch.setattr(cli, "run_experiment", lambda name, options: calls.append((name, options.report_only)))
    cli.app(["speech", option], standalone_mode=False)
    assert calls == [("speech", True)]


def test_speed_ratios_are_written_to_the_file_of_the_kind_of_machine(monkeypatch, tmp_path):
    paths = []
    monkeypatch.setattr(measure, "measure", lambda data, path, *others: paths.append(path))
    monkeypatch.setattr(compute, "bf16_units", lambda device: "amx")
    for precision in ("bf16", "fp32"):
        cli.app(["bench", "--device", "cpu", "--precision", precision, "--out", str(tmp_path)], standalone_mode=False)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "results/bench.json", "results/bench_fp32.json"
    ]  # fmt: skip


@pytest.mark.parametrize("command", EXPERIMENTS)
def test_profile_list_is_that_of_the_config_command(capsys, command):
    cli.app([command, "--profile", "list"], standalone_mode=False)
    listed = capsys.readouterr().out
    cli.app(["config", command, "--profile", "list"], standalone_mode=False)
    assert listed == capsys.readouterr().out and EXPERIMENTS[command].name in listed


def test_the_registry_has_the_commands_that_config_describes():
    assert list(EXPERIMENTS) == list(config_help.MODELS)
    for command, experiment in EXPERIMENTS.items():
        components = load_components(command)
        settings = components.settings
        assert (settings.__module__, settings.__name__, experiment.name) == config_help.MODELS[command]
        assert len(inspect.signature(components.run).parameters) == 3
        assert len(inspect.signature(components.examples).parameters) == 2


def test_a_closed_standard_output_is_one_clear_line(tmp_path):
    command = f"{sys.executable} -m repro config mnist >&-"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: standard output is closed; redirect it to a file or to /dev/null\n"


def test_text_in_tables_and_messages_is_no_markup(capsys):
    terminal.show(MARKUP)
    terminal.show(terminal.table(MARKUP, pd.DataFrame({MARKUP: [MARKUP]})))
    assert capsys.readouterr().out.count(MARKUP) == 4
    display = progress.ProgressDisplay(MARKUP)
    display.say(MARKUP)
    assert capsys.readouterr().err == f"{MARKUP}\n"


def test_text_beside_the_progress_bar_is_no_markup():
    display = progress.ProgressDisplay("mnist")
    display.now(MARKUP)
    console = progress.PlainConsole()
    console.file = io.StringIO()
    console.print(display._bar.make_tasks_table(display._bar.tasks), width=200)
    assert MARKUP in console.file.getvalue()


def test_smoke_run_is_locked_interrupted_and_resumed(tmp_path, real_folder, capsys, figures_are_stubs):
    """From the real data to claims.csv, with Ctrl-C on the way and a second command at the same time."""
    words = smoke_command(real_folder, tmp_path)
    first = subprocess.Popen([sys.executable, "-m", "repro", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for_groups(tmp_path / "runs" / "mnist", 3, first)
    first.send_signal(signal.SIGSTOP)  # holds the lock of its runs folder while the second command starts
    second = repro(*words, cwd=tmp_path)
    assert second.returncode == 2 and f"process {first.pid} is writing there" in second.stderr
    first.send_signal(signal.SIGCONT)
    stderr = interrupt(first)
    assert first.returncode == 130 and stderr.splitlines()[-1] == INTERRUPTED

    times = {path: path.stat().st_mtime_ns for path in finished_groups(tmp_path / "runs" / "mnist")}
    last = repro(*words, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in times.items())
    assert "Claims" in last.stdout and "REPRODUCE.md" in last.stdout
    claims = (tmp_path / "out" / "results" / "claims.csv").read_text()
    assert "mnist.teacher_errors" in claims and "theory.logit_matching" in claims
    out = tmp_path / "out"
    cli.app(["report", "--out", str(out)], standalone_mode=False)  # in this process, which starts sooner
    assert capsys.readouterr().out.startswith(f"regenerated {out / 'results'}, ")


def interrupt(process: subprocess.Popen) -> str:
    """Send Ctrl-C, repeatedly as Python drops it in callbacks, and return standard error."""
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=5)[1]
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("the command ignores Ctrl-C")


def finished_groups(folder: Path) -> list[Path]:
    """Return the record files of the finished groups of runs."""
    return sorted(folder.glob("*.json"))


def wait_for_groups(folder: Path, count: int, process: subprocess.Popen) -> None:
    """Wait until ``count`` groups of runs are finished."""
    for _ in range(18_000):
        if len(finished_groups(folder)) >= count:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("no progress in three minutes")


def test_specialists_from_the_embedded_images_to_the_table(tmp_path):
    """One seed without ablations, because each network is evaluated on ten thousand images."""
    overrides = [
        "seeds=1",
        "max_train_examples=1500",
        "generalist.channels=2",
        "extra_generalists=0",
        "specialists.count=2",
        "ablations.num_specialists=1",
        *(f"ablations.{name}=[]" for name in ("specialist_counts", "subset_sizes", "clusterings", "generalist_widths")),
    ]
    words = [word for override in overrides for word in ("--set", override)]
    done = repro("specialists", "--profile", "smoke", "--out", "out", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Claims" in done.stdout and "specialists.relative_gain" in (tmp_path / "out/results/claims.csv").read_text()
