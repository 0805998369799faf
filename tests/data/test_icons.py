"""The embedded icons have the documented properties, and their builder is reproducible."""

import hashlib
import io
import json
import re
import tarfile
import time
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest

from repro.data import icons
from repro.data.icons import build
from repro.data.icons import sets as icon_sets
from repro.data.icons.names import is_readable, merge, stem, styles_of
from repro.data.icons.render import cells_of, near_pairs, varied
from repro.errors import UserError

PERMISSIVE = {"MIT", "Apache-2.0", "ISC", "BSD-3-Clause", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "Unlicense"}


@pytest.fixture(scope="module")
def embedded() -> icons.Contents:
    return icons.contents()


@pytest.fixture(scope="module")
def splits(embedded) -> np.ndarray:
    """Return the split of every image."""
    return np.array([source.split for source in embedded.sets])[embedded.sources]


# ---- the data ----


def test_the_data_set_is_read_fast_and_completely(embedded):
    start = time.process_time()
    icons.contents()
    middle = time.process_time()
    data = icons.load()
    assert time.process_time() - middle < 0.5 + 4 * (middle - start), "much slower than reading the file"
    assert (data.name, data.horizontal_flip, len(data.digest)) == ("icons", False, 16)
    parts = (data.train, data.validation, data.test)
    assert sum(map(len, parts)) == len(embedded.labels)
    for part in parts:
        assert part.images.shape == (len(part), 1, 32, 32) and part.images.dtype.is_signed is False
        assert part.images.min() == 0 and part.images.max() == 255
        assert part.labels.min() >= 0 and part.labels.max() < len(data.classes)


def test_no_family_is_in_two_splits(embedded):
    splits_of = defaultdict(set)
    authors = defaultdict(set)
    for source in embedded.sets:
        splits_of[source.family].add(source.split)
        authors[source.author].add(source.split)
    assert {len(parts) for parts in [*splits_of.values(), *authors.values()]} == {1}
    named = icon_sets.VALIDATION | icon_sets.TEST
    assert named <= set(splits_of), "a family of the table has no image"
    assert {family for family, parts in splits_of.items() if parts != {"train"}} == named


def test_the_counts_are_in_the_documented_ranges(embedded, splits):
    assert 900 <= len(embedded.classes) <= 1600
    assert icons.FILE.stat().st_size < 12e6
    fraction = {split: np.mean(splits == split) for split in ("train", "validation", "test")}
    assert (
        0.70 <= fraction["train"] <= 0.76
        and 0.08 <= fraction["validation"] <= 0.12
        and 0.15 <= fraction["test"] <= 0.20
    )
    train, test = (
        np.bincount(embedded.labels[splits == split], minlength=len(embedded.classes)) for split in ("train", "test")
    )
    assert train.min() >= 8 and test.min() >= 1 and test.mean() >= 2
    families = defaultdict(set)
    for label, source in zip(embedded.labels, embedded.sources, strict=True):
        families[label].add(embedded.sets[source].family)
    assert min(map(len, families.values())) >= 7


def test_no_picture_is_in_two_splits(embedded, splits):
    flat = embedded.images.reshape(len(embedded.images), -1)
    assert len(np.unique(flat, axis=0)) == len(flat), "an exact duplicate"
    small = embedded.images.reshape(-1, 16, 2, 16, 2).mean((2, 4)).reshape(len(flat), -1)
    small /= small.max(1, keepdims=True)

    # Of three interleaved thirds of 256 bits, at least one is equal where two bits or fewer differ.
    bits = small >= 0.5
    for third in range(3):
        alike = defaultdict(list)
        for case, part in enumerate(np.packbits(bits[:, third::3], axis=1)):
            alike[part.tobytes()].append(case)
        for cases in alike.values():
            for first, second in combinations(cases, 2):
                if splits[first] != splits[second]:
                    assert (bits[first] != bits[second]).sum() > 2, (first, second)

    for here, there in (("test", "train"), ("validation", "train"), ("validation", "test")):
        others = small[splits == there].astype(np.float32)
        norms = np.square(others).sum(1)
        for block in np.array_split(small[splits == here].astype(np.float32), 16):
            distance = np.square(block).sum(1)[:, None] + norms - 2 * block @ others.T
            assert distance.min() > 0.9


