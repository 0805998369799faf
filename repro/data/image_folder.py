"""Any folder of images in torchvision's ImageFolder layout.

    root/train/<class>/*    root/test/<class>/*    optional: root/validation/<class>/* or root/val/<class>/*

Labels number train's class folders in alphabetical order. Nothing depends on the names of the files: cases are sorted
by the sha256 of their files, which also decides the validation split if there is no folder for it.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from repro.data.download import reason, report
from repro.data.types import ImageData, ImageSet
from repro.engine.store import key
from repro.errors import UserError

SMALLEST, LARGEST = 8, 256  # pixels a side
HELD_OUT = 10  # one image in ten is in the validation split


@dataclass(frozen=True, eq=False)
class _Picture:
    """A decoded image: one channel if it shows no color, else three."""

    path: Path
    label: int
    pixels: UInt8[np.ndarray, "channel row column"]
    file: str  # sha256 of the file
    bitmap: str  # sha256 of the pixels

    @property
    def size(self) -> str:
        """Return width and height as text."""
        return f"{self.pixels.shape[2]}x{self.pixels.shape[1]}"


Parts = dict[str, list[_Picture]]


def load(root: Path, resize: int | None = None, horizontal_flip: bool = True) -> ImageData:
    """Read the images under ``root``: gray if none of them shows a color, else RGB; transparency becomes white.

    No image is in two parts: an image of train that is also in test or validation is left out of train, and one of
    validation that is also in test out of validation, with a line on stderr, so that accuracy is measured on the test
    set as given. Without a folder for validation, a tenth of each class of train is held out: at least one image, and
    never the only one of a class.

    Args:
        root: the folder that holds train and test.
        resize: side in pixels that the central square of each image is scaled to, with antialiasing. Default: images
            are not scaled and must be of one size.
        horizontal_flip: whether an image and its mirror image are of one class. Default: they are.

    Raises:
        UserError: a folder is missing or empty, or an image is unreadable or of the wrong size.
    """
    root = root.expanduser()
    if resize is not None and not SMALLEST <= resize <= LARGEST:
        raise UserError(f"resize: must be {SMALLEST} to {LARGEST} pixels, not {resize}")
    folders = _part_folders(root)
    classes = tuple(folder.name for folder in _class_folders(folders["train"]))
    if len(classes) < 2:
        raise UserError(f"data folder {folders['train']}: must hold two or more classes, has only {classes[0]!r}")
    # All folders are checked before the first image is decoded, so that errors there are reported at once.
    files = {part: _labelled_files(folder, classes) for part, folder in folders.items()}
    with ThreadPoolExecutor() as pool:
        parts = {part: list(pool.map(partial(_read, resize=resize), *zip(*files[part], strict=True))) for part in files}
    _check_one_size(parts)
    _keep_apart(parts, root)
    if "validation" not in parts:
        parts["train"], parts["validation"] = _carve(parts["train"])
        if not parts["validation"]:
            raise UserError(
                f"data folder {folders['train']}: no class has a second image that could be held out for validation; "
                f"add some, or a folder {root / 'validation'}"
            )
    channels = max(len(picture.pixels) for picture in chain(*parts.values()))
    for pictures in parts.values():
        pictures.sort(key=lambda picture: (picture.file, picture.label))
    content = [[(picture.bitmap, picture.label) for picture in parts[part]] for part in ("train", "validation", "test")]
    return ImageData(
        name=_name(root),
        classes=classes,
        train=_image_set(parts["train"], channels),
        validation=_image_set(parts["validation"], channels),
        test=_image_set(parts["test"], channels),
        horizontal_flip=horizontal_flip,
        digest=key([classes, parts["train"][0].size, content, *([] if horizontal_flip else ["not mirrored"])]),
    )


def _part_folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise UserError(f"data folder {root}: there is no such folder")
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise UserError(f"data folder {root}: has no folder {part!r}; it must hold {part}/<class>/<images>")
    folders = {"train": root / "train", "test": root / "test"}
    for name in ("validation", "val"):
        if (root / name).is_dir() and folders.setdefault("validation", root / name).name != name:
            raise UserError(f"data folder {root}: has both 'validation' and 'val'; keep one of them")
    return folders


def _visible(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if not path.name.startswith("."))


def _class_folders(folder: Path) -> list[Path]:
    class_folders = [path for path in _visible(folder.glob("*")) if path.is_dir()]
    if not class_folders:
        raise UserError(f"data folder {folder}: has no class folders; it must hold <class>/<images>")
    return class_folders


def _labelled_files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Return the image files of one part, each with the index of its class in ``classes``.

    Raises:
        UserError: a class is not in ``classes``, or has no image.
    """
    class_folders = _class_folders(folder)
    unknown = [path.name for path in class_folders if path.name not in classes]
    if unknown:
        named = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise UserError(f"data folder {folder}: has classes that train does not have: {named}")
    Image.init()
    readable = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files, ignored = [], []
    for class_folder in class_folders:
        inside = [path for path in _visible(class_folder.rglob("*")) if path.is_file()]
        images = [path for path in inside if path.suffix.lower() in readable]
        if not images:
            raise UserError(f"data folder {class_folder}: the class is empty (no file in an image format)")
        ignored += [path for path in inside if path.suffix.lower() not in readable]
        files += [(path, classes.index(class_folder.name)) for path in images]
    if ignored:
        report(f"{folder}: skipped {len(ignored)} non-image files, such as {ignored[0]}")
    return files


