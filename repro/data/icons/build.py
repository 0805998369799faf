"""Build the embedded data set "icons" from the open icon sets that the npm package @iconify/json collects.

The build is reproducible: the package is pinned and checked by digest, the split is a fixed table of authors, and
nothing is random. Another version of zlib may compress the same arrays into different bytes.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from repro.data import embedded
from repro.data.download import file_digest, report
from repro.data.embedded import SHADES, SIZE
from repro.data.icons.names import is_readable, merge, stem, styles_of
from repro.data.icons.render import RENDERER, cells_of, near_pairs, render, varied
from repro.data.icons.sets import SPLITS, family_of, split_of, unfit
from repro.engine.files import write
from repro.errors import UserError

PACKAGE = "@iconify/json@2.2.535"
SHA256 = "1a545f86fa224d6531d8fb101dcbe83aac2b28689a21cbed6fc68318a5af4d91"
FAINT = 3  # of 15: an image with no pixel this bright is empty
# Images of one class by one family, at most; fewer in the splits whose images should be independent.
RENDITIONS = {"train": 6, "validation": 3, "test": 3}
FAMILIES = 7  # families that draw a class, at least
LEAST = {"train": 8, "test": 1}  # images of a class


@dataclass(frozen=True)
class Icon:
    """An icon: its set and its name there, its class, the family of its author, and the SVG."""

    prefix: str
    name: str
    label: str
    family: str
    svg: str

    @property
    def split(self) -> str:
        """Return the split of the author's family."""
        return split_of(self.family)


def read(tarball: Path | None) -> dict[str, dict[str, Any]]:
    """Return the icon sets in the package by prefix, as its JSON holds them.

    Args:
        tarball: the package as a file. Default: it is fetched with npm.

    Raises:
        UserError: npm is missing or fails, or the tarball is not the pinned one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = tarball or _fetch(Path(scratch))
        digest = file_digest(path, "sha256")
        if digest is None:
            raise UserError(f"--tarball {path}: cannot be read")
        if digest != SHA256:
            raise UserError(f"--tarball {path}: is not {PACKAGE} (sha256 {digest[:12]}..., not {SHA256[:12]}...)")
        sets = {}
        with tarfile.open(path, "r|gz") as package:
            for member in package:
                if member.name.startswith("package/json/") and (packed := package.extractfile(member)):
                    content = json.load(packed)
                    sets[content["prefix"]] = content
    return dict(sorted(sets.items()))


def _fetch(folder: Path) -> Path:
    report(f"fetching {PACKAGE} (104 MB)")
    command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{PACKAGE} could not be fetched with npm ({error}); give it as --tarball") from error
    return next(folder.glob("*.tgz"))


def candidates(sets: dict[str, dict[str, Any]]) -> list[Icon]:
    """Return the icons whose class is a readable name that enough families use, in the order of sets and names."""
    stems = []
    for prefix, content in sets.items():
        drawn = {name for name, icon in content["icons"].items() if not icon.get("hidden")}
        styles, prefixes = styles_of(drawn, content.get("suffixes") or {}), set(content.get("prefixes") or {})
        stems += [(prefix, name, stem(name, drawn, styles, prefixes)) for name in sorted(drawn)]
    names = merge(words for _, _, words in stems)
    family = {prefix: family_of(content["info"]) for prefix, content in sets.items()}
    users = defaultdict(set)
    for prefix, _, words in stems:
        users[names[words]].add(family[prefix])
    return [
        Icon(prefix, name, names[words], family[prefix], svg)
        for prefix, name, words in stems
        if is_readable(words) and len(users[names[words]]) >= FAMILIES and (svg := _svg(sets[prefix], name))
    ]


def _svg(content: dict[str, Any], name: str) -> str | None:
    """Return an icon as SVG, black on transparent; None if it is animated, or needs a font or an external image."""
    icon = content["icons"][name]
    if any(tag in icon["body"] for tag in ("<animate", "<set", "<text", "<image")):
        return None
    box = (icon.get(key, content.get(key, default)) for key, default in
           (("left", 0), ("top", 0), ("width", 16), ("height", 16)))  # fmt: skip
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#000" '
        f'width="{SIZE}" height="{SIZE}" viewBox="{" ".join(map(str, box))}">{icon["body"]}</svg>'
    )


def without_duplicates(icons: Sequence[Icon], pairs: set[tuple[int, int]]) -> list[int]:
    """Return the indices of the icons that remain when no two may be the same picture.

    A held-out picture that also occurs in another class, in any split, has no unique label and is dropped. Otherwise
    the first of a pair remains: training before test before validation, then the icon whose class more families draw.
    """
    users = Counter(label for label, _ in {(icon.label, icon.family) for icon in icons})
    turn = {"train": 0, "test": 1, "validation": 2}
    rank = [(turn[icon.split], -users[icon.label], icon.label, icon.prefix, icon.name) for icon in icons]
    ambiguous = {
        case
        for pair in pairs
        if icons[pair[0]].label != icons[pair[1]].label
        for case in pair
        if icons[case].split != "train"
    }
    before = defaultdict(list)
    for pair in pairs:
        first, second = sorted(pair, key=rank.__getitem__)
        before[second].append(first)
    unique: set[int] = set()
    for case in sorted(range(len(icons)), key=rank.__getitem__):
        if case not in ambiguous and not unique.intersection(before[case]):
            unique.add(case)
    return sorted(unique)


def full_classes(icons: Sequence[Icon]) -> set[str]:
    """Return the classes that have enough images by enough families."""
    images = Counter((icon.label, icon.split) for icon in icons)
    users = Counter(label for label, _ in {(icon.label, icon.family) for icon in icons})
    return {
        label
        for label, count in users.items()
        if count >= FAMILIES and all(images[label, split] >= least for split, least in LEAST.items())
    }


def choose(icons: Sequence[Icon], images: UInt8[np.ndarray, "case 32 32"]) -> list[int]:
    """Return the indices of the icons of the data set, sorted by split, class, set and name."""
    cells = cells_of(images)
    groups = defaultdict(list)
    for case in sorted(range(len(icons)), key=lambda case: (len(icons[case].name), icons[case].name)):
        groups[icons[case].label, icons[case].family].append(case)  # the plainest name first
    few = [
        group[index]
        for (_, family), group in groups.items()
        for index in varied(cells[group], RENDITIONS[split_of(family)])
    ]
    single = [few[index] for index in without_duplicates([icons[case] for case in few], near_pairs(cells[few]))]
    full = full_classes([icons[case] for case in single])
    return sorted(
        (case for case in single if icons[case].label in full),
        key=lambda case: (SPLITS.index(icons[case].split), icons[case].label, icons[case].prefix, icons[case].name),
    )


def attribution(sets: Sequence[dict[str, Any]], images: Counter[str]) -> str:
    """Return authors and licenses of the icon sets as Markdown, from the package's metadata."""

    def link(text: str, address: str | None) -> str:
        return f"[{text}]({address})" if address else text

    lines = [
        "# Who drew the icons",
        "",
        f"`icons.npz` holds {images.total():,} images made from the icon sets below, as the package `{PACKAGE}`",
        "collects them. Each set is the work of its author and stays under its license. Changes made: some icons of",
        f"each set were taken and rendered as {SIZE}x{SIZE} pixels in {SHADES} shades of gray, white on black; their",
        "names were brought to one spelling.",
        "",
        "| Set | Prefix | Author | License | SPDX | Images |",
        "|---|---|---|---|---|---:|",
    ]
    for content in sets:
        prefix, info = content["prefix"], content["info"]
        author = link(info["author"]["name"], info["author"].get("url"))
        license = link(info["license"]["title"], info["license"].get("url"))
        lines.append(
            f"| {info['name']} | {prefix} | {author} | {license} | {info['license']['spdx']} | {images[prefix]} |"
        )
    return "\n".join(lines) + "\n"


