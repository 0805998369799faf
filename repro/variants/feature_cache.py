"""Features of a teacher on disk, so that students that see the same images in the same order compute them once."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repro.engine import files
from repro.engine.store import key

SUFFIX = ".features"
NAN = b"\xff\xff\xff\xff"  # of float32
BLOCK = 1 << 20  # bytes written at a time


class FeatureCache:
    """A teacher's pooled features of the batch of each step, in a file that several processes read and write.

    The file is created when the first features are stored. Features not stored yet are NaN; two processes that compute
    the same ones store the same values. Where the file cannot be written, features are computed at every step.
    """

    def __init__(self, folder: Path, group: str, order: object, sizes: tuple[int, int, int], most_bytes: float):
        """Name the file.

        Args:
            folder: folder of the file.
            group: name that caches of the same teacher share.
            order: plain JSON data on which images and features depend, such as the seed of the order.
            sizes: training steps, images in a batch, pooled features of an image.
            most_bytes: bytes up to which the caches of a group are written.
        """
        self.path = folder / f"{group}-{key([order, sizes])}{SUFFIX}"
        self.group, self.sizes, self.most_bytes = group, sizes, most_bytes
        self._stored: Tensor | None = None

    def at(self, step: int, compute: Callable[[], Tensor]) -> Float[Tensor, "batch unit"]:
        """Return the features of a step; ``compute`` is called where they are not stored yet."""
        if self._stored is None:
            try:
                self._stored = self._open()
            except (OSError, RuntimeError):  # RuntimeError: PyTorch cannot map the file
                self._stored = torch.empty(0, *self.sizes[1:])
        if not len(self._stored):
            return compute()
        features = self._stored[step]
        if features.isnan().any():
            features.copy_(compute())
        return features

    def _open(self) -> Tensor:
        """Return the content of the file, which is created where it is missing; an empty tensor without room for it."""
        steps, batch, units = self.sizes
        count = steps * batch * units
        size = len(NAN) * count
        if not self._has(size):
            folder = self.path.parent
            others = sum(path.stat().st_size for path in _caches(folder, self.group) if path != self.path)
            # Room for as much again, because runs are stored beside it.
            if others + size > self.most_bytes or 2 * size + files.LEAST_FREE > shutil.disk_usage(folder).free:
                return torch.empty(0, batch, units)
            self._create(size)
        return torch.from_file(str(self.path), shared=True, size=count, dtype=torch.float32).view(steps, batch, units)

    def _has(self, size: int) -> bool:
        return self.path.exists() and self.path.stat().st_size == size

    def _create(self, size: int) -> None:
        """Write the file without features, unless another process does so first."""
        unfinished = self.path.with_name(f"{self.path.name}.{os.getpid()}.unfinished")
        try:
            with open(unfinished, "wb") as file:
                for start in range(0, size, BLOCK):
                    file.write((NAN * (BLOCK // len(NAN)))[: size - start])
                file.flush()
                os.fsync(file.fileno())
            if not self._has(size):
                os.replace(unfinished, self.path)
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)


def remove(folder: Path, group: str) -> None:
    """Remove the caches of a group."""
    for path in _caches(folder, group):
        path.unlink(missing_ok=True)


def _caches(folder: Path, group: str) -> list[Path]:
    return list(folder.glob(f"{group}-*{SUFFIX}"))


def weights_digest(net: nn.Module) -> str:
    """Return a digest of a model's weights and statistics."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
