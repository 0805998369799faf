"""CIFAR-100 (Krizhevsky 2009): the same tensors from lossless strips or from the official files.

A record is a byte with the label, then 3,072 bytes with the pixels: the red plane by rows, the green, the blue. The
sha256 of an image's 3,072 bytes decides whatever could depend on the source: the order of the cases and the choice of
the validation split. It is unrelated to what an image shows, so this is equivalent to random sampling.
"""

import hashlib
import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from repro.data.download import file_digest, network_timeout, report
from repro.data.types import ImageData, ImageSet
from repro.engine.store import key
from repro.errors import UserError, reason

# sha256 over the sorted records of each published part.
DIGESTS = {
    "train": "37a2b72bd30f9438ff20798c661450f58f138c034f556846cd744a56bbb09967",
    "test": "b9ad4d741ee82873becf8846c246715e789a57766586a9677a8bbe26c8b30279",
}
NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CLASSES = tuple(NAMES.split())
SIDE = 32
PIXELS = 3 * SIDE * SIDE
VALIDATION = 50  # images of each class, out of 500

Records = UInt8[np.ndarray, "case byte"]


def load(folder: Path) -> ImageData:
    """Read CIFAR-100: 44,990 images for training, 5,000 for validation, and the 10,000 of the published test part.

    The source is ``folder``/cifar100/{train,test}/<class>.webp, lossless vertical strips of 32x32 images, if that
    directory exists; else ``folder``/CIFAR100/cifar-100-python, which torchvision fetches if it is missing or altered.

    The published parts share images. Ten images of train also occur in test (six of them with another class) and are
    left out of train; test stays complete. Fourteen bitmaps occur twice in train, nine of them with two classes: only
    an image that occurs once can be in the validation split, so these stay in train together.

    Raises:
        UserError: a file is missing, unreadable or altered, or the official files cannot be fetched.
    """
    if (
        folder / "cifar100" / "train"
    ).is_dir():  # on a file system that ignores case, torchvision's folder has that name, too
        return _arrange(*(_from_strips(folder / "cifar100" / part, part) for part in DIGESTS))
    return _arrange(*_from_torchvision(folder / "CIFAR100"))


def _arrange(train: Records, test: Records) -> ImageData:
    """Return records, given in any order, as the three parts, each in the order of its images' sha256."""
    train_names, test_names = _names(train), _names(test)
    in_test = {bitmap for bitmap, _ in test_names}
    copies = Counter(bitmap for bitmap, _ in train_names)
    chosen: dict[str, list[int]] = {"train": [], "validation": []}
    held_out: Counter[int] = Counter()
    for case in _order(train_names):
        bitmap, label = train_names[case]
        if bitmap in in_test:
            continue
        part = "validation" if copies[bitmap] == 1 and held_out[label] < VALIDATION else "train"
        held_out[label] += part == "validation"
        chosen[part].append(case)
    parts = [(train_names, chosen["train"]), (train_names, chosen["validation"]), (test_names, _order(test_names))]
    content = [[(names[case][0].hex(), names[case][1]) for case in cases] for names, cases in parts]
    return ImageData(
        name="cifar100",
        classes=CLASSES,
        train=_image_set(train, chosen["train"]),
        validation=_image_set(train, chosen["validation"]),
        test=_image_set(test, parts[-1][1]),
        horizontal_flip=True,
        digest=key([CLASSES, content]),
    )


def _names(records: Records) -> list[tuple[bytes, int]]:
    """Return the sha256 of each image with its label: equal only for equal records."""
    return [(hashlib.sha256(record[1:]).digest(), int(record[0])) for record in records]


def _order(names: list[tuple[bytes, int]]) -> list[int]:
    return sorted(range(len(names)), key=names.__getitem__)


def _image_set(records: Records, cases: list[int]) -> ImageSet:
    images = records[cases, 1:].reshape(-1, 3, SIDE, SIDE)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(records[cases, 0].astype(np.int64)))


def _published(records: Records, part: str, source: Path) -> Records:
    """Return the records after checking that they are the published ones, in any order.

    Raises:
        UserError: they are not the published ones.
    """
    content = hashlib.sha256()
    for record in sorted(map(bytes, records)):
        content.update(record)
    if content.hexdigest() != DIGESTS[part]:
        raise UserError(
            f"data: {source} does not hold the {part} images of CIFAR-100 as published "
            f"(sha256 of the sorted records {content.hexdigest()[:12]}..., not {DIGESTS[part][:12]}...); replace it"
        )
    return records


def _from_strips(folder: Path, part: str) -> Records:
    # Decoding takes nearly all the time of a load, and Pillow releases the interpreter lock while it decodes.
    with ThreadPoolExecutor() as pool:
        strips = list(pool.map(_read_strip, (folder / f"{name}.webp" for name in CLASSES)))
    records = [np.insert(strip, 0, label, axis=1) for label, strip in enumerate(strips)]
    return _published(np.concatenate(records), part, folder)


def _read_strip(path: Path) -> UInt8[np.ndarray, "case byte"]:
    """Return the pixels of the images in a vertical strip, as color planes.

    Raises:
        UserError: the file is missing, is no image, or is no strip of 32x32 images.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"data: {path} is missing") from None
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise UserError(f"data: {path} cannot be read as an image ({reason(error)})") from error
    height, width, _ = pixels.shape
    if width != SIDE or height % SIDE:
        raise UserError(f"data: {path} must be a strip {SIDE} pixels wide of whole images, not {width}x{height}")
    return pixels.reshape(-1, SIDE, SIDE, 3).transpose(0, 3, 1, 2).reshape(-1, PIXELS)


def _from_torchvision(folder: Path) -> list[Records]:
    """Return the records of the official pickles, fetched first if one is missing or is not the published file.

    Raises:
        UserError: a file is not the published one, or cannot be fetched.
    """
    from torchvision.datasets import CIFAR100

    files = {
        part: (folder / CIFAR100.base_folder / name, md5)
        for part, [(name, md5)] in zip(DIGESTS, (CIFAR100.train_list, CIFAR100.test_list), strict=True)
    }
    bad = [path for path, md5 in files.values() if file_digest(path, "md5") != md5]
    if bad:
        _fetch(folder, next((path for path in bad if path.exists()), None))
    records = []
    for part, (path, md5) in files.items():
        content = path.read_bytes()
        # A pickle can run code when it is read: only the very file that torchvision knows is unpickled.
        if hashlib.md5(content).hexdigest() != md5:
            raise UserError(f"data: {path} is not the published file; remove it")
        entry = pickle.loads(content, encoding="latin1")
        labels = np.asarray(entry["fine_labels"], np.uint8)
        records.append(_published(np.insert(entry["data"], 0, labels, axis=1), part, path))
    return records


def _fetch(folder: Path, altered: Path | None) -> None:
    """Let torchvision download, check and unpack the official archive into ``folder``.

    Raises:
        UserError: the download fails; the message names the files to put there by hand.
    """
    from torchvision.datasets import CIFAR100

    problem = f"{altered} is truncated or altered" if altered else f"CIFAR-100 is not in {folder.parent}"
    report(f"{problem}; fetching it from torchvision's source")
    try:
        with network_timeout():
            CIFAR100(str(folder), download=True)
    except Exception as error:  # whatever fails, the user can put the files there by hand
        raise UserError(
            f"data: {problem} and could not be fetched ({reason(error)}); put the official files in "
            f"{folder / CIFAR100.base_folder}, or lossless strips in "
            f"{folder.parent / 'cifar100'}/{{train,test}}/<class>.webp"
        ) from error
