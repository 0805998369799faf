"""Image data sets of many classes: the published CIFAR-100 or none, and any folder of images, or a clear line."""

import hashlib
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from repro.data import cifar100, folder
from repro.errors import UserError

NAMES = ("ant", "bee", "cow")


def bitmaps(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def are_equal(one, other) -> bool:
    parts = [(getattr(one, part), getattr(other, part)) for part in ("train", "validation", "test")]
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
    """The md5 of the pickle that was written."""
    entry = {"data": records[:, 1:].copy(), "fine_labels": records[:, 0].tolist(), "coarse_labels": []}
    path = root / "CIFAR100" / "cifar-100-python" / part
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(entry))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A miniature CIFAR-100 of 3 classes in both layouts, with repeated images like the real one's.

    60 + 12 images. Two of train stand in test; one of train stands there twice; one under two classes.
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
        # Another order, as the official files have it: the source must not show in the result.
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
    assert strips.classes == NAMES and strips.name == "cifar100" and strips.mirrored
    assert strips.train.images.dtype == torch.uint8 and strips.train.images.shape[1:] == (3, 32, 32)
    assert strips.train.labels.dtype == torch.int64
    assert torch.bincount(strips.validation.labels).tolist() == [4, 4, 4]


def test_every_case_of_cifar100_keeps_its_label(small):
    roots, parts = small
    data = cifar100.load(roots["strips"])
    assert len(data.test) == 12 and len(data.train) + len(data.validation) == 58
    expected = Counter(map(bytes, np.concatenate([parts["train"][2:], parts["test"]])))
    found = Counter(
        bytes([label]) + bitmap
        for part in (data.train, data.validation, data.test)
        for label, bitmap in zip(part.labels.tolist(), bitmaps(part.images), strict=True)
    )
    assert found == expected


def test_no_image_of_cifar100_is_in_two_parts(small, monkeypatch):
    roots, _ = small
    monkeypatch.setattr(cifar100, "VALIDATION", 18)  # all that may be validation
    data = cifar100.load(roots["strips"])
    train, validation, test = (set(bitmaps(part.images)) for part in (data.train, data.validation, data.test))
    assert not train & validation and not train & test and not validation & test
    assert torch.bincount(data.validation.labels).tolist() == [18, 18, 18]
    assert len(data.train) == 4 and len(train) == 2  # what stands twice stays together


@pytest.mark.parametrize("part", ["train", "test"])
def test_altered_strips_are_refused_by_name(small, part):
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


def test_official_files_with_the_digest_of_others_are_refused(small, monkeypatch):
    from torchvision.datasets import CIFAR100

    roots, parts = small
    monkeypatch.setattr(CIFAR100, "test_list", [["test", write_official(roots["official"], "test", parts["test"][1:])]])
    with pytest.raises(UserError, match="cifar-100-python/test does not hold the test images"):
        cifar100.load(roots["official"])


def test_without_cifar100_one_line_says_what_may_be_put_where(small, tmp_path):
    with pytest.raises(UserError) as error:
        cifar100.load(tmp_path / "nothing")
    message = str(error.value)
    assert "\n" not in message and "no route to host" in message
    assert "nothing/CIFAR100/cifar-100-python" in message and "nothing/cifar100/{train,test}/<class>.webp" in message


def test_what_is_fetched_is_read(small, monkeypatch, tmp_path):
    from torchvision.datasets import CIFAR100

    roots, parts = small
    monkeypatch.setattr(
        CIFAR100, "download", lambda self: [write_official(tmp_path / "new", p, r[::-1]) for p, r in parts.items()]
    )
    monkeypatch.setattr(CIFAR100, "_load_meta", lambda self: None)
    assert are_equal(cifar100.load(tmp_path / "new"), cifar100.load(roots["strips"]))


def test_the_published_classes_and_counts_are_stated():
    assert len(cifar100.CLASSES) == 100 and list(cifar100.CLASSES) == sorted(set(cifar100.CLASSES))


