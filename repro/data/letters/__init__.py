"""The embedded data set "letters": characters of many typefaces, split by superfamily.

A class is a character, with accents and all, so that many classes differ in a few pixels only ("ê", "ế", "ề", "ể").
``build`` makes ``files/letters.npz`` from open fonts, with ``packages`` (npm packages), ``render`` (images),
``classes`` (names, characters that look alike) and ``families`` (licenses and splits); this module reads it.
"""

import json
import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

from repro.data import embedded
from repro.data.types import ImageData

FOLDER = Path(__file__).parent / "files"
FILE = FOLDER / "letters.npz"
SHA256 = "c4d3558c9526bd12829b6a5601e61cef2aaefc4bcb17c29e515a7a29f4bfae50"


@dataclass(frozen=True)
class Source:
    """A typeface: its id in the package's name, its family, license (SPDX) and superfamily, and the latter's split.

    The names of the fields are those in the file.
    """

    id: str
    family: str
    license: str
    superfamily: str
    split: str


@dataclass(frozen=True)
class Contents:
    """Content of the file: images of 0 .. 255 and, for each, the indices of its class and of its typeface.

    ``characters`` holds, for every class, the characters that look alike and are this class.
    """

    images: UInt8[np.ndarray, "case 32 32"]
    labels: UInt16[np.ndarray, "case"]
    sources: UInt16[np.ndarray, "case"]
    classes: tuple[str, ...]
    characters: tuple[str, ...]
    typefaces: tuple[Source, ...]


def contents() -> Contents:
    """Read the file.

    Raises:
        UserError: the file is missing or altered.
    """
    arrays = embedded.read(FILE, SHA256, "letters-build")
    # LZMA finds the rows that "a" shares with "ä", which deflate does not: half the size.
    pixels = np.frombuffer(lzma.decompress(arrays["images"].tobytes()), np.uint8).reshape(-1, 512)
    classes, characters, typefaces = (
        json.loads(arrays[name].tobytes()) for name in ("classes", "characters", "typefaces")
    )
    return Contents(
        embedded.unpacked(pixels),
        arrays["labels"],
        arrays["sources"],
        tuple(classes),
        tuple(characters),
        tuple(Source(**source) for source in typefaces),
    )


def load() -> ImageData:
    """Read the data set. No superfamily is in two splits, and a mirrored "b" is a "d".

    Raises:
        UserError: the file is missing or altered.
    """
    letters = contents()
    splits = np.array([source.split for source in letters.typefaces])[letters.sources]
    return embedded.image_data("letters", letters.classes, letters.images, letters.labels, splits, SHA256)