def _read(path: Path, label: int, resize: int | None) -> _Picture:
    """Decode one image.

    Raises:
        UserError: the image is unreadable, or its size is out of bounds and ``resize`` is None.
    """
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            rgb = _upright_rgb(image)
    except Exception as error:  # a decoder may raise anything on damaged bytes
        unknown = "not in a format that Pillow knows, or damaged"
        message = unknown if isinstance(error, UnidentifiedImageError) else reason(error)
        raise UserError(f"image {path}: cannot be read ({message})") from error
    if resize is not None:
        rgb = ImageOps.fit(rgb, (resize, resize), Image.Resampling.BICUBIC)
    elif min(rgb.size) < SMALLEST or max(rgb.size) > LARGEST:
        size = "x".join(map(str, rgb.size))
        raise UserError(
            f"image {path}: is {size}, sides must be {SMALLEST} to {LARGEST} pixels; set resize to scale all images"
        )
    pixels = np.asarray(rgb).transpose(2, 0, 1)
    if (pixels == pixels[:1]).all():
        pixels = pixels[:1]
    pixels = np.ascontiguousarray(pixels)
    return _Picture(path, label, pixels, hashlib.sha256(content).hexdigest(), hashlib.sha256(pixels.data).hexdigest())


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Return the first frame as a viewer shows it: rotated as its EXIF data say, on white where it is transparent."""
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8, not scale them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; store them in 8 or 16 bits")
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _check_one_size(parts: Parts) -> None:
    first, *others = chain(*parts.values())
    for other in others:
        if other.size != first.size:
            raise UserError(
                f"image {other.path}: is {other.size}, but {first.path} is {first.size}; "
                "images must be of one size, or set resize to scale all of them"
            )


def _keep_apart(parts: Parts, root: Path) -> None:
    """Leave images of test and validation out of train, and images of test out of validation.

    Raises:
        UserError: no image is left in a class of train, or in validation.
    """
    taken: dict[str, str] = {}
    for part in ("test", "validation", "train"):
        pictures = parts.get(part, [])
        repeated = [picture for picture in pictures if picture.bitmap in taken]
        if repeated:
            example = repeated[0]
            report(
                f"data folder {root}: left {len(repeated)} images out of {part} that are in {taken[example.bitmap]} "
                f"too, such as {example.path}"
            )
            parts[part] = [picture for picture in pictures if picture.bitmap not in taken]
            remaining = {picture.label for picture in parts[part]}
            emptied = next((p.path.parent for p in repeated if p.label not in remaining), None)
            if emptied and (part == "train" or not remaining):
                raise UserError(f"data folder {emptied}: no image is left, all of them are in test or validation too")
        for picture in pictures:
            taken.setdefault(picture.bitmap, part)


def _carve(pictures: list[_Picture]) -> tuple[list[_Picture], list[_Picture]]:
    """Split train into train and validation by the sha256 of the files.

    A bitmap is counted once and moved with all its copies; a bitmap that occurs in two classes stays in train.
    """
    labels: defaultdict[str, set[int]] = defaultdict(set)
    rank: dict[str, str] = {}
    for picture in pictures:
        labels[picture.bitmap].add(picture.label)
        rank[picture.bitmap] = min(picture.file, rank.get(picture.bitmap, picture.file))
    of_class: defaultdict[int, list[str]] = defaultdict(list)
    for bitmap in sorted(rank, key=rank.__getitem__):
        for label in labels[bitmap]:
            of_class[label].append(bitmap)
    held_out: set[str] = set()
    for bitmaps in of_class.values():
        count = min(max(1, round(len(bitmaps) / HELD_OUT)), len(bitmaps) - 1)
        held_out.update([bitmap for bitmap in bitmaps if len(labels[bitmap]) == 1][:count])
    return (
        [picture for picture in pictures if picture.bitmap not in held_out],
        [picture for picture in pictures if picture.bitmap in held_out],
    )


def _name(root: Path) -> str:
    """Return the folder's name, safe in a path and different from the names of the project's own data sets."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", root.resolve().name).strip("-") or "images"
    return f"folder-{name}" if name in ("icons", "cifar100", "mnist") else name


def _image_set(pictures: list[_Picture], channels: int) -> ImageSet:
    images = np.empty((len(pictures), channels, *pictures[0].pixels.shape[1:]), np.uint8)
    for image, picture in zip(images, pictures, strict=True):
        image[:] = picture.pixels  # a single channel is repeated if other images show color
    return ImageSet(torch.from_numpy(images), torch.tensor([picture.label for picture in pictures]))
