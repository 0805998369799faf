"""Features of a teacher on disk, so that students that see the same images in the same order compute them once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from repro.engine import files
from repro.engine.store import key
from repro.errors import UserError

SUFFIX = ".features"
NAN = b"\xff\xff\xff\xff"  # of float32
BLOCK = 1 << 18  # numbers written at a time


class FeatureCache:
    """A teacher's pooled features of the batch of each step, in a file that several processes read and write.

    The file is created when the first features are stored. Features not stored yet are NaN; two processes that compute
    the same ones store the same values. Where the file cannot be written, features are computed at every step.
    """

    def __init__(
        self, folder: Path, group: str, order: object, sizes: tuple[int, int, int], most_bytes: float,
        on_computed: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        """Name the file.

        Args:
            folder: folder of the file.
            group: name that caches of the same teacher share.
            order: plain JSON data on which images and features depend, such as the seed of the order.
            sizes: training steps, images in a batch, pooled features of an image.
            most_bytes: bytes up to which the caches of a group are written.
            on_computed: called after the features of a step were computed rather than read. Default: nothing.
        """
        self.path = folder / f"{group}-{key([order, sizes])}{SUFFIX}"
        self.group, self.sizes, self.most_bytes, self.on_computed = group, sizes, most_bytes, on_computed
        self._stored: Tensor | None = None

    def at(self, step: int, compute: Callable[[], Tensor]) -> Float[Tensor, "batch unit"]:
        """Return the features of a step; ``compute`` is called where they are not stored yet."""
        if self._stored is None:
            try:
                self._stored = self._open()
            except (UserError, OSError, RuntimeError):  # RuntimeError: PyTorch cannot map the file
                self._stored = torch.empty(0, *self.sizes[1:])
        features = self._stored[step] if len(self._stored) else None
        if features is not None and not features.isnan().any():
            return features
        computed = compute()
        self.on_computed()
        return computed if features is None else features.copy_(computed)

    def _open(self) -> Tensor:
        """Return the content of the file, which is created where it is missing; an empty tensor without room for it."""
        steps, batch, units = self.sizes
        count = steps * batch * units
        size = len(NAN) * count
        if self.path.exists() and self.path.stat().st_size != size:
            self.path.unlink()
        if not self.path.exists():
            folder = self.path.parent
            others = sum(path.stat().st_size for path in _caches(folder, self.group))
            # Room for as much again, because runs are stored beside it.
            if others + size > self.most_bytes or 2 * size + files.LEAST_FREE > shutil.disk_usage(folder).free:
                return torch.empty(0, batch, units)
            blocks = (NAN * min(BLOCK, count - start) for start in range(0, count, BLOCK))
            files.write(self.path, blocks, replace=False)  # by two processes at once, that of the first stays
        return torch.from_file(str(self.path), shared=True, size=count, dtype=torch.float32).view(steps, batch, units)


def remove(folder: Path, group: str) -> None:
    """Remove the caches of a group."""
    for path in _caches(folder, group):
        path.unlink(missing_ok=True)


def _caches(folder: Path, group: str) -> list[Path]:
    return list(folder.glob(f"{group}-*{SUFFIX}"))
