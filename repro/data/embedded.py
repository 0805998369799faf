"""Files of the embedded data sets: npz, checked against a digest when read, with equal bytes for equal arrays."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8, UInt16

from repro.data.types import ImageData, ImageSet
from repro.errors import UserError

SIZE, SHADES = 32, 16  # of the images that ``halved`` packs


def read(path: Path, sha256: str, command: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name.

    Args:
        path: the file.
        sha256: its digest.
        command: the command that builds the file again, for messages.

    Raises:
        UserError: the file is missing or altered.
    """
    remedy = f"restore it from the repository or run `python -m repro {command}`"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path}: is truncated or altered (its digest is not the committed one); {remedy}")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays as an npz file without time stamps, so that equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            file.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def text(value: Any) -> UInt8[np.ndarray, "byte"]:
    """Return a value as an array that holds its JSON."""
    return np.frombuffer(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), np.uint8)


def halved(images: UInt8[np.ndarray, "case 32 32"]) -> UInt8[np.ndarray, "case 512"]:
    """Return images of 16 shades (0 .. 15) with two pixels in a byte."""
    pixels = images.reshape(len(images), -1, 2)
    return pixels[..., 0] << 4 | pixels[..., 1]


def unpacked(pixels: UInt8[np.ndarray, "case 512"]) -> UInt8[np.ndarray, "case 32 32"]:
    """Return the images of ``halved``, with shades of 0 .. 255."""
    return np.stack([pixels >> 4, pixels & 15], axis=-1).reshape(-1, SIZE, SIZE) * np.uint8(17)


def image_data(
    name: str,
    classes: tuple[str, ...],
    images: UInt8[np.ndarray, "case 32 32"],
    labels: UInt16[np.ndarray, "case"],
    splits: np.ndarray,
    sha256: str,
) -> ImageData:
    """Return a data set whose images are not flipped; ``splits`` has the split of every image by name."""
    train, validation, test = (
        ImageSet(torch.from_numpy(images[chosen])[:, None], torch.from_numpy(labels[chosen].astype(np.int64)))
        for chosen in (splits == split for split in ("train", "validation", "test"))
    )
    return ImageData(name, classes, train, validation, test, horizontal_flip=False, digest=sha256[:16])
