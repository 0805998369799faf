"""Folders of images in torchvision's ImageFolder layout: valid ones are read, all others are refused in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from repro.data import folder_layout, image_folder, pictures, sources
from repro.errors import UserError


def bitmaps(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def are_equal(first, second) -> bool:
    parts = [(getattr(first, part), getattr(second, part)) for part in ("train", "validation", "test")]
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in parts)


def noise(seed: int, size: tuple[int, int] = (12, 12), gray: bool = False) -> Image.Image:
    shape = size[::-1] if gray else (*size[::-1], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def mirror(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@pytest.fixture
def tree(tmp_path):
    """Return a folder of two classes with 20 + 3 color images each."""
    root = tmp_path / "my pets!"
    for label, name in enumerate(("cat", "dog")):
        for part, first, count in (("train", 0, 20), ("test", 500, 3)):
            (root / part / name).mkdir(parents=True)
            for case in range(count):
                noise(1000 * label + first + case).save(root / part / name / f"{case}.png")
    return root


def test_a_folder_of_images_is_read_and_split(tree):
    data = image_folder.load(tree, None)
    assert data.name == "my-pets" and data.classes == ("cat", "dog") and data.horizontal_flip
    assert data.train.images.shape == (36, 3, 12, 12) and data.train.images.dtype == torch.uint8
    for part, counts in (("train", [18, 18]), ("validation", [2, 2]), ("test", [3, 3])):
        assert torch.bincount(getattr(data, part).labels).tolist() == counts
    labels = dict(zip(bitmaps(data.test.images), data.test.labels.tolist(), strict=True))
    for label, name in enumerate(data.classes):
        pixels = np.asarray(Image.open(tree / "test" / name / "1.png")).transpose(2, 0, 1)
        assert labels[pixels.tobytes()] == label


def test_data_depend_on_the_content_of_files_and_not_on_their_names(tree):
    before = image_folder.load(tree, None)
    for path in sorted(tree.glob("train/cat/*")):
        path.rename(path.with_stem(f"{99 - int(path.stem)}-turned-round"))
    after = image_folder.load(tree, None)
    assert are_equal(before, after) and before.digest == after.digest
    noise(77).save(tree / "train" / "dog" / "3.png")
    assert image_folder.load(tree, None).digest != before.digest
    (tree / "train" / "cat").rename(tree / "train" / "cow")
    (tree / "test" / "cat").rename(tree / "test" / "cow")
    assert image_folder.load(tree, None).classes == ("cow", "dog")


def test_the_digest_of_a_folder_stays(tmp_path):
    """Results of earlier versions are found again: the digest is part of every run's key."""
    for part, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(("cat & dog", "zoë")):
            for case in range(count):
                seed = 100 * label + case + 1000 * (part == "test")
                add(tmp_path / part / name / f"{case}.ppm", noise(seed))
    assert image_folder.load(tmp_path).digest == "a3e846d9731db7c6"
    assert image_folder.load(tmp_path, horizontal_flip=False).digest == "a044936f215fd655"


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_a_folder_for_validation_is_used(tree, name):
    (tree / name / "dog").mkdir(parents=True)
    noise(99).save(tree / name / "dog" / "a.jpg")
    data = image_folder.load(tree, None)
    assert len(data.train) == 40 and data.validation.labels.tolist() == [1]


@pytest.mark.parametrize("name", ["icons", "letters", "cifar100", "mnist"])
def test_no_folder_is_named_like_an_embedded_data_set(tree, name):
    assert image_folder.load(tree.rename(tree.parent / name), None).name == f"folder-{name}"


def test_horizontal_flip_changes_the_digest(tree):
    flipped, upright = (image_folder.load(tree, None, horizontal_flip) for horizontal_flip in (True, False))
    assert flipped.horizontal_flip and not upright.horizontal_flip and flipped.digest != upright.digest


def test_copies_of_an_image_stay_in_one_part(tree):
    for case in range(20):
        noise(case).save(tree / "train" / "cat" / f"again{case}.bmp")  # each of them twice, in two formats
    for case in range(15):
        noise(case).save(tree / "train" / "dog" / f"a-cat-too{case}.png")
    data = image_folder.load(tree, None)
    train, validation = set(bitmaps(data.train.images)), set(bitmaps(data.validation.images))
    assert not train & validation and len(data.train) + len(data.validation) == 75
    assert torch.bincount(data.validation.labels).tolist() == [4, 4]  # of 20 bitmaps 2, each twice; of 35 bitmaps 4