def test_the_class_names_are_readable_and_distinct(embedded):
    assert list(embedded.classes) == sorted(set(embedded.classes))
    assert all(re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", name) for name in embedded.classes)
    assert all(re.search(r"[a-z]{2}", name.replace(" ", "")) for name in embedded.classes)
    for spelling in (lambda name: tuple(sorted(name.split())), lambda name: name.replace(" ", "")):
        assert len({spelling(name) for name in embedded.classes}) == len(embedded.classes)


def test_every_set_is_credited_and_permissively_licensed(embedded):
    assert {source.licence for source in embedded.sets} <= PERMISSIVE
    text = (icons.FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    counts = Counter(embedded.sets[source].prefix for source in embedded.sources)
    assert {row[1]: int(row[-1]) for row in rows} == counts
    for source, row in zip(embedded.sets, rows, strict=True):
        assert row[:2] == [source.name, source.prefix] and source.author in row[2] and row[4] == source.licence
    assert "Changes made" in text and "npmjs" not in text and "registry." not in text


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: c[:99] + bytes([c[99] ^ 1]) + c[100:], lambda c: b""])
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, damage):
    copy = tmp_path / "icons.npz"
    copy.write_bytes(damage(icons.FILE.read_bytes()))
    monkeypatch.setattr(icons, "FILE", copy)
    with pytest.raises(UserError, match="truncated or altered") as error:
        icons.load()
    assert str(copy) in str(error.value) and "\n" not in str(error.value)
    copy.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        icons.load()


# ---- names ----


def test_style_words_are_removed_and_others_are_not():
    names = {"home", "home-outline", "traffic-light", "sun", "sun-light", "chart-line"}
    styles = (("light",), ("line",))
    assert stem("home-outline", names, styles) == ("home",)
    assert stem("sun-light", names, styles) == ("sun",)
    assert stem("traffic-light", names, styles) == ("traffic", "light")
    assert stem("chart-line", names, styles) == ("chart", "line")
    assert stem("outline-home", {"outline-home"}, (), {"outline"}) == ("home",)
    assert stem("box-16", {"box-16"}, (("16",),)) == ("box",)
    assert stem("home-24-two-tone", {"home-24-two-tone", "home"}, (("24", "two", "tone"),)) == ("home",)


def test_numbers_of_renditions_are_removed_and_others_are_not():
    expected = {
        "tree-2": "tree", "knife-02": "knife", "star-16": "star", "dice-4": "dice-4", "battery-0": "battery-0",
        "heading-1": "heading-1", "24-hours": "24-hours", "user-alt-2": "user",
    }  # fmt: skip
    assert {name: "-".join(stem(name, {name}, ())) for name in expected} == expected


def test_styles_are_the_frequent_endings_of_a_set():
    names = [f"{word}-line" for word in "abcdefghij"] + ["traffic-light"]
    assert styles_of(names, ["", "bold-duotone"]) == (("bold", "duotone"), ("line",))


def test_spellings_merge_into_the_most_common():
    stems = [("arrow", "circle", "left")] + 2 * [("circle", "arrow", "left")] + [("checkbox",)] + 3 * [("check", "box")]
    assert merge([*stems, ("home",)]) == {
        ("arrow", "circle", "left"): "circle arrow left",
        ("circle", "arrow", "left"): "circle arrow left",
        ("checkbox",): "check box",
        ("check", "box"): "check box",
        ("home",): "home",
    }


@pytest.mark.parametrize("name", ["x", "123", "github", "github-circle", "logo-of", "app-store", "git", "ä-b"])
def test_brands_and_single_characters_are_no_classes(name):
    assert not is_readable(tuple(name.split("-")))


@pytest.mark.parametrize("name", ["home", "git-branch", "battery-medium", "4k"])
def test_ordinary_words_are_classes(name):
    assert is_readable(tuple(name.split("-")))


# ---- the builder ----


