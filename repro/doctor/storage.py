"""Checks of folders, data sets, stored runs and records. They create nothing and change nothing."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from repro.doctor.finding import Finding, Status, error, ok, warning
from repro.errors import UserError, reason

EXPECTED_FREE = 1 << 30  # bytes: what the runs of an experiment take
SHOWN = 3  # names in a line, at most


def folders(data: Path | None, runs: Path, out: Path) -> Iterator[Finding]:
    """Yield for each folder that commands write to whether they can, and the free disk."""
    from repro.data.download import data_folder

    for folder in (out, out / "results", out / "figures"):
        yield _folder("--out", folder)
    yield _folder("--runs", runs)
    yield _folder("TMPDIR", Path(tempfile.gettempdir()))
    place = data_folder(data)
    finding = _folder("--data", place)
    if finding.status is Status.ERROR and place.exists():
        finding = warning(finding.text, "the data sets that you use must all be there")
    yield finding


def _folder(option: str, folder: Path) -> Finding:
    """Return whether a folder, or the nearest above it that exists, can be written to and has room."""
    from repro.engine import files

    above = files.nearest(folder)
    try:
        files.check_writable(above)
        files.check_free(above)
    except UserError as problem:
        return error(f"{option} {folder}: {problem}", f"name another folder with {option}")
    free = shutil.disk_usage(above).free
    text = f"{option} {folder}: {'writable' if above == folder else 'not there yet'}, {free / 1e9:.1f} GB free"
    return warning(text, "an experiment takes up to 1 GB") if free < EXPECTED_FREE else ok(text)


def data_sets(data: Path | None) -> Iterator[Finding]:
    """Yield which data sets are in the data folder, and whether they are whole."""
    from repro.data import icons, letters
    from repro.data.download import data_folder

    folder = data_folder(data)
    yield _mnist(folder)
    icons.contents()
    yield ok("icons: as committed")
    letters.contents()
    yield ok("letters: as committed")
    yield from _cifar100(folder)
    yield from _speech(folder)


def _mnist(folder: Path) -> Finding:
    from repro.data import mnist
    from repro.data.download import file_digest

    raw = folder / "MNIST" / "raw"
    paths = {raw / name: digest for name, digest in mnist.DIGESTS.items()}
    if not any(path.exists() for path in paths):
        return ok(f"MNIST: not in {raw}; fetched at first use")
    bad = [path for path, digest in paths.items() if file_digest(path, "md5") != digest]
    if bad:
        state = "is truncated or altered" if bad[0].exists() else "is missing"
        return error(f"MNIST: {bad[0]} {state}", "run `repro data`, which fetches it again")
    return ok(f"MNIST: in {raw}, as published")


def _cifar100(folder: Path) -> Iterator[Finding]:
    from torchvision.datasets import CIFAR100

    from repro.data import cifar100
    from repro.data.download import file_digest

    strips, official = folder / "cifar100", folder / "CIFAR100" / CIFAR100.base_folder
    if (strips / "train").is_dir():
        paths = [strips / part / f"{name}.webp" for part in cifar100.DIGESTS for name in cifar100.CLASSES]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            yield error(f"CIFAR-100: {missing[0]} is missing", "put it there, or remove the folder")
        else:
            yield ok(f"CIFAR-100: {len(paths)} strips in {strips}, whose content is checked at each use")
    elif official.is_dir():
        listed = (*CIFAR100.train_list, *CIFAR100.test_list)
        bad = [official / name for name, md5 in listed if file_digest(official / name, "md5") != md5]
        if bad:
            yield error(f"CIFAR-100: {bad[0]} is missing or altered", "remove it to download it again")
        else:
            yield ok(f"CIFAR-100: in {official}, as published")
    else:
        yield ok(f"CIFAR-100: not in {folder}; fetched at first use")


def _speech(folder: Path) -> Iterator[Finding]:
    from repro.data.speech import librispeech

    for name, count in librispeech.SETS.items():
        unpacked = folder / "LibriSpeech" / name
        if unpacked.is_dir():
            present = sum(1 for _ in unpacked.glob("*/*/*.flac"))
            text = f"LibriSpeech: {unpacked} holds {present} of {count} recordings"
            yield ok(text) if present >= count else error(text, "remove it to download it again")
    corpora = sorted(path for path in folder.glob("synth-*") if path.is_dir() and re.fullmatch(r"synth-\w+", path.name))
    for root in corpora:
        yield _synthetic(root)
    if not corpora:
        yield ok(f"synthetic speech: not in {folder}; made at first use")


def _synthetic(root: Path) -> Finding:
    """Return whether the folder of a synthetic corpus is complete; recordings are not opened."""
    from repro.data.speech import synth

    try:
        tables = [file.read_text(encoding="utf-8", errors="surrogateescape") for file in root.glob("*/wav.scp")]
        recordings = [root / line.split()[-1] for table in tables for line in table.splitlines() if line.strip()]
        missing = [path for path in recordings if not path.is_file()]
    except OSError as problem:
        text = f"synthetic speech: {root}: cannot be checked ({reason(problem)})"
        return error(text, "remove it to regenerate it")
    if not synth.about(root) or not recordings:
        return error(f"synthetic speech: {root} is not complete", "remove it to regenerate it")
    if missing:
        return error(f"synthetic speech: {missing[0]} is missing", f"remove {root} to regenerate it")
    return ok(f"synthetic speech: {len(recordings)} recordings in {root}, whose content is not checked")


def stored_runs(runs: Path) -> Iterator[Finding]:
    """Yield which folders of runs another command has locked, and the damaged and partial files in each."""
    present = sorted(path for path in runs.glob("*") if path.is_dir()) if runs.is_dir() else []
    if not present:
        yield ok(f"none in {runs}")
    for folder in present:
        if _is_locked(folder / "lock"):
            yield warning(f"{folder}: another command is running there", "wait for it, or name another with --runs")
        damaged = sorted(folder.rglob("*.damaged"))
        if damaged:
            yield warning(f"{folder}: damaged files were replaced: {_names(damaged)}", "attach one, then remove them")
        partial = sorted(folder.rglob("*.unfinished"))
        if partial:
            yield ok(f"{folder}: partial files: {_names(partial)}", "the next command there removes them")
        finished, checkpoints = (sum(1 for _ in folder.glob(name)) for name in ("*.json", "*.checkpoint"))
        yield ok(f"{folder}: {finished} files of finished runs, not opened; {checkpoints} checkpoints")


def _names(paths: list[Path]) -> str:
    names = [path.name for path in paths[:SHOWN]]
    return ", ".join(names) + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def _is_locked(path: Path) -> bool:
    """Return whether another process holds a lock; none is made, and on a read-only disk none is held."""
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:  # the check of folders names those that cannot be written to
        return False
    lock.release()
    return False


def records(out: Path) -> Iterator[Finding]:
    """Yield whether the records in ``out`` can be read and no other command is making a report of them."""
    from repro.report import records

    if not (out / "results").is_dir():
        yield ok(f"none in {out / 'results'}")
        return
    if _is_locked(out / "results" / "lock"):
        yield warning(f"{out / 'results'}: another command is making a report there", "wait for it")
    count = records.check(out)
    yield ok(f"{count} in {out / 'results'}, which can be read")