def test_an_image_of_test_is_left_out_of_train(tree):
    noise(7).save(tree / "test" / "dog" / "seven.png")
    data = image_folder.load(tree, None)
    assert len(data.test) == 7 and len(data.train) + len(data.validation) == 39
    assert not set(bitmaps(data.test.images)) & set(bitmaps(data.train.images) + bitmaps(data.validation.images))
    assert data.left_out == {"in test too, left out of train": ["train/cat/7.png"]}


def test_mirror_images_of_test_and_validation_are_left_out_where_training_flips(tree):
    noise(99).save(tree / "test" / "dog" / "99.png")
    for case in range(2):
        add(tree / "valid" / "cat" / f"{case}.png", mirror(noise(98 + case)))  # 99 in test
    for case in (7, 98, 99):
        add(tree / "train" / "cat" / f"{case}.png", noise(case))
    data = image_folder.load(tree)
    assert data.left_out == {
        "the mirror image is in test, left out of validation": ["valid/cat/1.png"],
        "in test too, left out of train": ["train/cat/99.png"],
        "the mirror image is in validation, left out of train": ["train/cat/98.png"],
    }
    assert len(data.train) == 40 and len(data.validation) == 1
    assert image_folder.load(tree, horizontal_flip=False).left_out == {
        "in test too, left out of train": ["train/cat/99.png"]
    }


def test_mirror_images_stay_in_one_part_where_training_flips(tree):
    for case in range(20):
        add(tree / "train" / "cat" / f"mirrored{case}.png", mirror(noise(case)))
    data = image_folder.load(tree)
    assert not set(bitmaps(data.train.images.flip(-1))) & set(bitmaps(data.validation.images))
    assert torch.bincount(data.validation.labels).tolist() == [4, 2]  # of 20 cats 2, each with its mirror image
    data = image_folder.load(tree, horizontal_flip=False)
    assert set(bitmaps(data.train.images.flip(-1))) & set(bitmaps(data.validation.images))


def test_the_same_image_in_two_classes_of_a_part_is_remarked_on(tree):
    noise(3).save(tree / "train" / "dog" / "three.png")
    for name in ("cat", "dog"):
        noise(4).save(tree / "test" / name / "four.png")
    noise(5).save(tree / "train" / "cat" / "again.png")  # in one class
    mirror(noise(6)).save(tree / "train" / "dog" / "mirrored.png")
    data = image_folder.load(tree)
    names = ["train/cat/3.png", "train/dog/three.png", "test/cat/four.png", "test/dog/four.png"]
    assert sorted(data.remarked[image_folder.TWO_CLASSES]) == sorted(names)
    assert data.left_out == {"in test too, left out of train": ["train/cat/4.png"]}


def test_images_that_are_left_out_get_no_remark(tree):
    for part in ("train", "test"):
        noise(77).save(tree / part / "dog" / "moving.png", save_all=True, append_images=[noise(78)])
    assert image_folder.load(tree).remarked == {pictures.FIRST_FRAME: ["test/dog/moving.png"]}


def test_the_only_image_of_a_class_stays_in_train(tree):
    """The image is also one that another class has in the validation split."""
    before = image_folder.load(tree, None).validation
    image = before.images[before.labels == 0][0].permute(1, 2, 0).numpy()
    add(tree / "train" / "emu" / "only.png", Image.fromarray(image))
    data = image_folder.load(tree, None)
    assert torch.bincount(data.train.labels).tolist() == [18, 18, 1] and data.validation.labels.max() == 1


def test_gray_images_have_one_channel_in_every_format(tmp_path):
    for part in ("train", "test"):
        for label, name in enumerate("ab"):
            (tmp_path / part / name).mkdir(parents=True)
            for case in range(2):
                image = noise(10 * label + case + 100 * (part == "test"), gray=True)
                image.convert("RGB" if case else "L").save(tmp_path / part / name / f"{case}.png")
    gray = image_folder.load(tmp_path, None)
    assert gray.train.images.shape == (2, 1, 12, 12)
    noise(0).save(tmp_path / "test" / "a" / "color.png")
    mixed = image_folder.load(tmp_path, None)
    assert mixed.train.images.shape == (2, 3, 12, 12) and torch.equal(mixed.train.images[:, 1:2], gray.train.images)


