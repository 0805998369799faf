"""Store of finished runs: written atomically, verified by digest when read, addressed by a hash of their inputs."""

import ast
import contextlib
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import filelock
from torch import Tensor

from repro.engine.files import (
    CorruptFile,
    acquire,
    check_free,
    check_writable,
    holder,
    load_tensors,
    quarantine,
    read_whole,
    remove_partial_files,
    save_tensors,
    write,
)
from repro.errors import UserError, warn


def key(specification: Any) -> str:
    """Return a hash of ``specification`` (plain JSON data): 16 hexadecimal digits of its SHA-256."""
    text = json.dumps(specification, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_version(modules: tuple[str, ...]) -> str:
    """Return a digest of the code in ``modules`` (paths below ``repro/``) without comments, docstrings and imports."""
    return hashlib.sha256(b"".join(map(_code, modules))).hexdigest()[:12]


@cache
def _code(module: str) -> bytes:
    """Return the syntax tree of a module without docstrings and imports."""
    tree = ast.parse((Path(__file__).parents[1] / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
        for name in ("body", "orelse"):
            if isinstance(statements := getattr(node, name, None), list):
                code = [statement for statement in statements if not isinstance(statement, ast.Import | ast.ImportFrom)]
                setattr(node, name, code)
    return json.dumps(_plain(tree)).encode()


def _plain(node: Any) -> Any:
    """Return a syntax tree as plain data without empty fields, which differ between versions of Python."""
    if isinstance(node, ast.AST):
        return [type(node).__name__, *((n, _plain(v)) for n, v in sorted(ast.iter_fields(node)) if v not in (None, []))]
    return [_plain(item) for item in node] if isinstance(node, list) else repr(node)


@contextlib.contextmanager
def opened(folder: Path, *, repairs: bool = True) -> Iterator["Store"]:
    """Open the store in ``folder``, as ``Store`` does, and lock it against other commands.

    Raises:
        UserError: the folder cannot be written to, its disk is almost full, or another command holds it.
    """
    check_writable(folder)
    check_free(folder)
    lock = filelock.FileLock(folder / "lock")
    try:
        acquire(lock, wait=False)
    except filelock.Timeout as error:
        raise UserError(f"--runs {folder}: {holder(lock)} is writing there; wait for it, or name another") from error
    try:
        remove_partial_files(folder)
        yield Store(folder, repairs=repairs)
    finally:
        lock.release()


class Store:
    """Store of an experiment's finished runs, in groups of runs that were trained together.

    ``<group>.json`` holds a record for each member and is written last, so that a group is stored completely or not at
    all; ``<group>.safetensors`` holds the stacked weights.
    """

    def __init__(self, folder: Path, *, repairs: bool = True):
        """Read the records in the folder; ``opened`` locks it as well.

        Args:
            folder: the folder.
            repairs: whether runs whose files are corrupt are to be retrained: their files are quarantined, and their
                records removed. Without, nothing is changed. Default: yes.

        Raises:
            UserError: the system does not let a file be read.
        """
        self.folder, self._repairs = folder, repairs
        # Group and index in the group of each run.
        self._positions: dict[str, tuple[str, int]] = {}
        self._records: dict[str, dict[str, Any]] = {}
        self._without_weights: set[str] = set()
        for path in sorted(folder.glob("*.json")):
            self.read(path.stem)

    def record(self, run: str) -> dict[str, Any] | None:
        """Return the record of the run with this key, or None if it is not finished."""
        return self._records.get(run)

    @property
    def has_all_weights(self) -> bool:
        """Whether all finished runs were stored here, as without ``adopt``."""
        return not self._without_weights

    def has_weights(self, run: str) -> bool:
        """Return whether a finished run was stored here, rather than its record alone."""
        return run not in self._without_weights

    def adopt(self, records: list[dict[str, Any]]) -> None:
        """Count runs as finished of which only these records, from committed results, are known.

        They have no weights until they are executed again.
        """
        for record in records:
            if record["key"] not in self._records:
                self._records[record["key"]], self._positions[record["key"]] = record, (record["key"], 0)
                self._without_weights.add(record["key"])

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all finished runs."""
        return list(self._records.values())

    def stored_at(self, run: str) -> float:
        """Return when a finished run was stored, in seconds since the epoch."""
        return (self.folder / f"{self.group(run)}.json").stat().st_mtime

    def weights(self, run: str) -> dict[str, Tensor] | None:
        """Return the weights of a finished run, with a first axis of length 1.

        If they are corrupt, return None and, where the store repairs, forget the group: its runs count as unfinished.

        Raises:
            UserError: the system does not let the file be read.
        """
        group, member = self._positions[run]
        path = self.folder / f"{group}.safetensors"
        try:
            tensors, _ = load_tensors(path)
        except CorruptFile as damage:
            if self._repairs:
                if path.exists():
                    quarantine(path, f"{damage}; its runs will be retrained")
                self._forget(group)
            return None
        # Copies, for a view would keep the whole group in memory.
        return {name: value[member : member + 1].clone() for name, value in tensors.items()}

    def add(self, group: str, records: list[dict[str, Any]], weights: dict[str, Tensor]) -> None:
        """Store a finished group and delete its checkpoint."""
        save_tensors(self.folder / f"{group}.safetensors", weights, {})
        body = json.dumps(records)
        path = self.folder / f"{group}.json"
        write(path, f'{{"sha256": "{_digest(group, body)}", "records": {body}}}\n'.encode())
        self.checkpoint(group).unlink(missing_ok=True)
        self.read(group)

    def group(self, run: str) -> str:
        """Return the group of a finished run."""
        return self._positions[run][0]

    def trained_together(self, run: str) -> list[str]:
        """Return the finished runs of a run's group, itself included; none if it is not finished."""
        group, _ = self._positions.get(run, ("", 0))
        return [other for other, (of_other, _) in self._positions.items() if of_other == group]

    def files(self, group: str) -> dict[str, bytes]:
        """Return the contents of a group's files by name, the records last."""
        paths = [self.folder / f"{group}{suffix}" for suffix in (".safetensors", ".json")]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def import_group(self, files: dict[str, bytes]) -> None:
        """Store a group that the ``files`` method of another store returned, and delete its checkpoint."""
        for name, content in files.items():
            write(self.folder / name, content)
        group = Path(name).stem
        self.checkpoint(group).unlink(missing_ok=True)
        self.read(group)

    def checkpoint(self, group: str) -> Path:
        """Return the path of a group's checkpoint."""
        return self.folder / f"{group}.checkpoint"

    def read(self, group: str) -> None:
        """Read the records of a group, which another process may have stored or removed.

        Corrupt ones are quarantined where the store repairs, else left out.

        Raises:
            UserError: the system does not let the file be read.
        """
        path = self.folder / f"{group}.json"
        try:
            content = json.loads(read_whole(path).decode())
            records = content["records"]
            # Earlier versions left the name out of the digest.
            if content["sha256"] not in (_digest(name, json.dumps(records)) for name in (group, "")):
                raise ValueError("digest")
        except CorruptFile:
            return  # removed, as it is when its weights are corrupt
        except (ValueError, KeyError, TypeError, RecursionError):
            if self._repairs:
                quarantine(path, f"{path} is damaged; its runs will be retrained")
            else:
                warn(f"warning: {path} is damaged; its runs are left out")
            return
        for member, record in enumerate(records):
            self._records[record["key"]] = record
            self._positions[record["key"]] = (group, member)
            self._without_weights.discard(record["key"])

    def _forget(self, group: str) -> None:
        (self.folder / f"{group}.json").unlink(missing_ok=True)
        for run in [run for run, (group_of_run, _) in self._positions.items() if group_of_run == group]:
            del self._positions[run], self._records[run]
            self._without_weights.discard(run)


def _digest(group: str, records: str) -> str:
    """Return the digest of a group's records; its name is part of it, so that no group passes for another."""
    return hashlib.sha256(f"{group}{records}".encode()).hexdigest()
