"""Fetching shared by all data sets: the data directory, digests of files, time-outs and messages."""

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from repro.engine.files import nearest
from repro.errors import UserError, warn
from repro.names import text_of

TIMEOUT_SECONDS = 20  # of a server that does not answer


def data_folder(setting: Path | None) -> Path:
    """Return the data directory: the setting, else REPRO_DATA, else ``data`` in the working directory.

    Raises:
        UserError: a file has that name, or the name of a folder above it.
    """
    folder = setting or Path(os.environ.get("REPRO_DATA", "data"))
    above = nearest(folder)
    if not above.is_dir():
        raise UserError(f"--data {folder}: {'is' if above == folder else f'{above} is'} not a folder")
    return folder


def file_digest(path: Path, algorithm: str) -> str | None:
    """Return the digest of a file's content (``md5``, ``sha256``), or None if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError:
        return None


@contextlib.contextmanager
def network_timeout(seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Limit how long libraries that download wait for an answer, within the block."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def report(text: str) -> None:
    """Print a line on stderr, where progress goes."""
    warn(text_of(text))
