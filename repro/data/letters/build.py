"""Build the embedded data set "letters" from the open fonts of npm packages.

The build is reproducible: packages are pinned and checked by digest, the split follows from names, and nothing is
random. Another version of matplotlib, which fills the outlines, or rounding on another processor may change a pixel by
one shade, and another version of liblzma the bytes of equal arrays.
"""

import hashlib
import lzma
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from repro.data import embedded
from repro.data.download import report
from repro.data.embedded import SHADES, SIZE
from repro.data.letters.classes import Images, by_class, frequent, merge, name_of
from repro.data.letters.families import SPLITS, splits_of, superfamilies, unfit
from repro.data.letters.packages import Package, Typeface, fetch, pinned, read
from repro.engine.files import nearest, write
from repro.errors import UserError

TYPEFACES = 100  # that have a class, at least
MOST = 200  # images of a class, so that classes of one script do not outnumber those of another
TURN = ("train", "test", "validation")  # in which split one of several equal images remains


def rendered(packages: Sequence[Package], folder: Path) -> tuple[dict[str, Typeface], dict[str, Images], Counter[str]]:
    """Return the typefaces that show text and the images of their characters, by id, and why the others do not.

    Raises:
        UserError: a package is missing or not the pinned one.
    """
    from repro.data.letters.render import Unfit, render

    typefaces, images, dropped = {}, {}, Counter[str]()
    for index, package in enumerate(packages):
        if index % 50 == 0:
            report(f"rendering typefaces, {index} of {len(packages)} done")
        typeface = read(package, folder)
        if reason := unfit(typeface):
            dropped[reason] += 1
            continue
        try:
            images[typeface.id] = {character: image.tobytes() for character, image in render(typeface.fonts).items()}
            typefaces[typeface.id] = typeface
        except Unfit as error:
            dropped[str(error)] += 1
    return typefaces, images, dropped


def unique(labeled: Mapping[str, Images], splits: Mapping[str, str]) -> dict[str, Images]:
    """Return the images by typeface and class without those that occur twice.

    One that shows two classes, in any two typefaces, has no unique label and is dropped everywhere. Of those that show
    one class in several typefaces, the first remains: training before test before validation, then by id.
    """
    labels: dict[bytes, set[str]] = {}
    for images in labeled.values():
        for label, image in images.items():
            labels.setdefault(image, set()).add(label)
    seen: set[bytes] = set()
    single: dict[str, Images] = {}
    for id in sorted(labeled, key=lambda id: (TURN.index(splits[id]), id)):
        single[id] = {
            label: image for label, image in labeled[id].items() if len(labels[image]) == 1 and image not in seen
        }
        seen.update(single[id].values())
    return dict(sorted(single.items()))


def choose(images: Mapping[str, Images], first: Mapping[str, str], splits: Mapping[str, str]) -> dict[str, Images]:
    """Return the images of the data set by typeface and class (a character that stands for those that look like it).

    Typefaces with many classes come first, so that classes of all scripts are drawn by the same typefaces as far as
    possible, and none is known by its typefaces.

    Raises:
        UserError: a class has no image in a split.
    """
    single = unique({id: by_class(glyphs, first) for id, glyphs in images.items()}, splits)
    full = set(frequent(single.values(), TYPEFACES))
    counts, chosen = Counter[str](), {}
    for id in sorted(single, key=lambda id: (-len(full & single[id].keys()), id)):
        chosen[id] = {label: image for label, image in single[id].items() if label in full and counts[label] < MOST}
        counts.update(list(chosen[id]))  # not the mapping, which would add its values
    present = {(label, splits[id]) for id, glyphs in chosen.items() for label in glyphs}
    for label in sorted(full):
        for split in SPLITS:
            if (label, split) not in present:
                raise UserError(f"class {name_of(label)!r}: has no image in the split {split}")
    return dict(sorted(chosen.items()))


def in_order(glyphs: Iterable[str]) -> list[str]:
    """Return characters with each base letter before its accented ones, whose images share rows with it."""
    return sorted(glyphs, key=lambda character: (unicodedata.normalize("NFD", character), character))


def notices(copyright: str) -> str:
    """Return the different notices in a package's copyright text, which repeats them for the files of all styles."""
    parts = re.split(r"\S+\.(?:ttf|otf): ", copyright.replace("|", "/"))
    return "; ".join(dict.fromkeys(part.strip() for part in parts if part.strip()))