def test_transparency_becomes_white_and_16_bits_are_scaled(tree):
    transparent = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
    transparent.save(tree / "test" / "cat" / "transparent.png")
    Image.fromarray(np.full((12, 12), 0x8000, np.uint16)).save(tree / "test" / "dog" / "deep.png")
    images = bitmaps(image_folder.load(tree, None).test.images)
    assert bytes([255]) * 432 in images and bytes([128]) * 432 in images


def test_resizing_crops_the_central_square(tree):
    wide = Image.new("RGB", (600, 300), "red")
    wide.paste("blue", (50, 0, 550, 300))
    wide.save(tree / "test" / "cat" / "wide.png")
    data = image_folder.load(tree, 8)
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
        "test: has classes that train does not have: emu, yak",
    ),
    "unknown validation class": (
        lambda root: add(root / "val/emu/1.png", noise(1)),
        "val: has classes that train does not have: emu",
    ),
    "two validations": (
        lambda root: (add(root / "val/cat/1.png", noise(1)), add(root / "valid/cat/1.png", noise(1))),
        "has 'valid' and 'val'; keep one of them",
    ),
    "empty file": (lambda root: (root / "train/cat/5.png").write_bytes(b""), "5.png: cannot be read (the file is"),
    "too small": (lambda root: add(root / "train/cat/0.png", noise(1, (7, 12))), "0.png: is 7x12, sides must be 8 to"),
    "too large": (lambda root: add(root / "train/cat/0.png", noise(1, (12, 257))), "0.png: is 12x257, sides must be 8"),
    "all of a class in test or mirrored there": (
        lambda root: [add(root / f"test/dog/m{case}.png", mirror(noise(case)) if case else noise(case))
                      for case in range(20)],
        "train/cat: no image is left, all of them, or their mirror images, are in test",
    ),
    "all of a class in test": (
        lambda root: [path.rename(root / "test" / path.relative_to(root / "train").with_stem(f"t{path.stem}"))
                      for path in (root / "train/cat").glob("*")]
        and add(root / "train/cat/0.png", noise(0)),
        "train/cat: no image is left",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_folder_is_refused_in_one_line(tree, case):
    damage, message = BAD[case]
    damage(tree)
    with pytest.raises(UserError) as error:
        image_folder.load(tree, None)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("case", ["two sizes", "too small", "too large"])
def test_images_of_other_sizes_require_resize(tree, case):
    BAD[case][0](tree)
    with pytest.raises(UserError, match=r"set data\.resize"):
        image_folder.load(tree, None)
    assert image_folder.load(tree, 16).test.images.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize("resize", [0, 7, 257])
def test_resize_out_of_range_is_refused(tree, resize):
    with pytest.raises(UserError, match=f"^data.resize: must be 8 to 256 pixels, not {resize}"):
        image_folder.load(tree, resize)


def test_classes_of_one_image_leave_nothing_for_validation(tree):
    for path in tree.glob("train/*/*"):
        if path.stem != "0":
            path.unlink()
    with pytest.raises(UserError, match="no class has a second image"):
        image_folder.load(tree, None)


def test_left_out_and_changed_images_are_listed_by_reason(tree):
    (tree / "train" / "cat" / "LICENSE.txt").write_text("free")
    noise(77).save(tree / "test" / "dog" / "moving.png", save_all=True, append_images=[noise(78)])
    data = image_folder.load(tree, None)
    assert data.left_out == {folder_layout.NO_IMAGE: ["train/cat/LICENSE.txt"]}
    assert data.remarked == {pictures.FIRST_FRAME: ["test/dog/moving.png"]}
    assert data.files_by_reason() == {"left_out": data.left_out, "remarked": data.remarked}
    assert sources.fewer(data, 5).left_out == data.left_out


def test_the_only_images_of_a_class_must_be_visible(tree):
    remove(tree / "train" / "dog")
    add(tree / "train" / "dog" / ".thumbnails" / "1.png", noise(1))
    with pytest.raises(UserError, match="train/dog: the class is empty"):
        image_folder.load(tree, None)