def noise(seed: int, size: tuple[int, int] = (12, 12), grey: bool = False) -> Image.Image:
    shape = size[::-1] if grey else (*size[::-1], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def tree(tmp_path):
    """A folder of two classes with 20 + 3 coloured images each."""
    root = tmp_path / "my pets!"
    for label, name in enumerate(("cat", "dog")):
        for part, first, count in (("train", 0, 20), ("test", 500, 3)):
            (root / part / name).mkdir(parents=True)
            for case in range(count):
                noise(1000 * label + first + case).save(root / part / name / f"{case}.png")
    return root


def test_a_folder_of_images_is_read_and_split(tree):
    data = folder.load(tree, None)
    assert data.name == "my-pets" and data.classes == ("cat", "dog") and data.mirrored
    assert data.train.images.shape == (36, 3, 12, 12) and data.train.images.dtype == torch.uint8
    for part, counts in (("train", [18, 18]), ("validation", [2, 2]), ("test", [3, 3])):
        assert torch.bincount(getattr(data, part).labels).tolist() == counts
    labels = dict(zip(bitmaps(data.test.images), data.test.labels.tolist(), strict=True))
    for label, name in enumerate(data.classes):
        pixels = np.asarray(Image.open(tree / "test" / name / "1.png")).transpose(2, 0, 1)
        assert labels[pixels.tobytes()] == label


def test_names_of_files_do_not_matter_but_content_does(tree):
    before = folder.load(tree, None)
    for path in sorted(tree.glob("train/cat/*")):
        path.rename(path.with_stem(f"{99 - int(path.stem)}-turned-round"))
    after = folder.load(tree, None)
    assert are_equal(before, after) and before.digest == after.digest
    noise(77).save(tree / "train" / "dog" / "3.png")
    assert folder.load(tree, None).digest != before.digest
    (tree / "train" / "cat").rename(tree / "train" / "cow")
    (tree / "test" / "cat").rename(tree / "test" / "cow")
    assert folder.load(tree, None).classes == ("cow", "dog")


@pytest.mark.parametrize("name", ["validation", "val"])
def test_a_folder_for_validation_is_used(tree, name):
    (tree / name / "dog").mkdir(parents=True)
    noise(99).save(tree / name / "dog" / "a.jpg")
    data = folder.load(tree, None)
    assert len(data.train) == 40 and data.validation.labels.tolist() == [1]


def test_repeated_images_stay_on_one_side(tree):
    for case in range(20):
        noise(case).save(tree / "train" / "cat" / f"again{case}.bmp")  # each of them twice, in two formats
    for case in range(15):
        noise(case).save(tree / "train" / "dog" / f"a-cat-too{case}.png")
    data = folder.load(tree, None)
    train, validation = set(bitmaps(data.train.images)), set(bitmaps(data.validation.images))
    assert not train & validation and len(data.train) + len(data.validation) == 75
    assert torch.bincount(data.validation.labels).tolist() == [4, 4]  # of 20 bitmaps 2, each twice; of 35 bitmaps 4


def test_an_image_of_test_is_left_out_of_train(tree, capsys):
    noise(7).save(tree / "test" / "dog" / "seven.png")
    data = folder.load(tree, None)
    assert len(data.test) == 7 and len(data.train) + len(data.validation) == 39
    assert not set(bitmaps(data.test.images)) & set(bitmaps(data.train.images) + bitmaps(data.validation.images))
    error = capsys.readouterr().err
    assert "left 1 images out of train" in error and "cat/7.png" in error


def test_a_class_of_one_image_stays_in_train(tree):
    """Even if that image is one which another class would give to validation."""
    before = folder.load(tree, None).validation
    given = before.images[before.labels == 0][0].permute(1, 2, 0).numpy()
    add(tree / "train" / "emu" / "only.png", Image.fromarray(given))
    data = folder.load(tree, None)
    assert torch.bincount(data.train.labels).tolist() == [18, 18, 1] and data.validation.labels.max() == 1


def test_grey_images_have_one_channel_whatever_their_format(tmp_path):
    for part in ("train", "test"):
        for label, name in enumerate("ab"):
            (tmp_path / part / name).mkdir(parents=True)
            for case in range(2):
                image = noise(10 * label + case + 100 * (part == "test"), grey=True)
                image.convert("RGB" if case else "L").save(tmp_path / part / name / f"{case}.png")
    grey = folder.load(tmp_path, None)
    assert grey.train.images.shape == (2, 1, 12, 12)
    noise(0).save(tmp_path / "test" / "a" / "coloured.png")
    mixed = folder.load(tmp_path, None)
    assert mixed.train.images.shape == (2, 3, 12, 12) and torch.equal(mixed.train.images[:, 1:2], grey.train.images)


def test_transparency_becomes_white_and_16_bits_are_scaled(tree):
    clear = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
    clear.save(tree / "test" / "cat" / "clear.png")
    Image.fromarray(np.full((12, 12), 0x8000, np.uint16)).save(tree / "test" / "dog" / "deep.png")
    images = bitmaps(folder.load(tree, None).test.images)
    assert bytes([255]) * 432 in images and bytes([128]) * 432 in images


def test_resizing_keeps_the_middle_square(tree):
    wide = Image.new("RGB", (600, 300), "red")
    wide.paste("blue", (50, 0, 550, 300))
    wide.save(tree / "test" / "cat" / "wide.png")
    data = folder.load(tree, 8)
    assert data.train.images.shape[1:] == (3, 8, 8) and data.test.images.shape[1:] == (3, 8, 8)
    blue = torch.tensor([0, 0, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8)
    assert any(torch.equal(image, blue) for image in data.test.images)


def remove(path) -> None:
    for inside in sorted(path.rglob("*"), reverse=True):
        inside.rmdir() if inside.is_dir() else inside.unlink()
    path.rmdir()


def add(path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def empty(path) -> None:
    remove(path)
    path.mkdir()


BAD = {
    "root": (remove, "my pets!: there is no such folder"),
    "train": (lambda root: remove(root / "train"), "has no folder 'train'"),
    "test": (lambda root: remove(root / "test"), "has no folder 'test'"),
    "no class": (lambda root: empty(root / "train"), "train: has no class folders"),
    "one class": (lambda root: remove(root / "train" / "dog"), "must hold two or more classes, has only 'cat'"),
    "empty class": (lambda root: empty(root / "train" / "dog"), "train/dog: the class is empty"),
    "empty test class": (lambda root: empty(root / "test" / "cat"), "test/cat: the class is empty"),
    "not an image": (lambda root: (root / "train/cat/5.png").write_bytes(b"hello"), "train/cat/5.png: cannot be read"),
    "truncated": (
        lambda root: (root / "test/dog/1.png").write_bytes((root / "test/dog/1.png").read_bytes()[:200]),
        "test/dog/1.png: cannot be read",
    ),
    "unknown range": (
        lambda root: add(root / "test/dog/1.tif", Image.new("F", (12, 12))),
        "test/dog/1.tif: cannot be read (pixels of mode F have no known range",
    ),
    "two sizes": (
        lambda root: add(root / "test/dog/1.png", noise(1, (16, 12))),
        "test/dog/1.png: is 16x12, but",
    ),
    "unknown class": (
        lambda root: (add(root / "test/emu/1.png", noise(1)), add(root / "test/yak/1.png", noise(2))),
        "test: has classes that train has not: emu, yak",
    ),
    "unknown validation class": (
        lambda root: add(root / "val/emu/1.png", noise(1)),
        "val: has classes that train has not: emu",
    ),
    "two validations": (
        lambda root: (add(root / "val/cat/1.png", noise(1)), add(root / "validation/cat/1.png", noise(1))),
        "has both 'validation' and 'val'",
    ),
    "too small": (lambda root: add(root / "train/cat/0.png", noise(1, (7, 12))), "0.png: is 7x12, sides must be 8 to"),
    "too large": (lambda root: add(root / "train/cat/0.png", noise(1, (12, 257))), "0.png: is 12x257, sides must be 8"),
    "all of a class in test": (
        lambda root: [path.rename(root / "test" / path.relative_to(root / "train").with_stem(f"t{path.stem}"))
                      for path in (root / "train/cat").glob("*")]
        and add(root / "train/cat/0.png", noise(0)),
        "train/cat: no image is left",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_one_clear_line(tree, case):
    spoil, message = BAD[case]
    spoil(tree)
    with pytest.raises(UserError) as error:
        folder.load(tree, None)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("case", ["two sizes", "too small", "too large"])
def test_resizing_is_what_mends_other_sizes(tree, case):
    BAD[case][0](tree)
    with pytest.raises(UserError, match="set resize"):
        folder.load(tree, None)
    assert folder.load(tree, 16).test.images.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize("resize", [0, 7, 257])
def test_resize_must_be_a_size_that_is_allowed(tree, resize):
    with pytest.raises(UserError, match=f"resize: must be 8 to 256 pixels, not {resize}"):
        folder.load(tree, resize)


def test_classes_of_one_image_leave_nothing_for_validation(tree):
    for path in tree.glob("train/*/*"):
        if path.stem != "0":
            path.unlink()
    with pytest.raises(UserError, match="no class has a second image"):
        folder.load(tree, None)


def test_other_files_are_passed_over_with_a_line(tree, capsys):
    (tree / "train" / "cat" / "LICENSE.txt").write_text("free")
    (tree / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    assert len(folder.load(tree, None).train) == 36
    assert "passed over 1 files" in capsys.readouterr().err