def drawn(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Return an image of white boxes given as top, bottom, left, right."""
    image = np.zeros((32, 32), np.uint8)
    for top, bottom, left, right in boxes:
        image[top:bottom, left:right] = 15
    return image


def test_the_same_picture_is_recognized_at_any_brightness():
    box, moved, other = drawn((4, 20, 4, 20)), drawn((4, 20, 6, 20)), drawn((6, 24, 2, 30))
    fainter = box // 2
    cells = cells_of(np.stack([box, fainter, other, moved]))
    assert cells.max() == 60
    assert near_pairs(cells) == {(0, 1)}
    assert varied(cells, 3) == [0, 2, 3] and varied(cells, 1) == [0]


def test_one_of_several_equal_pictures_remains_and_ambiguous_test_pictures_are_dropped(monkeypatch):
    monkeypatch.setattr(icon_sets, "TEST", {"T"})
    icon = build.Icon
    known = [
        icon("a", "plus", "plus", "A", ""), icon("b", "plus", "plus", "B", ""), icon("a", "add", "add", "A", ""),
        icon("t", "add", "add", "T", ""), icon("t", "plus", "plus", "T", ""), icon("t", "sun", "sun", "T", ""),
    ]  # fmt: skip
    # plus of A = add of A: the more common name remains; add of T = plus of B: dropped, and plus of B remains.
    assert build.without_duplicates(known, {(0, 2), (1, 3)}) == [0, 1, 4, 5]
    # The same class in training and test: the picture in training remains.
    assert build.without_duplicates(known, {(0, 4)}) == [0, 1, 2, 3, 5]


def tarball(path, sets) -> str:
    """Write a package of the given sets and return its digest."""
    with tarfile.open(path, "w:gz") as package:
        for content in sets:
            text = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/json/{content['prefix']}.json")
            member.size = len(text)
            package.addfile(member, io.BytesIO(text))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def icon_set(prefix, author, bodies, **info):
    about = {"name": prefix.title(), "author": {"name": author, "url": f"https://example.org/{prefix}"},
             "license": {"title": "MIT", "spdx": "MIT"}, "category": "UI", **info}  # fmt: skip
    return {"prefix": prefix, "info": about, "height": 8, "width": 8,
            "icons": {name: {"body": body} for name, body in bodies.items()}}  # fmt: skip


def test_building_a_small_package_twice_gives_the_same_bytes(tmp_path, monkeypatch):
    pytest.importorskip("resvg_py")
    path = '<path fill="currentColor" d="M1 1h{0}v{1}h-{0}z"/>'
    sets = [
        icon_set("one", "A", {"tile": path.format(4, 6), "tile-filled": path.format(6, 2), "bar": path.format(6, 1)}),
        icon_set("two", "B", {"tile": path.format(3, 5), "bar": path.format(1, 6), "empty": ""}),
        icon_set("three", "C", {"tile-16": path.format(5, 4), "bar": path.format(2, 6)}),
        icon_set("gone", "D", {"tile": path.format(2, 2)}, hidden=True),
        icon_set("gpl", "E", {"tile": path.format(2, 2)}, license={"title": "GPL", "spdx": "GPL-3.0"}),
        icon_set("color", "F", {"tile": path.format(2, 2)}, palette=True),
        icon_set("smile", "G", {"tile": path.format(2, 2)}, category="Emoji"),
    ]
    monkeypatch.setattr(icon_sets, "TEST", {"C"})
    monkeypatch.setattr(build, "SHA256", tarball(tmp_path / "small.tgz", sets))
    monkeypatch.setattr(build, "FAMILIES", 3)
    monkeypatch.setattr(build, "LEAST", {"train": 2, "test": 1})
    report = build.build(tmp_path / "small.tgz", tmp_path / "first")
    assert "families: 3, classes: 2, images: 7" in report and "dropped, license GPL-3.0: 1" in report
    build.build(tmp_path / "small.tgz", tmp_path / "second")
    for name in ("icons.npz", "ATTRIBUTION.md"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    monkeypatch.setattr(icons, "FILE", tmp_path / "first" / "icons.npz")
    monkeypatch.setattr(icons, "SHA256", hashlib.sha256(icons.FILE.read_bytes()).hexdigest())
    data = icons.load()
    assert data.classes == ("bar", "tile") and data.test.labels.tolist() == [0, 1] and len(data.validation) == 0
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1]
    # 8 units are 32 pixels: the tile of A reaches from 4 to 20 across and from 4 to 28 down.
    assert data.train.images[2, 0, 4:28, 4:20].min() == 255 and data.train.images[2].sum() == 255 * 24 * 16


def test_another_tarball_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "other.tgz").write_bytes(b"no tarball at all")
    with pytest.raises(UserError, match=r"other\.tgz: is not @iconify/json@2\.2\.535") as error:
        build.read(tmp_path / "other.tgz")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"missing\.tgz: cannot be read"):
        build.read(tmp_path / "missing.tgz")
