"""``repro doctor``: every check finds what is broken, says what to do, stands alone and leaves nothing behind."""

import errno
import importlib
import os
import shutil
import sys
import time
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import filelock
import pool_handlers
import pytest
import torch

from repro import __main__, cli, doctor
from repro.data import icons, mnist
from repro.data.speech import librispeech
from repro.doctor import hardware, software, storage
from repro.doctor.finding import Finding, Status, isolated, ok
from repro.engine import files
from repro.errors import UserError
from repro.report import plotting
from repro.training import compute

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working directory of a test, empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPRO_DATA", raising=False)
    return tmp_path


def findings(check, status: Status | None = None) -> list[Finding]:
    """Return the findings of a check, of one status if given."""
    return [finding for finding in isolated(check) if status in (None, finding.status)]


def only(check, status: Status) -> str:
    """Return the single finding of a status, with its advice."""
    (finding,) = findings(check, status)
    return f"{finding.text} -> {finding.advice}"


def snapshot(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_an_environment_that_works_has_no_error_and_is_left_as_it_was(here, monkeypatch, capsys):
    monkeypatch.setattr(hardware, "MEASURED_SECONDS", 0.02)
    (here / "out").mkdir()
    before = snapshot(here)
    monkeypatch.setattr(sys, "argv", ["repro", "doctor", "--data", "data", "--runs", "some/runs", "--out", "out"])
    start = time.monotonic()
    with pytest.raises(SystemExit) as end:
        __main__.main()
    text = capsys.readouterr().out
    assert end.value.code == 0 and "\n0 errors, " in text, text
    assert time.monotonic() - start < 60 and snapshot(here) == before
    lines = text.splitlines()[:-1]
    assert all(line.startswith(("ok      ", "warning ")) for line in lines)
    for words in ("Python 3.", "commit ", "torch 2", "pydantic 2", "auto chooses", "bf16 units", "GB of it available",
                  "--runs some/runs: not there yet", "--out out: writable", "MNIST: not in data", "icons: as committed",
                  "letters: as committed", "png of", "answered after", "GFLOP/s",
                  "mnist, profile paper: "):  # fmt: skip
        assert words in text, words


def test_an_error_gives_exit_code_2_and_a_check_that_raises_does_not_stop_the_others():
    def broken():
        yield ok("begins well")
        raise ZeroDivisionError("two\nlines")

    def refused():
        raise UserError("--data x: is not a folder")

    def ends():
        raise SystemExit("bye")

    lines: list[str] = []
    checks = {"first": broken, "second": refused, "end": ends, "third": lambda: iter([ok("fine")])}
    assert doctor.report(checks, lines.append) == 2
    assert lines[0] == "ok      first: begins well" and lines[4] == "ok      third: fine"
    assert lines[1].startswith("error   first: the check itself failed (ZeroDivisionError: two lines)")
    assert lines[3].startswith("error   end: the check itself failed (SystemExit: bye)")
    assert lines[2] == "error   second: --data x: is not a folder" and lines[5:] == ["3 errors, 0 warnings"]
    assert doctor.report({"third": checks["third"]}, lines.append) == 0


def test_every_check_is_in_the_report_under_its_name(here, monkeypatch):
    monkeypatch.setattr(cli.typer, "Exit", lambda code: UserError(str(code)))
    monkeypatch.setattr(doctor, "report", lambda checks, say: ",".join(checks))
    with pytest.raises(UserError, match="versions,packages,variables,terminal,processor,device,memory,folders,data,"):
        cli.app(["doctor"], standalone_mode=False)


def test_a_missing_an_old_and_a_broken_package_are_named(monkeypatch):
    plain_version, plain_import = metadata.version, importlib.import_module

    def version(name):
        if name == "pocketsphinx":
            raise metadata.PackageNotFoundError(name)
        return "1.9.5" if name == "numpy" else plain_version(name)

    def load(name):
        if name == "torchaudio":
            raise OSError("undefined symbol: torch_library_impl")
        if name == "soundfile":
            raise SystemExit("no libsndfile")
        return plain_import(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(importlib, "import_module", load)
    texts = [finding.text for finding in findings(software.packages, Status.ERROR)]
    assert len(texts) == 4 and any("soundfile" in text and "no libsndfile" in text for text in texts)
    assert any("torchaudio" in text and "undefined symbol" in text for text in texts)
    assert {"pocketsphinx is not installed", "numpy 1.9.5 is too old, 1.26 is needed"} < set(texts)
    shown = findings(software.packages, Status.OK)
    assert "pocketsphinx" not in shown[0].text and "numpy (2." in shown[1].text, "differs from constraints.txt"


def test_without_a_checkout_the_requirements_are_those_of_the_installed_package(monkeypatch, tmp_path):
    monkeypatch.setattr(software, "CHECKOUT", tmp_path)
    monkeypatch.setattr(metadata, "requires", lambda name: ["filelock>=3.16", 'ray>=2; extra == "ray"'])
    assert [finding.text for finding in findings(software.packages)] == [f"filelock {metadata.version('filelock')}"]
    monkeypatch.setattr(metadata, "requires", lambda name: ["no-such-package>=1"])
    assert "no-such-package is not installed" in only(software.packages, Status.ERROR)


def test_variables_are_shown_and_malformed_ones_are_named(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "two")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    text = " ".join(f"{each.status} {each.text}" for each in findings(software.variables))
    assert "ok OMP_NUM_THREADS=two" not in text and "warning OMP_NUM_THREADS=two is not a number" in text
    assert "warning ONEDNN_MAX_CPU_ISA=SSE41 restricts" in text


def test_an_encoding_without_our_characters_is_named(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        text = only(software.terminal, Status.WARNING)
        monkeypatch.undo()
    assert "ascii" in text and "PYTHONIOENCODING=utf-8" in text


def test_more_threads_than_cores_are_named(monkeypatch):
    monkeypatch.setattr(compute, "cores", lambda: 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert "OMP_NUM_THREADS=1" in only(hardware.processor, Status.WARNING)


def test_a_device_that_multiplies_wrongly_or_not_at_all_is_named(monkeypatch):
    monkeypatch.setattr(torch, "ones", lambda *size, **how: torch.zeros(*size, **how))
    assert "matrix products are wrong" in only(hardware.device, Status.ERROR)
    monkeypatch.setattr(compute, "choose", lambda: compute.Compute(torch.device("cuda:99"), "bf16"))
    assert "the check itself failed" in only(hardware.device, Status.ERROR)


@pytest.mark.parametrize(
    ("gigabytes", "status", "text"),
    [(1, Status.ERROR, "free at least 2 GB"), (6, Status.WARNING, "speech up to 8 GB"), (64, Status.OK, "64.0 GB")],
)
def test_low_memory_is_named(monkeypatch, tmp_path, gigabytes, status, text):
    limit = tmp_path / "memory.max"
    limit.write_text(str(gigabytes << 30))
    monkeypatch.setattr(compute, "MEMORY_LIMITS", (limit,))
    monkeypatch.setattr(hardware, "_available_bytes", lambda: float("inf"))
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": (128 << 30) // 4096}[name])
    assert text in only(hardware.memory, status)


def test_a_folder_that_cannot_be_written_to_is_named(here):
    (here / "file").write_text("")
    (here / "out").mkdir()
    (here / "out" / "figures").write_text("")
    texts = [finding.text for finding in findings(lambda: storage.folders(None, Path("file/runs"), Path("out")),
                                                  Status.ERROR)]  # fmt: skip
    assert len(texts) == 2 and "--out out/figures: " in texts[0] and "--runs file/runs: " in texts[1]
    assert "is not a folder" in only(lambda: storage.folders(Path("file"), here, here), Status.ERROR)


def test_a_data_folder_that_is_read_only_is_a_warning(here, monkeypatch):
    (here / "data").mkdir()

    def refuse(folder):
        if folder.name == "data":
            raise UserError(f"{folder}: cannot be written to (Read-only file system)")

    monkeypatch.setattr(files, "check_writable", refuse)
    assert "data sets that you use" in only(lambda: storage.folders(None, here, here), Status.WARNING)


@pytest.mark.parametrize(("megabytes", "status"), [(100, Status.ERROR), (500, Status.WARNING), (5000, Status.OK)])
def test_an_almost_full_disk_is_named(here, monkeypatch, megabytes, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, megabytes << 20))
    (here / "data").mkdir()
    results = findings(lambda: storage.folders(None, here, here))
    expected = {status, Status.WARNING} if status is Status.ERROR else {status}
    assert {finding.status for finding in results} == expected and len(results) == 6
    assert status is not Status.ERROR or "100 MB free" in results[0].text


@pytest.fixture
def small_mnist(here, monkeypatch) -> Path:
    """A data folder with a tiny MNIST whose digests are the published ones."""
    contents = {name: name.encode() for name in mnist.DIGESTS}
    import hashlib

    monkeypatch.setattr(mnist, "DIGESTS", {name: hashlib.md5(text).hexdigest() for name, text in contents.items()})
    for name, content in contents.items():
        files.write(here / "data" / "MNIST" / "raw" / name, content)
    return here / "data"


def test_damaged_and_missing_files_of_mnist_are_named(small_mnist):
    assert any("as published" in finding.text for finding in findings(lambda: storage.data_sets(small_mnist)))
    path = small_mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} is truncated or altered" in only(lambda: storage.data_sets(small_mnist), Status.ERROR)
    path.unlink()
    assert f"{path} is missing" in only(lambda: storage.data_sets(small_mnist), Status.ERROR)


def test_damaged_icons_are_named(here, monkeypatch):
    (here / "icons.npz").write_bytes(b"cut")
    monkeypatch.setattr(icons, "FILE", here / "icons.npz")
    assert "icons.npz: is truncated or altered" in only(lambda: storage.data_sets(None), Status.ERROR)


def test_incomplete_optional_data_sets_are_named(here, monkeypatch):
    data = here / "data"
    (data / "cifar100" / "train").mkdir(parents=True)
    (data / "LibriSpeech" / "dev-clean" / "1" / "2").mkdir(parents=True)
    (data / "LibriSpeech" / "dev-clean" / "1" / "2" / "1-2-0.flac").write_text("")
    (data / "synth-12345678" / "train").mkdir(parents=True)
    texts = [finding.text for finding in findings(lambda: storage.data_sets(data), Status.ERROR)]
    assert [text.partition(":")[0] for text in texts] == ["CIFAR-100", "LibriSpeech", "synthetic speech"]
    assert "holds 1 of 2703 recordings" in texts[1] and "is not complete" in texts[2]
    monkeypatch.setattr(librispeech, "SETS", {"dev-clean": 1})
    (data / "synth-12345678" / "about.json").write_text('{"made_from": 1}')
    (data / "synth-12345678" / "train" / "wav.scp").write_text("u audio/u.flac\n")
    shutil.rmtree(data / "cifar100")
    official = data / "CIFAR100" / "cifar-100-python"
    official.mkdir(parents=True)
    texts = [finding.text for finding in findings(lambda: storage.data_sets(data), Status.ERROR)]
    assert len(texts) == 2 and f"{official / 'train'} is missing or altered" in texts[0]
    assert texts[1].endswith("audio/u.flac is missing")


def test_a_malformed_synthetic_corpus_is_named_and_the_next_one_is_checked(here):
    lists = {
        "11111111": b"u \xff.flac\n",
        "22222222": b"u " + b"x" * 5000,
        "33333333": b"",
        "44444444": b" \nu u.flac\n",
    }
    for name, listed in lists.items():
        root = here / f"synth-{name}"
        (root / "train").mkdir(parents=True)
        (root / "train" / "wav.scp").write_bytes(listed)
        (root / "about.json").write_text('{"made_from": 1}')
        (root / "u.flac").write_bytes(b"")
    texts = [finding.text for finding in findings(lambda: storage.data_sets(here))]
    texts = [text for text in texts if text.startswith("synthetic")]
    assert texts[0] == f"synthetic speech: {here}/synth-11111111/\udcff.flac is missing"
    assert texts[1].startswith(f"synthetic speech: {here}/synth-22222222: cannot be checked (")
    assert texts[2:] == [
        f"synthetic speech: {here}/synth-33333333 is not complete",
        f"synthetic speech: 1 recordings in {here}/synth-44444444, whose content is not checked",
    ]


def test_a_locked_runs_folder_and_leftovers_are_named_and_stay(here):
    folder = here / "runs" / "mnist"
    folder.mkdir(parents=True)
    for name in ("a.json.damaged", "b.json", "c.7.unfinished", "d.checkpoint"):
        (folder / name).write_text("")
    before = snapshot(here)
    check = lambda: storage.stored_runs(here / "runs")  # noqa: E731
    assert "a.json.damaged" in only(check, Status.WARNING) and "1 files of finished runs" in findings(check)[-1].text
    assert snapshot(here) == before
    with filelock.FileLock(folder / "lock"):
        assert "another command is running there" in findings(check, Status.WARNING)[0].text


def test_a_lock_on_a_read_only_disk_does_not_end_the_check(here, monkeypatch):
    (here / "runs" / "mnist").mkdir(parents=True)
    (here / "runs" / "mnist" / "lock").write_text("")

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert "0 files of finished runs" in only(lambda: storage.stored_runs(here / "runs"), Status.OK)


def test_damaged_records_and_a_report_in_progress_are_named(here):
    (here / "results" / "mnist" / "paper").mkdir(parents=True)
    assert "0 in " in only(lambda: storage.records(here), Status.OK)
    with files.results_lock(here):
        assert "making a report" in only(lambda: storage.records(here), Status.WARNING)
    (here / "results" / "mnist" / "paper" / "records.jsonl").write_text("{")
    assert "records.jsonl: line 1 is not a record" in only(lambda: storage.records(here), Status.ERROR)


def test_figures_that_cannot_be_drawn_are_an_error(monkeypatch):
    monkeypatch.setattr(plotting, "subplots", lambda **_: (_ for _ in ()).throw(RuntimeError("no FreeType")))
    assert "no FreeType" in only(hardware.figures, Status.ERROR)


@pytest.mark.parametrize(("start", "text"), [("start_hanging", "did not answer within"), ("start_dying", "SIGKILL")])
def test_a_worker_that_hangs_or_dies_is_an_error_within_the_time_limit(monkeypatch, start, text):
    monkeypatch.setattr(hardware, "WORKER_SECONDS", 2.0 if start == "start_hanging" else 60.0)
    monkeypatch.setattr(hardware, "start_worker", getattr(pool_handlers, start))
    began = time.monotonic()
    assert text in only(hardware.worker_process, Status.ERROR) and time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("recorded", "rate", "units", "expected"),
    [
        ("1 h (2 cores, AMX bf16)", 1.0, "amx", "about 60 min"),
        ("1 h (2 cores, AMX bf16)", 0.5, "none", "at least 2.0 h"),
        ("2 h 15 min (2 cores, AVX-512 bf16, no AMX)", 3.0, "amx", "at most 45 min"),
        ("3.5 h (2 cores, no bf16 matrix units)", 1.0, "none", "about 3.5 h"),
        ("never run", 1.0, "none", "not estimated"),
        ("", 1.0, "none", "not estimated"),
    ],
)
def test_recorded_times_are_scaled_by_the_speed_of_this_machine(recorded, rate, units, expected):
    assert hardware.estimate(recorded, rate * hardware.REFERENCE_FLOPS, units) == expected


def test_every_default_profile_has_an_estimate_except_on_a_gpu(monkeypatch):
    monkeypatch.setattr(hardware, "MEASURED_SECONDS", 0.05)
    monkeypatch.setattr(compute, "choose", lambda: compute.Compute(torch.device("cpu"), "fp32"))
    lines = [finding.text for finding in findings(hardware.times)]
    assert len(lines) == 7 and not any("not estimated" in line for line in lines), lines
    assert float(lines[0].split()[3]) > 1, "GFLOP/s"
    monkeypatch.setattr(compute, "choose", lambda: compute.Compute(torch.device("cuda"), "bf16"))
    assert all("not estimated on a GPU" in finding.text for finding in findings(hardware.times)[1:])
