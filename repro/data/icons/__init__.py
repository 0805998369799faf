"""The embedded data set "icons": what many hands drew under the same name, split by hand. ``icons_build`` makes it."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8, UInt16

from repro.data.types import ImageData, ImageSet
from repro.errors import UserError

FOLDER = Path(__file__).parent / "files"
FILE, ATTRIBUTION = FOLDER / "icons.npz", FOLDER / "ATTRIBUTION.md"
SHA256 = "1803fadd7efae1c56da4945e4543de9d08d3a99a81635118cab63976326fd22b"


@dataclass(frozen=True)
class Source:
    """An icon set: its prefix in the package, its name, author and licence (SPDX); the family of authors it belongs
    to and the split in which that family stands."""

    prefix: str
    name: str
    author: str
    licence: str
    family: str
    split: str


@dataclass(frozen=True)
class Contents:
    """The file as it is: images of 0 .. 255, for each its class and the set it is from, by number."""

    images: UInt8[np.ndarray, "case 32 32"]
    labels: UInt16[np.ndarray, "case"]
    sources: UInt8[np.ndarray, "case"]
    classes: tuple[str, ...]
    sets: tuple[Source, ...]


def contents() -> Contents:
    """Everything in the file.

    Raises:
        UserError: it is missing or altered.
    """
    remedy = "restore it from the repository or run `python -m repro icons-build`"
    try:
        content = FILE.read_bytes()
    except OSError as error:
        raise UserError(f"{FILE}: cannot be read ({error.strerror}); {remedy}") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise UserError(f"{FILE}: is truncated or altered (its digest is not the committed one); {remedy}")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    pixels = arrays["images"]
    # Two pixels to a byte, each in 16 shades.
    images = np.stack([pixels >> 4, pixels & 15], axis=-1).reshape(-1, 32, 32) * np.uint8(17)
    classes, sets = (json.loads(arrays[name].tobytes()) for name in ("classes", "sets"))
    return Contents(
        images, arrays["labels"], arrays["sources"], tuple(classes), tuple(Source(**source) for source in sets)
    )


def load() -> ImageData:
    """The data set. No family of authors draws for two of its parts, and an arrow's mirror image is another arrow.

    Raises:
        UserError: the file is missing or altered.
    """
    found = contents()
    split = np.array([source.split for source in found.sets])[found.sources]
    train, validation, test = (
        ImageSet(
            torch.from_numpy(found.images[chosen])[:, None], torch.from_numpy(found.labels[chosen].astype(np.int64))
        )
        for chosen in (split == name for name in ("train", "validation", "test"))
    )
    return ImageData("icons", found.classes, train, validation, test, horizontal_flip=False, digest=SHA256[:16])
