"""Any folder of images in torchvision's ImageFolder layout.

``folder_layout`` finds the files and ``pictures`` decodes them. Labels number train's class folders in alphabetical
order. Nothing depends on the names of the files: cases are sorted by the sha256 of their files, which also decides the
validation split if there is no folder for it.
"""

import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from repro.data import folder_layout
from repro.data.pictures import LARGEST, SMALLEST, Picture, read
from repro.data.types import ImageData, ImageSet
from repro.engine.store import key
from repro.errors import UserError
from repro.names import dataset_name, text_of

HELD_OUT = 10  # one image in ten is in the validation split
TWO_CLASSES = "the same image in another class, kept in both"

Parts = dict[str, list[Picture]]
Reasons = dict[str, list[str]]


def load(root: Path, resize: int | None = None, horizontal_flip: bool = True) -> ImageData:
    """Read the images under ``root``: gray if none of them shows a color, else RGB; transparency becomes white.

    No image is in two parts: an image of train that is also in test or validation is left out of train, and one of
    validation that is also in test out of validation, so that accuracy is measured on the test set as given. With
    ``horizontal_flip`` this holds for mirror images, too, since training flips images. Without a folder for validation,
    a tenth of each class of train is held out: at least one image, and never the only one of a class. Files that are
    left out or changed are listed by reason.

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
        raise UserError(f"data.resize: must be {SMALLEST} to {LARGEST} pixels, not {resize}")
    # All folders are checked before the first image is decoded, so that errors there are reported at once.
    layout = folder_layout.find(root)
    left_out: Reasons = layout.left_out
    remarked: defaultdict[str, list[str]] = defaultdict(list)
    parts = {part: _decode(files, resize) for part, files in layout.files.items()}
    _check_one_size(parts)
    _keep_apart(parts, root, horizontal_flip, left_out)
    for picture in chain(*parts.values()):
        for remark in picture.remarks:
            remarked[remark].append(text_of(picture.path.relative_to(root)))
    for picture in chain(*map(_in_two_classes, parts.values())):
        remarked[TWO_CLASSES].append(text_of(picture.path.relative_to(root)))
    if "validation" not in parts:
        parts["train"], parts["validation"] = _carve(parts["train"], horizontal_flip)
        if not parts["validation"]:
            raise UserError(
                f"data folder {root / 'train'}: no class has a second image that could be held out for validation; "
                f"add some, or a folder {root / 'validation'}"
            )
    channels = max(len(picture.pixels) for picture in chain(*parts.values()))
    for pictures in parts.values():
        pictures.sort(key=lambda picture: (picture.file, picture.label))
    content = [[(picture.bitmap, picture.label) for picture in parts[part]] for part in ("train", "validation", "test")]
    size, flip = parts["train"][0].size, [] if horizontal_flip else ["not mirrored"]
    return ImageData(
        name=dataset_name(root, "images"),
        classes=layout.classes,
        train=_image_set(parts["train"], channels),
        validation=_image_set(parts["validation"], channels),
        test=_image_set(parts["test"], channels),
        horizontal_flip=horizontal_flip,
        digest=key([layout.folder_names, size, content, *flip]),
        left_out=dict(left_out),
        remarked=dict(remarked),
    )


def _decode(files: folder_layout.Labelled, resize: int | None) -> list[Picture]:
    # Pillow warns about damaged metadata, of which the remarks tell, and of large images, which resize makes small.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return list(pool.map(partial(read, resize=resize), *zip(*files, strict=True)))


def _check_one_size(parts: Parts) -> None:
    first, *others = chain(*parts.values())
    for other in others:
        if other.size != first.size:
            raise UserError(
                f"image {other.path}: is {other.size}, but {first.path} is {first.size}; "
                "images must be of one size, or set data.resize to scale all of them"
            )


def _keep_apart(parts: Parts, root: Path, horizontal_flip: bool, left_out: Reasons) -> None:
    """Leave images of test and validation out of train, and images of test out of validation.

    Args:
        parts: the images of each part, from which those left out are removed.
        root: the folder that names of files are relative to.
        horizontal_flip: whether the mirror images of test and validation are left out, too.
        left_out: files that are left out, by reason; those left out here are added.

    Raises:
        UserError: no image is left in a class of train, or in validation.
    """
    taken: dict[str, str] = {}  # why an image is left out of the parts that follow, by bitmap
    images = "all of them, or their mirror images," if horizontal_flip else "all of them"
    for part in [part for part in ("test", "validation", "train") if part in parts]:
        pictures = parts[part]
        repeated = [picture for picture in pictures if picture.bitmap in taken]
        for picture in repeated:
            reason = f"{taken[picture.bitmap]}, left out of {part}"
            left_out.setdefault(reason, []).append(text_of(picture.path.relative_to(root)))
        parts[part] = [picture for picture in pictures if picture.bitmap not in taken]
        remaining = {picture.label for picture in parts[part]}
        emptied = next((p.path.parent for p in repeated if p.label not in remaining), None)
        if emptied and (part == "train" or not remaining):
            raise UserError(f"data folder {emptied}: no image is left, {images} are in test or validation too")
        for picture in pictures:
            taken.setdefault(picture.bitmap, f"in {part} too")
        if horizontal_flip:
            for picture in pictures:
                taken.setdefault(picture.mirror_bitmap, f"the mirror image is in {part}")


def _in_two_classes(pictures: list[Picture]) -> list[Picture]:
    """Return the images of a part whose bitmap occurs in more than one class of it."""
    labels: defaultdict[str, set[int]] = defaultdict(set)
    for picture in pictures:
        labels[picture.bitmap].add(picture.label)
    return [picture for picture in pictures if len(labels[picture.bitmap]) > 1]


def _carve(pictures: list[Picture], horizontal_flip: bool) -> tuple[list[Picture], list[Picture]]:
    """Split train into train and validation by the sha256 of the files.

    An image is counted once and moved with all its copies, with ``horizontal_flip`` also with its mirror images. An
    image that occurs in two classes stays in train.
    """

    def image_of(picture: Picture) -> str:
        return min(picture.bitmap, picture.mirror_bitmap) if horizontal_flip else picture.bitmap

    labels: defaultdict[str, set[int]] = defaultdict(set)
    rank: dict[str, str] = {}
    for picture in pictures:
        image = image_of(picture)
        labels[image].add(picture.label)
        rank[image] = min(picture.file, rank.get(image, picture.file))
    of_class: defaultdict[int, list[str]] = defaultdict(list)
    for image in sorted(rank, key=rank.__getitem__):
        for label in labels[image]:
            of_class[label].append(image)
    held_out: set[str] = set()
    for images in of_class.values():
        count = min(max(1, round(len(images) / HELD_OUT)), len(images) - 1)
        held_out.update([image for image in images if len(labels[image]) == 1][:count])
    return (
        [picture for picture in pictures if image_of(picture) not in held_out],
        [picture for picture in pictures if image_of(picture) in held_out],
    )


def _image_set(pictures: list[Picture], channels: int) -> ImageSet:
    images = np.empty((len(pictures), channels, *pictures[0].pixels.shape[1:]), np.uint8)
    for image, picture in zip(images, pictures, strict=True):
        image[:] = picture.pixels  # a single channel is repeated if other images show color
    return ImageSet(torch.from_numpy(images), torch.tensor([picture.label for picture in pictures]))
