"""The embedded data set "icons": icons that many authors drew for the same name, split by author.

``build`` makes ``files/icons.npz`` from open icon sets, with ``names`` (class names), ``render`` (images) and ``sets``
(licenses, authors and splits); this module reads it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

from repro.data import embedded
from repro.data.types import ImageData

FOLDER = Path(__file__).parent / "files"
FILE = FOLDER / "icons.npz"
SHA256 = "1803fadd7efae1c56da4945e4543de9d08d3a99a81635118cab63976326fd22b"


@dataclass(frozen=True)
class Source:
    """An icon set: prefix in the package, name, author, license (SPDX), family of authors, and the family's split.

    The names of the fields are those in the file.
    """

    prefix: str
    name: str
    author: str
    licence: str
    family: str
    split: str


@dataclass(frozen=True)
class Contents:
    """Content of the file: images of 0 .. 255 and, for each, the indices of its class and of its icon set."""

    images: UInt8[np.ndarray, "case 32 32"]
    labels: UInt16[np.ndarray, "case"]
    sources: UInt8[np.ndarray, "case"]
    classes: tuple[str, ...]
    sets: tuple[Source, ...]


def contents() -> Contents:
    """Read the file.

    Raises:
        UserError: the file is missing or altered.
    """
    arrays = embedded.read(FILE, SHA256, "icons-build")
    images = embedded.unpacked(arrays["images"])
    classes, sets = (json.loads(arrays[name].tobytes()) for name in ("classes", "sets"))
    return Contents(
        images, arrays["labels"], arrays["sources"], tuple(classes), tuple(Source(**source) for source in sets)
    )


def load() -> ImageData:
    """Read the data set. No family of authors is in two splits, and a mirrored arrow is of another class.

    Raises:
        UserError: the file is missing or altered.
    """
    icons = contents()
    splits = np.array([source.split for source in icons.sets])[icons.sources]
    return embedded.image_data("icons", icons.classes, icons.images, icons.labels, splits, SHA256)
