"""Faults: corrupt files are detected and regenerated, a full disk is reported at every write, clocks may jump."""

import builtins
import contextlib
import errno
import hashlib
import io
import itertools
import json
import random
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import blobs, draw_stubs
from matplotlib.figure import Figure

from repro import __main__
from repro.data import mnist
from repro.data.mnist import Mnist
from repro.data.speech import sources, synth
from repro.data.speech.sources import CorpusSource
from repro.engine import files, store
from repro.errors import UserError
from repro.mnist import runner
from repro.report import build
from repro.speech.decoding import pipeline
from repro.training import trainer

CHANGES = ("max_train_examples=600", "seeds=1", "temperature_sweep.temperatures=[1.0,20.0]",
           "temperature_sweep.widest_only_temperatures=[]",
           "data_fractions.fractions=[{fraction=1.0,epochs=1}]")  # fmt: skip
COMMAND = ("mnist", "--profile", "smoke", *(word for change in CHANGES for word in ("--set", change)))


def prepare(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have commands run in the folder on toy digits, with stubs instead of figures."""
    digits = Mnist(blobs(1200, 0), blobs(300, 1), "toy")
    patch.chdir(folder)
    patch.setattr(runner, "load", lambda folder: digits)
    draw_stubs(patch)
    patch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)


def exit_code(command: tuple[str, ...], patch: pytest.MonkeyPatch) -> int:
    patch.setattr(sys, "argv", ["repro", *command])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    return int(end.value.code or 0)


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Function that runs a command line in an empty folder and returns its exit code and its stderr."""
    prepare(tmp_path, monkeypatch)
    return lambda *command: (exit_code(command, monkeypatch), capfd.readouterr().err)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Runs folder of a command without faults."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        prepare(folder, patch)
        assert exit_code(COMMAND, patch) == 0
    return folder / "runs"


def test_mnist_choice_trains_and_reports_recipes(run, tmp_path):
    recipe = "recipe={epochs=1,batch_size=50,learning_rate=0.003}"
    net = f"model={{hidden=[16],temperature=4.0,hard_label_weight=0.5,{recipe}}}"
    candidates = [f"{{name='{arm} recipe',kind='{arm}',{net}}}" for arm in ("teacher", "baseline", "distilled")]
    code, stderr = run(
        "mnist-choice", "--set", f"candidates=[{','.join(candidates)}]", "--set", "max_train_examples=1200"
    )
    assert code == 0, stderr
    table = (tmp_path / "runs/choice-changed/results/mnist/choice/recipes.csv").read_text()
    assert all(f"{arm} recipe" in table for arm in ("teacher", "baseline", "distilled"))


class FullDisk:
    """Full disk for each file below a folder at its first write, which fails as on /dev/full."""

    def __init__(self, folder: Path, monkeypatch):
        self.folder = folder.resolve()
        self.refused: set[Path] = set()
        plain = builtins.open

        def open(file, mode="r", *arguments, **named):
            if isinstance(file, str | Path) and set(mode) & set("wxa"):
                path = self._target(Path(file))
                if self.folder in path.parents and path not in self.refused:
                    self.refused.add(path)
                    return plain("/dev/full", mode, *arguments, **named)
            return plain(file, mode, *arguments, **named)

        monkeypatch.setattr(builtins, "open", open)
        monkeypatch.setattr(io, "open", open)  # as pathlib calls it

    @staticmethod
    def _target(path: Path) -> Path:
        """Return the file that a temporary name stands for."""
        name = path.name.removesuffix(".unfinished")
        return path.resolve().with_name(name if name == path.name else name.rpartition(".")[0])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(folder: Path) -> dict[str, list]:
    """Return all records without wall times, and all weights, by file name."""
    stored = {path.name: json.loads(path.read_text())["records"] for path in folder.glob("*.json")}
    return {
        name: [record | {"wall_seconds": 0} for record in records] for name, records in stored.items()
    } | {path.name: [path.read_bytes()] for path in folder.glob("*.safetensors")}  # fmt: skip


def damaged_copy(content: bytes, draw: random.Random) -> bytes:
    """Return the content truncated at a random position, or with one byte changed there."""
    place = draw.randrange(len(content))
    if draw.random() < 0.5:
        return content[:place]
    return content[:place] + bytes([content[place] ^ draw.randrange(1, 256)]) + content[place + 1 :]


def test_every_changed_byte_and_every_truncation_of_a_tensor_file_is_detected(tmp_path):
    """Changes that are not detected do not change the tensors: they are in white space of the header."""
    tensors, about = {"a": torch.arange(5.0), "b": torch.arange(3)}, {"counts": [1, 2.5], "history": []}
    path = tmp_path / "tensors"
    files.save_tensors(path, tensors, about)
    content, passed = path.read_bytes(), 0
    altered = [content[:n] + bytes([byte ^ mask]) + content[n + 1 :] for n, byte in enumerate(content)
               for mask in (1, 32, 255)]  # fmt: skip
    for damaged in [*altered, *(content[:n] for n in range(len(content)))]:
        path.write_bytes(damaged)
        try:
            loaded, metadata = files.load_tensors(path)
        except files.CorruptFile:
            continue
        passed += 1
        assert metadata == about and all(torch.equal(loaded[name], value) for name, value in tensors.items())
    assert passed < 30, "only white space of the header may change"


def test_every_changed_byte_and_every_truncation_of_a_record_is_detected(tmp_path, capfd):
    filled = store.Store(tmp_path)
    record = {"key": "a", "metrics": {"errors": 3, "rate": 0.25, "name": "é"}, "curve": [[1, None]]}
    filled.add("group", [record], {})
    path = tmp_path / "group.json"
    content = path.read_bytes()
    for n, byte in enumerate(content):
        for damaged in (content[:n], content[:n] + bytes([byte ^ 1]) + content[n + 1 :]):
            path.write_bytes(damaged)
            stored = store.Store(tmp_path).record("a")
            assert stored == record or (stored is None and "group.json is damaged" in capfd.readouterr().err)
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_files_damaged_between_two_commands_are_reported_and_regenerated(tmp_path, run, whole, seed):
    """Damage a student's record, its teacher's soft targets and weights: each is needed to regenerate the previous."""
    shutil.copytree(whole / "mnist", tmp_path / "runs" / "mnist")
    folder, draw = tmp_path / "runs" / "mnist", random.Random(seed)
    records = [(path, record) for path in folder.glob("*.json") for record in json.loads(path.read_text())["records"]]
    students = sorted(
        (path, record["settings"]["teacher"]) for path, record in records if record["settings"]["teacher"]
    )
    student, teacher = draw.choice(students)
    group = next(path for path, record in records if record["key"] == teacher)
    damaged = [student, folder / f"{teacher}.logits", group.with_suffix(".safetensors")]
    for path in damaged:
        path.write_bytes(damaged_copy(path.read_bytes(), draw))
    code, stderr = run(*COMMAND)
    assert code == 0 and results(folder) == results(whole / "mnist")
    assert all(f"{path.relative_to(tmp_path)} is damaged" in stderr for path in damaged), stderr
    assert all(path.with_name(f"{path.name}.damaged").exists() for path in damaged)


def test_runs_that_were_trained_together_are_regenerated_together(tmp_path, run):
    """Damage two teachers' weights in one file: --report-only changes nothing, else both are regenerated."""
    changes = [change for change in CHANGES if change != "seeds=1"] + ["seeds=2", "batch_seeds=true"]
    settings = [word for change in changes for word in ("--set", change)]
    command = ("mnist", "--profile", "smoke", *settings, "--runs", "runs")
    assert run(*command)[0] == 0
    folder = tmp_path / "runs" / "mnist"
    before = results(folder)
    groups = {path: json.loads(path.read_text())["records"] for path in folder.glob("*.json")}
    teachers = next(path for path, records in groups.items() if records[0]["arm"] == "teacher")
    student = next(path for path, records in groups.items() if records[0]["settings"]["teacher"])
    assert len(groups[teachers]) == 2
    weights = teachers.with_suffix(".safetensors")
    weights.write_bytes(damaged_copy(weights.read_bytes(), random.Random(0)))
    for path in (student, *folder.glob("*.logits")):
        path.unlink()
    damaged = contents(folder)
    for _ in range(2):
        code, stderr = run(*command, "--report-only", "--out", "reported")
        assert code == 2 and "corrupt weights (teacher, seed 0)" in stderr and contents(folder) == damaged
    code, stderr = run(*command)
    assert code == 0 and f"{weights.relative_to(tmp_path)} is damaged" in stderr and results(folder) == before


def test_a_damaged_language_model_is_not_used(tmp_path, monkeypatch):
    """The file has no digest and is therefore written again by every command."""
    written = []
    monkeypatch.setattr(pipeline.language_model, "estimate", lambda *_: _Model(written))
    monkeypatch.setattr(pipeline, "in_turn", lambda *_: torch.tensor([0]))
    monkeypatch.setattr(pipeline, "pronunciations", lambda *_: {})
    frames = SimpleNamespace(ids=["u"])
    data = SimpleNamespace(digest="d", transcripts={"u": ()}, train=frames, validation=frames, test=frames)
    for _ in range(2):
        task = pipeline.make_task(SimpleNamespace(lexicon={}), data, tmp_path, 1, 1)
        assert task.language_model.read_text() == "whole"
        task.language_model.write_text("damaged")
    assert len(written) == 2


class _Model:
    vocabulary = ()

    def __init__(self, written: list[Path]):
        self.written = written

    def write(self, path: Path) -> None:
        self.written.append(path)
        path.write_text("whole")

    def perplexity(self, _) -> tuple[float, int]:
        return 1.0, 0


def test_a_full_disk_at_any_file_of_a_run_is_reported_and_a_rerun_completes_it(tmp_path, monkeypatch, run, whole):
    """The first write of each file of a run fails: records, weights, soft targets and checkpoints."""
    monkeypatch.setattr(build, "report", lambda folder: None)
    monkeypatch.setattr("repro.report.terminal.closing", lambda *_: "")
    disk, errors = FullDisk(tmp_path / "runs" / "mnist", monkeypatch), []
    for _ in range(200):
        before = contents(tmp_path / "runs") if (tmp_path / "runs").exists() else {}
        code, stderr = run(*COMMAND, "--runs", "runs")
        if code == 0:
            break
        last = stderr.splitlines()[-1]
        assert code == 2 and last.startswith("error: ") and last.endswith("(No space left on device)"), stderr
        errors.append(last)
        after = contents(tmp_path / "runs")
        finished = {name for name in before if name.endswith((".json", ".safetensors"))}
        assert all(after[name] == before[name] for name in finished), "earlier results are intact"
        assert not [name for name in after if name.endswith(".unfinished")]
    assert code == 0 and len(errors) == len(disk.refused)
    kinds = {path.suffix for path in disk.refused if path.suffix in (".json", ".safetensors", ".logits", ".checkpoint")}
    assert len(kinds) == 4 and all(any(path.name in line for line in errors) for path in disk.refused - trials(disk))
    assert results(tmp_path / "runs" / "mnist") == results(whole / "mnist")


def trials(disk: FullDisk) -> set[Path]:
    """Return the files that are written to check that a folder can be written to."""
    return {path for path in disk.refused if path.name.startswith(".trial") or path.name == "lock"}


def test_a_full_disk_at_any_file_of_a_report_leaves_the_old_or_the_new_file(tmp_path, monkeypatch, run, whole):
    out = shutil.copytree(whole / "smoke-changed", tmp_path / "out")
    sections = [section for find in build.SECTIONS for section in find(out)]
    drawn = Figure()
    for section in sections:  # drawing is slow and not tested here
        for name, (caption, _) in section.figures.items():
            section.figures[name] = (caption, lambda: drawn)
    monkeypatch.setattr(build, "SECTIONS", (lambda folder: sections,))
    new = contents(out)
    made = {name for name in new if Path(name).name not in ("records.jsonl", "shown.json", "lock")}
    for name in made:
        (out / name).write_bytes(b"old")
    disk = FullDisk(out, monkeypatch)
    for _ in range(200):
        code, stderr = run("report", "--out", str(out))
        now = contents(out)
        assert now.keys() == new.keys() and all(now[name] in (b"old", new[name]) for name in made)
        if code == 0:
            break
        assert code == 2 and "No space left on device" in stderr.splitlines()[-1], stderr
    assert now == new and {str(path.relative_to(out.resolve())) for path in disk.refused} == made
    assert {Path(name).suffix for name in made} == {".csv", ".md", ".png", ".svg", ".html"}


def test_after_a_full_disk_at_the_report_a_rerun_makes_the_report_alone(tmp_path, monkeypatch, run, whole):
    runs = shutil.copytree(whole, tmp_path / "runs") / "mnist"
    before, out = contents(runs), tmp_path / "out"
    plain = build.write

    def full(path: Path, content: bytes) -> None:
        if path.name == "claims.csv":
            raise UserError(f"{path}: cannot be written (No space left on device)")
        plain(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(build, "write", full)
        code, stderr = run(*COMMAND, "--out", "out")
    assert code == 2 and "claims.csv: cannot be written" in stderr.splitlines()[-1]
    stored = (out / "results" / "mnist" / "paper" / "records.jsonl").read_bytes()
    assert run(*COMMAND, "--out", "out")[0] == 0 and (out / "REPRODUCE.md").exists()
    assert contents(runs) == before, "nothing was trained again"
    assert (out / "results" / "mnist" / "paper" / "records.jsonl").read_bytes() == stored


def test_a_full_disk_during_a_download_is_reported_with_the_file(tmp_path, monkeypatch):
    fetched = {name: name.encode() for name in mnist.DIGESTS}
    monkeypatch.setattr(mnist, "DIGESTS", {n: hashlib.md5(content).hexdigest() for n, content in fetched.items()})
    monkeypatch.setattr(mnist, "_from_torchvision", lambda: fetched)
    disk = FullDisk(tmp_path, monkeypatch)
    for count, name in enumerate(fetched, 1):
        with pytest.raises(UserError, match=f"{name}: .*No space left"):
            mnist._fetch(tmp_path / "raw")
        assert len(disk.refused) == count
    mnist._fetch(tmp_path / "raw")
    assert contents(tmp_path / "raw") == fetched


def test_a_full_disk_during_speech_synthesis_is_reported_with_the_corpus(tmp_path, monkeypatch):
    def build(root: Path, settings: synth.SynthSettings, **_) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")  # as from write(), without a file name

    monkeypatch.setattr(synth, "build", build)
    with pytest.raises(UserError, match=r"synth-\w+: cannot be written \(No space left on device\)"):
        sources.load(CorpusSource(), tmp_path)


def test_a_full_disk_at_standard_output_is_reported_with_exit_code_2(run, monkeypatch):
    full = open("/dev/full", "w")  # noqa: SIM115  # closing fails as well
    monkeypatch.setattr(sys, "stdout", full)
    code, stderr = run("--version")
    assert code == 2 and "standard output" in stderr and "No space left" in stderr
    with contextlib.suppress(OSError):
        full.close()


def test_a_jumping_clock_does_not_change_results(tmp_path, monkeypatch, run, whole):
    monkeypatch.setattr(build, "report", lambda folder: None)
    monkeypatch.setattr("repro.report.terminal.closing", lambda *_: "")
    jumps = itertools.cycle([0.0, 1e9, -3e8, 4e9, 1.0])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int(next(jumps) * 1e9))
    assert run(*COMMAND, "--runs", "jumping")[0] == 0
    assert results(tmp_path / "jumping" / "mnist") == results(whole / "mnist")
    for path in (tmp_path / "jumping" / "mnist").glob("*.json"):
        assert all(0 <= record["wall_seconds"] < 60 for record in json.loads(path.read_text())["records"])


def test_durations_are_measured_with_monotonic_clocks():
    code = "".join(path.read_text(encoding="utf-8") for path in Path(files.__file__).parents[1].rglob("*.py"))
    assert "time.monotonic()" in code and not any(word in code for word in ("time.time(", "datetime.now", "utcnow"))
