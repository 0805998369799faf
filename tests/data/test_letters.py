"""The embedded letters have the documented properties."""

import re
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from repro.data import letters
from repro.data.letters import packages
from repro.data.letters.families import LICENSES
from repro.errors import UserError


@pytest.fixture(scope="module")
def embedded() -> letters.Contents:
    return letters.contents()


@pytest.fixture(scope="module")
def splits(embedded) -> np.ndarray:
    """Return the split of every image."""
    return np.array([source.split for source in embedded.typefaces])[embedded.sources]


def test_the_data_set_is_read_fast_and_completely(embedded):
    start = time.process_time()
    data = letters.load()
    assert time.process_time() - start < 6
    assert (data.name, data.horizontal_flip, data.digest) == ("letters", False, letters.SHA256[:16])
    parts = (data.train, data.validation, data.test)
    assert sum(map(len, parts)) == len(embedded.labels) and data.classes == embedded.classes
    for part in parts:
        assert part.images.shape == (len(part), 1, 32, 32) and part.images.dtype.is_signed is False
        assert part.images.min() == 0 and part.images.max() == 255
        assert set(part.labels.tolist()) == set(range(len(data.classes))), "a class without an image in a split"


def test_no_superfamily_is_in_two_splits(embedded):
    splits_of = defaultdict(set)
    for source in embedded.typefaces:
        splits_of[source.superfamily].add(source.split)
        splits_of[source.family.split()[0]].add(source.split)
    assert {len(parts) for parts in splits_of.values()} == {1}
    names = [source.family for source in embedded.typefaces]
    assert len(set(names)) == len(names) == len({source.id for source in embedded.typefaces})


def test_the_counts_are_in_the_documented_ranges(embedded, splits):
    assert 600 <= len(embedded.classes) <= 1000 and letters.FILE.stat().st_size < 12e6
    counts = {
        split: np.bincount(embedded.labels[splits == split], minlength=len(embedded.classes))
        for split in ("train", "validation", "test")
    }
    total = sum(counts.values())
    assert total.min() >= 100 and total.max() <= 200 and total.mean() >= 150
    assert counts["train"].min() >= 60 and counts["validation"].min() >= 5 and counts["test"].min() >= 10
    fraction = {split: count.sum() / total.sum() for split, count in counts.items()}
    assert 0.67 <= fraction["train"] <= 0.74
    assert 0.08 <= fraction["validation"] <= 0.12
    assert 0.17 <= fraction["test"] <= 0.22


def test_the_documentation_has_the_counts(embedded, splits):
    sources = [embedded.typefaces[source] for source in embedded.sources]
    columns = [splits == split for split in ("train", "validation", "test")] + [np.full(len(splits), True)]
    counts = [np.bincount(embedded.labels[chosen]) for chosen in columns]
    used = [{sources[case] for case in np.flatnonzero(chosen)} for chosen in columns]
    rows = {
        "images": [count.sum() for count in counts],
        "typefaces": [len(typefaces) for typefaces in used],
        "superfamilies": [len({source.superfamily for source in typefaces}) for typefaces in used],
        "images of a class: fewest": [count.min() for count in counts],
        "images of a class: median": [int(np.median(count)) for count in counts],
    }
    text = (Path(__file__).parents[2] / "docs" / "letters.md").read_text(encoding="utf-8")
    for name, numbers in rows.items():
        assert f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |" in text


def test_a_typeface_shows_a_class_once_and_no_image_occurs_twice(embedded):
    shown = set(zip(embedded.sources.tolist(), embedded.labels.tolist(), strict=True))
    assert len(shown) == len(embedded.labels)
    # In any two classes, typefaces or splits: this includes the two classes of one typeface that look alike.
    assert len({image.tobytes() for image in embedded.images}) == len(embedded.images)
    assert embedded.images.max((1, 2)).min() >= 4 * 17, "an image that is nearly empty"


def test_the_class_names_are_readable_and_distinct(embedded):
    assert len(set(embedded.classes)) == len(embedded.classes) == len(embedded.characters)
    assert all(re.fullmatch(r"[a-z]+(?:[ -][a-z0-9]+)*", name) for name in embedded.classes)
    names = dict(zip(embedded.characters, embedded.classes, strict=True))
    for characters, name in {
        "ế": "e with circumflex and acute", "Ж": "cyrillic capital zhe", "7": "digit seven", ",": "comma",
        "AА": "capital a", "ß": "sharp s", "Œ": "capital oe",
    }.items():  # fmt: skip
        assert names[characters] == name
    everything = "".join(embedded.characters)
    assert len(set(everything)) == len(everything), "a character of two classes"
    assert set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") <= set(everything)


def test_letters_stand_on_one_baseline_with_capitals_of_one_height(embedded):
    inked = {name: embedded.images[embedded.labels == embedded.classes.index(name)] > 127
             for name in ("capital h", "x", "comma", "apostrophe", "low line", "hyphen-minus")}  # fmt: skip
    top = {name: np.median(images.any(2).argmax(1)) for name, images in inked.items()}
    bottom = {name: np.median(31 - images[:, ::-1].any(2).argmax(1)) for name, images in inked.items()}
    assert (top["capital h"], bottom["capital h"], bottom["x"]) == (10, 24, 24)
    assert 12 <= top["x"] <= 16 and bottom["apostrophe"] < 18 and bottom["comma"] > 24
    assert bottom["hyphen-minus"] < 22 and top["low line"] > 24


def test_every_typeface_is_credited_freely_licensed_and_pinned(embedded):
    assert {source.license for source in embedded.typefaces} <= LICENSES
    pinned = {package.name.removeprefix("@fontsource/"): package.version for package in packages.pinned()}
    text = (letters.FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    counts = Counter(embedded.typefaces[source].id for source in embedded.sources)
    assert {row[1].partition("@")[0]: int(row[-1]) for row in rows} == counts
    for source, row in zip(embedded.typefaces, rows, strict=True):
        assert row[:3] == [source.family, f"{source.id}@{pinned[source.id]}", source.license] and len(row[3]) > 9
    assert "Changes made" in " ".join(text.split()) and "npmjs" not in text and "registry." not in text


def test_the_packages_are_listed_once_with_version_and_digest():
    listed = packages.pinned()
    assert [package.name for package in listed] == sorted({package.name for package in listed})
    for package in listed:
        assert re.fullmatch(r"@fontsource/[a-z0-9-]+", package.name)
        assert re.fullmatch(r"\d+\.\d+\.\d+", package.version) and re.fullmatch(r"[0-9a-f]{64}", package.sha256)


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: c[:99] + bytes([c[99] ^ 1]) + c[100:], lambda c: b""])
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, damage):
    copy = tmp_path / "letters.npz"
    copy.write_bytes(damage(letters.FILE.read_bytes()))
    monkeypatch.setattr(letters, "FILE", copy)
    with pytest.raises(UserError, match=r"truncated or altered.*letters-build") as error:
        letters.load()
    assert str(copy) in str(error.value) and "\n" not in str(error.value)
    copy.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        letters.load()
