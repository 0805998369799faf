"""Files of an image folder that are read: hidden ones, links, stray files and names that read alike."""

import os
import unicodedata
from pathlib import Path

import pytest

from repro.data import folder_layout
from repro.errors import UserError

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of two classes, whose files are found and not opened."""
    for name in ("train/cat/1.png", "train/dog/2.JPG", "test/dog/3.tif"):
        add(tmp_path / "pets" / name)
    return tmp_path / "pets"


def add(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def link(path: Path, target: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def read(root: Path, part: str = "train") -> dict[str, str]:
    """Return the files of a part that are read, with their classes."""
    layout = folder_layout.find(root)
    return {str(path.relative_to(root / part)): layout.classes[label] for path, label in layout.files[part]}


PLAIN = {"cat/1.png": "cat", "dog/2.JPG": "dog"}


def test_images_are_found_in_folders_of_any_depth(root):
    add(root / "train/cat/tabby/young/4.webp")
    assert read(root) == PLAIN | {"cat/tabby/young/4.webp": "cat"}
    assert folder_layout.find(root).left_out == {}


@pytest.mark.parametrize(
    ("name", "entry", "reason"),
    [
        ("train/cat/.ipynb_checkpoints/1.png", "train/cat/.ipynb_checkpoints/", folder_layout.HIDDEN),
        ("train/cat/young/@eaDir/1.png/small.jpg", "train/cat/young/@eaDir/", folder_layout.HIDDEN),
        ("train/__MACOSX/cat/1.png", "train/__MACOSX/", folder_layout.HIDDEN),
        ("test/lost+found/1.png", "test/lost+found/", folder_layout.HIDDEN),
        ("train/.git/1.png", "train/.git/", folder_layout.HIDDEN),
        ("train/cat/.thumbnails/deep/1.png", "train/cat/.thumbnails/", folder_layout.HIDDEN),
        ("train/cat/._0.png", "train/cat/._0.png", folder_layout.HIDDEN),
        ("train/cat/Thumbs.db", "train/cat/Thumbs.db", folder_layout.HIDDEN),
        ("train/cat/notes.txt", "train/cat/notes.txt", folder_layout.NO_IMAGE),
        ("train/cat/drawing.eps", "train/cat/drawing.eps", folder_layout.NO_IMAGE),
        ("train/cat/png", "train/cat/png", folder_layout.NO_IMAGE),
        ("train/1.png", "train/1.png", folder_layout.NO_CLASS),
        ("dev/cat/1.png", "dev/", folder_layout.NO_PART),
        ("eval/cat/1.png", "eval/", folder_layout.NO_PART),
    ],
)
def test_what_is_no_image_of_a_class_is_left_out_by_reason(root, name, entry, reason):
    add(root / name)
    layout = folder_layout.find(root)
    assert read(root) == PLAIN and layout.classes == ("cat", "dog") and layout.left_out == {reason: [entry]}


def test_loose_files_beside_the_parts_are_ignored(root):
    add(root / "labels.csv")
    add(root / ".git" / "config")
    assert folder_layout.find(root).left_out == {}


def test_only_names_below_the_parts_are_hidden(root, tmp_path):
    root = root.rename(tmp_path / ".cache")
    assert read(root) == PLAIN and folder_layout.find(root).left_out == {}


def test_links_to_folders_are_followed(root, tmp_path):
    add(tmp_path / "elsewhere/young/5.png")
    link(root / "train/cat/more", tmp_path / "elsewhere")
    add(tmp_path / "far/6.png")
    link(root / "train/emu", tmp_path / "far")
    assert read(root) == PLAIN | {"cat/more/young/5.png": "cat", "emu/6.png": "emu"}
    (root / "train").rename(tmp_path / "train")
    link(root / "train", tmp_path / "train")
    assert len(read(root)) == 4 and folder_layout.find(root).left_out == {}


@pytest.mark.parametrize("target", ["..", "../..", "../../..", "/", "../dog", "inner"])
def test_no_folder_is_read_twice_and_cycles_end(root, target):
    add(root / "train/cat/inner/7.png")
    link(root / "train/cat/again", target)
    layout = folder_layout.find(root)
    assert read(root) == PLAIN | {"cat/inner/7.png": "cat"}
    assert layout.left_out == {folder_layout.REPEATED: ["train/cat/again/"]}


@pytest.mark.parametrize("name", ["train/cat/gone.png", "train/gone"])
@pytest.mark.parametrize("target", ["nowhere.png", "gone.png"])
def test_broken_links_are_named(root, name, target):
    link(root / name, target)
    assert read(root) == PLAIN and folder_layout.find(root).left_out == {folder_layout.BROKEN: [name]}


def test_pipes_and_devices_are_not_read(root):
    os.mkfifo(root / "train/cat/pipe.png")
    for name, target in (("linked.png", "pipe.png"), ("zero.png", "/dev/zero")):
        link(root / "train/cat" / name, target)
    names = [f"train/cat/{name}" for name in ("linked.png", "pipe.png", "zero.png")]
    assert folder_layout.find(root).left_out == {folder_layout.SPECIAL: names}


def test_classes_match_in_all_unicode_forms(root):
    add(root / "train" / NFD / "1.png")
    add(root / "test" / NFC / "2.png")
    assert folder_layout.find(root).classes == (NFC, "cat", "dog") and read(root, "test")[f"{NFC}/2.png"] == NFC


def test_two_class_folders_that_read_alike_are_refused(root):
    for name in (NFC, NFD):
        add(root / "train" / name / "1.png")
    with pytest.raises(UserError, match="train: has two class folders that read 'café'; rename one"):
        folder_layout.find(root)


def test_classes_that_differ_in_case_are_two(root):
    add(root / "train/Cat/1.png")
    assert folder_layout.find(root).classes == ("Cat", "cat", "dog")


def test_names_that_are_no_text_are_shown_escaped(root):
    add(root / "train" / os.fsdecode(b"caf\xe9") / "1.png")
    add(root / "train" / "two\nlines" / "1.txt")
    add(root / "train" / "two\nlines" / "1.png")
    layout = folder_layout.find(root)
    assert layout.classes == (r"caf\xe9", "cat", "dog", r"two\nlines")
    assert layout.left_out == {folder_layout.NO_IMAGE: [r"train/two\nlines/1.txt"]}
