"""Atomic writes, tensor files with a digest, quarantine of corrupt files, and the lock on results."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from repro.errors import UserError, reason, warn

ENTRY = "repro"
LEAST_FREE = 200 << 20  # bytes; the runs of an experiment take up to 1 GB


class CorruptFile(Exception):
    """A stored file is truncated or altered."""


def write(path: Path, content: bytes | Iterable[bytes], *, replace: bool = True) -> None:
    """Write a file atomically: after a kill at any moment it has the old content or the new.

    Args:
        path: the file.
        content: its content, whole or in blocks, which need not fit into memory together.
        replace: whether a file is replaced that exists once all is written. Default: yes.

    Raises:
        UserError: the disk is full or the directory cannot be written to.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        if replace or not path.exists():
            os.replace(unfinished, path)
        else:
            unfinished.unlink(missing_ok=True)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
        raise


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files of commands that were killed while writing, but none of another that still runs.

    This command writes nothing meanwhile: in a container, one that was killed often had the same process number.
    """
    for leftover in folder.rglob("*.unfinished"):
        if not leftover.is_dir() and not _is_of_another(leftover.name.split(".")[-2]):
            leftover.unlink(missing_ok=True)


def _is_of_another(process: str) -> bool:
    """Return whether another process that runs has this number; False where the system does not tell."""
    if os.name != "posix" or not process.isdecimal() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and JSON metadata as one safetensors file with its name and a digest inside."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(about)
    # A single entry: safetensors writes several in no fixed order, and equal content must give equal bytes.
    entry = {"name": path.name, "about": text, "digest": digest_of(plain, path.name + text)}
    write(path, save_safetensors(plain, {ENTRY: json.dumps(entry)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the metadata that ``save_tensors`` wrote.

    Raises:
        CorruptFile: the file is missing or truncated, a byte of it has changed, or it is another file under this name.
        UserError: the system does not let it be read, which says nothing about its content.
    """
    content = read_whole(path)
    try:
        tensors = load_safetensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        entry = json.loads(header["__metadata__"][ENTRY])
        about, digest = entry["about"], entry["digest"]
    except (SafetensorError, ValueError, KeyError) as error:
        raise CorruptFile(f"{path} is damaged") from error
    name = entry.get("name")  # none in files of earlier versions
    if digest != digest_of(tensors, (name or "") + about):
        raise CorruptFile(f"{path} is damaged: its digest does not match")
    if name not in (None, path.name):
        raise CorruptFile(f"{path} is damaged: it is a copy of {name}")
    return tensors, json.loads(about)


def read_whole(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        CorruptFile: the file is missing.
        UserError: the system does not let it be read, as when too many files are open.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorruptFile(f"{path} is missing") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def digest_of(tensors: dict[str, Tensor], about: str = "") -> str:
    """Return a digest of names, types, shapes and values of tensors on the CPU, and of a text about them."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        digest.update(f"{name}:{tensors[name].dtype}:{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that exists, which may be a file."""
    return next(path for path in (folder, *folder.parents, Path()) if path.exists())


def check_writable(folder: Path) -> None:
    """Make the folder and check that files can be written there, before hours of work depend on it.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    above = nearest(folder)
    if not above.is_dir():
        raise UserError(f"{folder}: cannot be written to ({above} is a file, not a folder)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".trial.{os.getpid()}"
        try:
            trial.write_bytes(bytes(4096))
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror or error})") from error


def check_free(folder: Path) -> None:
    """Check that the disk of an existing folder has room for the first results.

    Raises:
        UserError: less than ``LEAST_FREE`` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise UserError(
            f"{folder}: its disk has {free >> 20} MB free, at least {LEAST_FREE >> 20} MB are needed; "
            "free some, or name another folder"
        )


def acquire(lock: filelock.BaseFileLock, *, wait: bool) -> None:
    """Acquire a lock.

    Args:
        wait: whether to wait for another process that holds it.

    Raises:
        filelock.Timeout: another process holds it, and ``wait`` is false.
        UserError: the file cannot be made, or its file system has no locks.
    """
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise UserError(f"{lock.lock_file}: cannot be locked ({reason(error)}); name another folder") from error


def holder(lock: filelock.BaseFileLock) -> str:
    """Return the process that holds a lock, in words; where the system does not tell, without its number."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        inode = os.stat(lock.lock_file).st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()  # number: kind, mode, access, process, major:minor:inode, start, end
            if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == inode:
                return f"process {fields[4]}"
    return "another process"


def quarantine(path: Path, reason: str) -> None:
    """Rename a corrupt file to ``<name>.damaged``, so that it is regenerated, and print a warning with the reason."""
    os.replace(path, path.with_name(path.name + ".damaged"))
    warn(f"warning: {reason} (kept as {path.name}.damaged)")


@contextlib.contextmanager
def results_lock(folder: Path) -> Iterator[None]:
    """Lock ``folder/results`` while it is written; a second command waits until the report of the first is complete.

    Raises:
        UserError: the lock cannot be made there.
    """
    lock = _results_lock(folder)
    try:
        acquire(lock, wait=False)
    except filelock.Timeout:
        warn(f"waiting for another command's report in {folder / 'results'}; it is made by {holder(lock)}")
        acquire(lock, wait=True)
    try:
        yield
    finally:
        lock.release()


def check_results_lock(folder: Path) -> None:
    """Check that ``folder/results`` can be locked, if only after another command's report.

    Raises:
        UserError: the lock cannot be made there.
    """
    lock = _results_lock(folder)
    with contextlib.suppress(filelock.Timeout):
        acquire(lock, wait=False)
    lock.release()


def _results_lock(folder: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(folder / "results" / "lock", mode=0o664)  # a group may share the folder
