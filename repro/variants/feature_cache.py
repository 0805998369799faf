"""Features of a teacher on disk, so that students that see the same images in the same order compute them once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from repro.engine import files

SUFFIX = ".features"
NAN = b"\xff\xff\xff\xff"  # of float32


class FeatureCache:
    """A teacher's pooled features of the batch of each step, in a file that several processes read and write.

    The file is created when the first features are stored. Features not stored yet are NaN; two processes that compute
    the same ones store the same values.
    """

    def __init__(self, path: Path, steps: int, batch: int, units: int, most_bytes: float):
        """Name the file and its sizes.

        Args:
            path: the file; its name identifies teacher, order of examples, augmentation and the three sizes.
            steps: training steps.
            batch: images in a batch.
            units: pooled features of an image.
            most_bytes: bytes up to which this file and the other caches in its folder are written.
        """
        self.path, self.sizes, self.most_bytes = path, (steps, batch, units), most_bytes
        self._stored: Tensor | None = None

    def at(self, step: int, compute: Callable[[], Tensor]) -> Float[Tensor, "batch unit"]:
        """Return the features of a step; ``compute`` is called where they are not stored yet."""
        if self._stored is None:
            self._stored = self._open()
        if not len(self._stored):  # no room
            return compute()
        features = self._stored[step]
        if features.isnan().any():
            features.copy_(compute())
        return features

    def _open(self) -> Tensor:
        """Return the content of the file, which is created where it is missing; no steps where there is no room."""
        steps, batch, units = self.sizes
        count = steps * batch * units
        size = len(NAN) * count
        if not self.path.exists() or self.path.stat().st_size != size:
            folder = self.path.parent
            others = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}") if path != self.path)
            free = shutil.disk_usage(folder).free - files.LEAST_FREE
            if others + size > self.most_bytes or 2 * size > free:
                return torch.empty(0, batch, units)
            files.write(self.path, NAN * count)
        return torch.from_file(str(self.path), shared=True, size=count, dtype=torch.float32).view(steps, batch, units)


def remove(folder: Path) -> None:
    """Remove all caches in a folder."""
    for path in folder.glob(f"*{SUFFIX}"):
        path.unlink(missing_ok=True)
