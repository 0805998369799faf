"""CIFAR-100: only the published images are accepted, both layouts give the same tensors, and parts share no image."""

import hashlib
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from repro.data import cifar100
from repro.errors import UserError

NAMES = ("ant", "bee", "cow")


def bitmaps(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def are_equal(first, second) -> bool:
    parts = [(getattr(first, part), getattr(second, part)) for part in ("train", "validation", "test")]
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in parts)


def records_of(cases: int, seed: int) -> np.ndarray:
    records = np.random.default_rng(seed).integers(0, 256, (cases, 1 + cifar100.PIXELS), dtype=np.uint8)
    records[:, 0] = np.arange(cases) % len(NAMES)
    return records


def write_strips(root, part: str, records: np.ndarray) -> None:
    for label, name in enumerate(NAMES):
        planes = records[records[:, 0] == label, 1:].reshape(-1, 3, 32, 32)
        path = root / "cifar100" / part / f"{name}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(planes.transpose(0, 2, 3, 1).reshape(-1, 32, 3)).save(path, lossless=True)


def write_official(root, part: str, records: np.ndarray) -> str:
    """Write a part in the official layout and return the md5 of its pickle."""
    entry = {"data": records[:, 1:].copy(), "fine_labels": records[:, 0].tolist(), "coarse_labels": []}
    path = root / "CIFAR100" / "cifar-100-python" / part
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(entry))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A miniature CIFAR-100 of 3 classes in both layouts, with repeated images as in the real data set.

    60 + 12 images. Two images of train are also in test, one occurs twice in train, and one has two classes.
    """
    from torchvision.datasets import CIFAR100

    parts = {"train": records_of(60, 0), "test": records_of(12, 1)}
    train, test = parts["train"], parts["test"]
    train[0], train[1, 1:] = test[0], test[3, 1:]
    train[2], train[3, 1:] = train[5], train[4, 1:]
    roots = {"strips": tmp_path / "strips", "official": tmp_path / "official"}
    md5 = {}
    for part, records in parts.items():
        write_strips(roots["strips"], part, records)
        # In another order, as in the official files: the result must not depend on the source.
        md5[part] = write_official(roots["official"], part, records[::-1])
    digests = {
        part: hashlib.sha256(b"".join(sorted(map(bytes, records)))).hexdigest() for part, records in parts.items()
    }
    monkeypatch.setattr(cifar100, "DIGESTS", digests)
    monkeypatch.setattr(cifar100, "CLASSES", NAMES)
    monkeypatch.setattr(cifar100, "VALIDATION", 4)
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5["test"]]])

    def no_network(self):
        raise OSError("no route\nto host")

    monkeypatch.setattr(CIFAR100, "download", no_network)
    return roots, parts


def test_both_layouts_of_cifar100_give_the_same_tensors(small):
    roots, _ = small
    strips, official = cifar100.load(roots["strips"]), cifar100.load(roots["official"])
    assert are_equal(strips, official) and strips.digest == official.digest
    assert strips.classes == NAMES and strips.name == "cifar100" and strips.horizontal_flip
    assert strips.train.images.dtype == torch.uint8 and strips.train.images.shape[1:] == (3, 32, 32)
    assert strips.train.labels.dtype == torch.int64
    assert torch.bincount(strips.validation.labels).tolist() == [4, 4, 4]


def test_every_case_of_cifar100_keeps_its_label(small):
    roots, parts = small
    data = cifar100.load(roots["strips"])
    assert len(data.test) == 12 and len(data.train) + len(data.validation) == 58
    expected = Counter(map(bytes, np.concatenate([parts["train"][2:], parts["test"]])))
    actual = Counter(
        bytes([label]) + bitmap
        for part in (data.train, data.validation, data.test)
        for label, bitmap in zip(part.labels.tolist(), bitmaps(part.images), strict=True)
    )
    assert actual == expected


def test_no_image_of_cifar100_is_in_two_parts(small, monkeypatch):
    roots, _ = small
    monkeypatch.setattr(cifar100, "VALIDATION", 18)  # as many as possible
    data = cifar100.load(roots["strips"])
    train, validation, test = (set(bitmaps(part.images)) for part in (data.train, data.validation, data.test))
    assert not train & validation and not train & test and not validation & test
    assert torch.bincount(data.validation.labels).tolist() == [18, 18, 18]
    assert len(data.train) == 4 and len(train) == 2  # copies stay together


@pytest.mark.parametrize("part", ["train", "test"])
def test_altered_strips_are_refused(small, part):
    roots, parts = small
    altered = parts[part].copy()
    altered[7, 100] ^= 1
    write_strips(roots["strips"], part, altered)
    with pytest.raises(UserError, match=f"cifar100/{part} does not hold the {part} images of CIFAR-100"):
        cifar100.load(roots["strips"])


@pytest.mark.parametrize(
    ("content", "message"), [(None, "bee.webp is missing"), (b"RIFF", "bee.webp cannot be read as an image")]
)
def test_a_missing_or_broken_strip_is_named(small, content, message):
    roots, _ = small
    path = roots["strips"] / "cifar100" / "train" / "bee.webp"
    path.unlink()
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        cifar100.load(roots["strips"])


def test_a_strip_of_another_width_is_named(small):
    roots, _ = small
    Image.new("RGB", (33, 64)).save(roots["strips"] / "cifar100" / "test" / "cow.webp")
    with pytest.raises(UserError, match=r"cow\.webp must be a strip 32 pixels wide of whole images, not 33x64"):
        cifar100.load(roots["strips"])


def test_an_altered_official_file_is_never_unpickled(small, capsys):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was read before its digest was checked",))

    roots, _ = small
    (roots["official"] / "CIFAR100" / "cifar-100-python" / "test").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"cifar-100-python/test is truncated or altered and could not be fetched"):
        cifar100.load(roots["official"])
    assert "fetching" in capsys.readouterr().err


def test_official_files_with_other_images_are_refused(small, monkeypatch):
    from torchvision.datasets import CIFAR100

    roots, parts = small
    monkeypatch.setattr(CIFAR100, "test_list", [["test", write_official(roots["official"], "test", parts["test"][1:])]])
    with pytest.raises(UserError, match="cifar-100-python/test does not hold the test images"):
        cifar100.load(roots["official"])


def test_without_cifar100_one_line_names_the_files_to_provide(small, tmp_path):
    with pytest.raises(UserError) as error:
        cifar100.load(tmp_path / "nothing")
    message = str(error.value)
    assert "\n" not in message and "no route to host" in message
    assert "nothing/CIFAR100/cifar-100-python" in message and "nothing/cifar100/{train,test}/<class>.webp" in message


def test_fetched_files_are_read(small, monkeypatch, tmp_path):
    from torchvision.datasets import CIFAR100

    roots, parts = small
    monkeypatch.setattr(
        CIFAR100, "download", lambda self: [write_official(tmp_path / "new", p, r[::-1]) for p, r in parts.items()]
    )
    monkeypatch.setattr(CIFAR100, "_load_meta", lambda self: None)
    assert are_equal(cifar100.load(tmp_path / "new"), cifar100.load(roots["strips"]))
    (tmp_path / "new" / "CIFAR100").rename(tmp_path / "new" / "cifar100")  # its name on a file system that ignores case
    (tmp_path / "new" / "CIFAR100").symlink_to(tmp_path / "new" / "cifar100")
    assert are_equal(cifar100.load(tmp_path / "new"), cifar100.load(roots["strips"]))


def test_the_class_names_are_those_published():
    assert len(cifar100.CLASSES) == 100 and list(cifar100.CLASSES) == sorted(set(cifar100.CLASSES))
