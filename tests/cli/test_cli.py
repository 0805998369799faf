"""The command line as a person uses it: one clear line and exit code 2, interruptions, a whole smoke run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from commands import COMMANDS

ROOT = Path(__file__).parents[2]


def repro(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "repro", *words]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False, env=hidden)


def smoke(real_folder: Path, cwd: Path) -> list[str]:
    changes = [word for change in COMMANDS["mnist"][1:] for word in ("--set", change)]
    return ["mnist", "--profile", "smoke", "--data", str(real_folder), "--out", str(cwd / "out"), *changes]


def test_bad_input_is_one_clear_line_and_exit_code_2(tmp_path):
    """The installed command; tests/test_bad_input.py has what else may be wrong."""
    done = repro("mnist", "--set", "seeds=0", cwd=tmp_path)
    assert done.returncode == 2 and "setting seeds" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_help_tells_the_commands(tmp_path):
    done = repro("--help", cwd=tmp_path)
    assert done.returncode == 0 and all(word in done.stdout for word in ("mnist", "report", "bench"))
    assert repro("mnist", "--help", cwd=tmp_path).returncode == 0


def test_smoke_doubled_interrupted_and_finished(tmp_path, real_folder):
    """From the real data to claims.csv; Ctrl-C on the way, and a second command at the same time."""
    words = smoke(real_folder, tmp_path)
    command = [sys.executable, "-m", "repro", *words]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "runs" / "mnist", 3, first)
    first.send_signal(signal.SIGSTOP)  # it holds its folder while the second one comes
    second = repro(*words, cwd=tmp_path)
    assert second.returncode == 2 and "another run is writing there" in second.stderr
    first.send_signal(signal.SIGCONT)
    said = interrupted(first)
    assert first.returncode == 130 and "interrupted; rerun the same command to resume from the last checkpoint" in said

    times = {path: path.stat().st_mtime_ns for path in finished(tmp_path / "runs" / "mnist")}
    last = repro(*words, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert all(path.stat().st_mtime_ns == when for path, when in times.items())
    assert "Claims" in last.stdout and "REPRODUCE.md" in last.stdout
    claims = (tmp_path / "out" / "results" / "claims.csv").read_text()
    assert "mnist.teacher_errors" in claims and "theory.logit_matching" in claims


def interrupted(process: subprocess.Popen) -> str:
    """Ctrl-C, again where Python was in a place where it drops it; what was said."""
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=5)[1]
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("it goes on")


def finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def wait_for(folder: Path, count: int, process: subprocess.Popen) -> None:
    """Until so many groups of runs are finished."""
    for _ in range(18_000):
        if len(finished(folder)) >= count:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("no progress in three minutes")


def test_specialists_from_the_embedded_images_to_the_table(tmp_path):
    """One seed and no studies, for each net is judged on ten thousand images; others see every step."""
    less = [
        "seeds=1",
        "extra_generalists=0",
        "specialists.count=2",
        "ablations.num_specialists=1",
        *(f"ablations.{name}=[]" for name in ("specialist_counts", "subset_sizes", "clusterings", "generalist_widths")),
    ]
    words = [word for change in less for word in ("--set", change)]
    done = repro("specialists", "--profile", "smoke", "--out", "out", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Claims" in done.stdout and "specialists.relative_gain" in (tmp_path / "out/results/claims.csv").read_text()