def attribution(typefaces: Iterable[Typeface], counts: Mapping[str, int]) -> str:
    """Return authors and licenses of the typefaces as Markdown, from the packages' metadata."""
    lines = [
        "# Who drew the letters",
        "",
        f"`letters.npz` holds {sum(counts.values()):,} images made from the typefaces below, as the packages",
        "`@fontsource/...` hold them. Each typeface is the work of its authors and stays under its license. Changes",
        f"made: some characters of each were rendered as {SIZE}x{SIZE} pixels in {SHADES} shades of gray, white on",
        "black. Words in the copyright notices may be reserved font names.",
        "",
        "| Family | Package | License (SPDX) | Copyright, as given | Images |",
        "|---|---|---|---|---:|",
        *(
            f"| {face.family} | {face.id}@{face.version} | {face.license} | {notices(face.copyright)} "
            f"| {counts[face.id]} |"
            for face in typefaces
        ),
    ]
    return "\n".join(lines) + "\n"


def build(packages: Path | None, folder: Path) -> str:
    """Write ``letters.npz`` and ``ATTRIBUTION.md`` into the folder and return the counts as text.

    Args:
        packages: a folder of the packages as files; missing ones are fetched into it. Default: all are fetched.
        folder: where the files go.

    Raises:
        UserError: a package cannot be fetched or is not the pinned one, fontTools is missing, or a class has no image
            in a split.
    """
    try:
        import fontTools  # noqa: F401
    except ImportError as error:
        raise UserError('fontTools is missing; install the extra "letters"') from error
    if packages and not (above := nearest(packages)).is_dir():
        raise UserError(f"--packages {packages}: {'is' if above == packages else f'{above} is'} not a folder")
    listed = pinned()
    with tempfile.TemporaryDirectory() as scratch:
        fetch(listed, packages or Path(scratch))
        typefaces, images, dropped = rendered(listed, packages or Path(scratch))
    arrays = {
        id: {character: np.frombuffer(image, np.uint8).reshape(SIZE, SIZE) for character, image in glyphs.items()}
        for id, glyphs in images.items()
    }
    kin = superfamilies({id: face.family for id, face in typefaces.items()}, arrays)
    sizes = Counter[str]()
    for id, superfamily in kin.items():
        sizes[superfamily] += len(images[id])
    by_name = splits_of(sizes)
    splits = {id: by_name[superfamily] for id, superfamily in kin.items()}
    first = merge(list(images.values()), frequent(images.values(), TYPEFACES))
    chosen = choose(images, first, splits)

    counts = {id: len(glyphs) for id, glyphs in chosen.items() if glyphs}
    used = [typefaces[id] for id in counts]
    labels = in_order({label for glyphs in chosen.values() for label in glyphs})
    cases = [(id, label) for id in counts for label in in_order(chosen[id])]
    flat = np.frombuffer(b"".join(chosen[id][label] for id, label in cases), np.uint8).reshape(-1, SIZE, SIZE)
    index = {id: number for number, id in enumerate(counts)}
    classes = {label: number for number, label in enumerate(labels)}
    pixels = lzma.compress(embedded.halved(flat).tobytes(), preset=9 | lzma.PRESET_EXTREME)
    content = embedded.pack({
        "images": np.frombuffer(pixels, np.uint8),
        "labels": np.array([classes[label] for _, label in cases], np.uint16),
        "sources": np.array([index[id] for id, _ in cases], np.uint16),
        "classes": embedded.text([name_of(label) for label in labels]),
        "characters": embedded.text(["".join(sorted(c for c in first if first[c] == label)) for label in labels]),
        "typefaces": embedded.text([
            {"id": face.id, "family": face.family, "license": face.license, "superfamily": kin[face.id],
             "split": splits[face.id]}
            for face in used
        ]),
    })  # fmt: skip
    write(folder / "letters.npz", content)
    write(folder / "ATTRIBUTION.md", attribution(used, counts).encode())
    return summary(listed, dropped, cases, splits, kin) + (
        f"\n{folder / 'letters.npz'}: {len(content) / 1e6:.2f} MB, sha256 {hashlib.sha256(content).hexdigest()}"
    )


def summary(
    listed: Sequence[Package],
    dropped: Counter[str],
    cases: Sequence[tuple[str, str]],
    splits: Mapping[str, str],
    kin: Mapping[str, str],
) -> str:
    """Return the counts of a build as text."""
    images = Counter(label for _, label in cases)
    used = sorted({id for id, _ in cases})
    return "\n".join([
        f"typefaces: {len(listed)} packages, {len(splits)} fit, {len(used)} with an image in the data",
        *(f"  dropped, {reason}: {count}" for reason, count in dropped.most_common()),
        f"classes: {len(images)}, images: {len(cases)}, of a class {min(images.values())} to {max(images.values())}",
        *(
            f"  {split}: {sum(splits[id] == split for id, _ in cases)} images by "
            f"{sum(splits[id] == split for id in used)} typefaces of "
            f"{len({kin[id] for id in used if splits[id] == split})} superfamilies"
            for split in SPLITS
        ),
    ])  # fmt: skip
