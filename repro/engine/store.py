"""Kept runs: written whole or not at all, checked by digest when read, found by what they are made from."""

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
    check_writable,
    load_tensors,
    quarantine,
    remove_partial_files,
    save_tensors,
    write,
)
from repro.errors import UserError


def key(specification: Any) -> str:
    """A name for whatever ``specification`` (plain JSON data) fully determines."""
    text = json.dumps(specification, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_version(modules: tuple[str, ...]) -> str:
    """A digest of the code in ``modules``, paths below ``repro/``; comments, docstrings and
    imports don't count."""
    digest = hashlib.sha256()
    for module in modules:
        tree = ast.parse((Path(__file__).parents[1] / module).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                node.body = node.body[1:]
            for name in ("body", "orelse"):
                if isinstance(statements := getattr(node, name, None), list):
                    setattr(node, name, [one for one in statements if not isinstance(one, ast.Import | ast.ImportFrom)])
        digest.update(json.dumps(_plain(tree)).encode())
    return digest.hexdigest()[:12]


def _plain(node: Any) -> Any:
    """A syntax tree as plain data, alike for all versions of Python, which add fields that are empty."""
    if isinstance(node, ast.AST):
        return [type(node).__name__, *((n, _plain(v)) for n, v in sorted(ast.iter_fields(node)) if v not in (None, []))]
    return [_plain(one) for one in node] if isinstance(node, list) else repr(node)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator["Store"]:
    """The kept runs in ``folder``, held against a second command while they are in use.

    Raises:
        UserError: the folder cannot be written to, or another command holds it.
    """
    check_writable(folder)
    lock = filelock.FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(f"--runs {folder}: another run is writing there; wait or name another") from error
    try:
        remove_partial_files(folder)
        yield Store(folder)
    finally:
        lock.release()


class Store:
    """The kept runs of one experiment: for each group of runs trained together, its records and weights.

    ``<group>.json`` holds a record for each member and appears last, so a group is there whole or not at
    all; ``<group>.safetensors`` holds the stacked weights.
    """

    def __init__(self, folder: Path):
        """Read the records in the folder; damaged ones are set aside. ``opened`` is the safe way in."""
        self.folder = folder
        self._where: dict[str, tuple[str, int]] = {}
        self._records: dict[str, dict[str, Any]] = {}
        for path in sorted(folder.glob("*.json")):
            self.read(path.stem)

    def record(self, run: str) -> dict[str, Any] | None:
        """The record of a run, by its key, if it was finished."""
        return self._records.get(run)

    def weights(self, run: str) -> dict[str, Tensor] | None:
        """The weights of a finished run as a population of one; None where they are damaged, in which case
        the group counts as never run."""
        group, member = self._where[run]
        path = self.folder / f"{group}.safetensors"
        try:
            tensors, _ = load_tensors(path)
        except CorruptFile as damage:
            if path.exists():
                quarantine(path, f"{damage}; its runs are made again")
            self._forget(group)
            return None
        # Copies, for a view would keep the whole group in memory.
        return {name: value[member : member + 1].clone() for name, value in tensors.items()}

    def add(self, group: str, records: list[dict[str, Any]], weights: dict[str, Tensor]) -> None:
        """Keep a finished group and drop its checkpoint."""
        save_tensors(self.folder / f"{group}.safetensors", weights, {})
        body = json.dumps(records)
        digest = hashlib.sha256(body.encode()).hexdigest()
        path = self.folder / f"{group}.json"
        write(path, f'{{"sha256": "{digest}", "records": {body}}}\n'.encode())
        self.checkpoint(group).unlink(missing_ok=True)
        self.read(group)

    def group(self, run: str) -> str:
        """The group that a finished run was kept in."""
        return self._where[run][0]

    def files(self, run: str) -> dict[str, bytes]:
        """The files of a finished run's group, as they are, by their names; the records' last."""
        paths = [self.folder / f"{self.group(run)}{ending}" for ending in (".safetensors", ".json")]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def import_group(self, files: dict[str, bytes]) -> None:
        """Keep a group that another store gave as ``files``, and drop its checkpoint."""
        for name, content in files.items():
            write(self.folder / name, content)
        group = Path(name).stem
        self.checkpoint(group).unlink(missing_ok=True)
        self.read(group)

    def checkpoint(self, group: str) -> Path:
        """Where a group keeps what it needs to go on."""
        return self.folder / f"{group}.checkpoint"

    def read(self, group: str) -> None:
        """Read the records of a group, which another process may have kept; set them aside where they are damaged."""
        path = self.folder / f"{group}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            records = content["records"]
            if hashlib.sha256(json.dumps(records).encode()).hexdigest() != content["sha256"]:
                raise ValueError("digest")
        except (OSError, ValueError, KeyError, TypeError):
            quarantine(path, f"{path} is damaged; its runs are made again")
            return
        for member, record in enumerate(records):
            self._records[record["key"]] = record
            self._where[record["key"]] = (group, member)

    def _forget(self, group: str) -> None:
        (self.folder / f"{group}.json").unlink(missing_ok=True)
        for run in [run for run, (where, _) in self._where.items() if where == group]:
            del self._where[run], self._records[run]