def build(tarball: Path | None, folder: Path) -> str:
    """Write ``icons.npz`` and ``ATTRIBUTION.md`` into the folder and return the counts as text.

    Args:
        tarball: the package as a file. Default: it is fetched with npm.

    Raises:
        UserError: the package cannot be fetched or is not the pinned one, or resvg-py is missing.
    """
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise UserError(f'{RENDERER} is missing; install the extra "icons"') from error
    sets = read(tarball)
    reasons = {prefix: unfit(prefix, content["info"]) for prefix, content in sets.items()}
    icons = candidates({prefix: content for prefix, content in sets.items() if reasons[prefix] is None})
    images = np.stack([render(icon.svg) for icon in icons])
    seen = images.max((1, 2)) >= FAINT
    icons, images = [icon for icon, ink in zip(icons, seen, strict=True) if ink], images[seen]
    cases = choose(icons, images)
    icons, images = [icons[case] for case in cases], images[cases]

    classes = sorted({icon.label for icon in icons})
    counts = Counter(icon.prefix for icon in icons)
    used = [sets[prefix] for prefix in sorted(counts)]
    sources = [
        {"prefix": prefix, "name": info["name"], "author": info["author"]["name"], "licence": info["license"]["spdx"],
         "family": (family := family_of(info)), "split": split_of(family)}
        for prefix, info in ((content["prefix"], content["info"]) for content in used)
    ]  # fmt: skip
    content = embedded.pack({
        "images": embedded.halved(images),
        "labels": np.array([classes.index(icon.label) for icon in icons], np.uint16),
        "sources": np.array([sorted(counts).index(icon.prefix) for icon in icons], np.uint8),
        "classes": embedded.text(classes),
        "sets": embedded.text(sources),
    })  # fmt: skip
    write(folder / "icons.npz", content)
    write(folder / "ATTRIBUTION.md", attribution(used, counts).encode())
    dropped = Counter(reason for reason in reasons.values() if reason)
    parts = Counter(icon.split for icon in icons)
    return "\n".join([
        f"sets: {len(sets)} in the package, {len(sets) - dropped.total()} fit, {len(used)} with an image in the data",
        *(f"  dropped, {reason}: {count}" for reason, count in dropped.most_common()),
        f"families: {len({icon.family for icon in icons})}, classes: {len(classes)}, images: {len(icons)}",
        *(f"  {split}: {parts[split]} images by {len({i.family for i in icons if i.split == split})} families"
          for split in SPLITS),
        f"{folder / 'icons.npz'}: {len(content) / 1e6:.2f} MB, sha256 {hashlib.sha256(content).hexdigest()}",
    ])  # fmt: skip
