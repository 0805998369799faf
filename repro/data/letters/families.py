"""Selection of typefaces by license and kind, superfamilies, and the split of each."""

import hashlib
import re
from collections.abc import Mapping

import numpy as np

from repro.data.embedded import SIZE
from repro.data.letters.packages import Typeface

# An image of a character is no font: the OFL leaves documents made with a font free, and the other two ask for notice.
LICENSES = frozenset(["OFL-1.1", "Apache-2.0", "MIT"])
# Words in the names of families that show no text, or text one cannot read.
NO_TEXT = re.compile(r"\b(?:Barcode|Blank|Dingbats|Emoji|Flow|Icons?|Redacted|Symbols?|Underline)\b")

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION = 0.7, 0.1  # fraction of the images of all characters; test has the rest
COMMON = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# Typefaces of different names are kin if their common characters differ in at most this fraction of the ink.
NEAR = 0.19


def unfit(typeface: Typeface) -> str | None:
    """Return the reason for excluding a typeface by its metadata, in a word or two, or None."""
    if typeface.license not in LICENSES:
        return f"license {typeface.license}"
    return "no text face" if NO_TEXT.search(typeface.family) else None


def superfamilies(families: Mapping[str, str], images: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, str]:
    """Return the superfamily of every typeface: all that share the first word of the name, or nearly the same letters.

    The first word joins "Noto Sans" and "Noto Serif"; the letters join copies that go by other names. Joining too many
    does no harm, for a superfamily only decides what must be in one split.

    Args:
        families: names of families by typeface.
        images: images by typeface and character.
    """
    parent = {name.split()[0]: name.split()[0] for name in families.values()}

    def root(word: str) -> str:
        return word if parent[word] == word else root(parent[word])

    for pair in near(images):
        first, second = sorted(root(families[id].split()[0]) for id in pair)
        parent[second] = first
    return {id: root(name.split()[0]) for id, name in families.items()}


def near(images: Mapping[str, Mapping[str, np.ndarray]]) -> list[tuple[str, str]]:
    """Return the pairs of typefaces whose common characters are nearly the same."""
    ids = sorted(images)
    blank = np.zeros((SIZE, SIZE), np.uint8)
    stacks = np.stack([np.stack([images[id].get(character, blank) for character in COMMON]) for id in ids])
    flat = stacks.reshape(len(ids), -1).astype(np.int16)
    pairs = []
    for index, vector in enumerate(flat):
        differences = np.abs(flat[index + 1 :] - vector).sum(1, dtype=np.int64)
        ink = np.maximum(flat[index + 1 :].sum(1, dtype=np.int64), vector.sum(dtype=np.int64))
        pairs += [(ids[index], ids[index + 1 + other]) for other in np.flatnonzero(differences <= NEAR * ink).tolist()]
    return pairs


def splits_of(sizes: Mapping[str, int]) -> dict[str, str]:
    """Return the split of every superfamily, given the number of its images.

    Superfamilies are taken in the order of the hashes of their names, so that nothing but the names decides; each split
    takes them until it has its fraction of the images.
    """
    total, before = sum(sizes.values()), 0.0
    splits = {}
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        middle = (before + sizes[name] / 2) / total
        splits[name] = "train" if middle < TRAIN else "validation" if middle < TRAIN + VALIDATION else "test"
        before += sizes[name]
    return splits
