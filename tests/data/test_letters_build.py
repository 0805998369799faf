"""The builder of the letters: rendering, classes, splits, and packages that are gone or altered."""

import csv
import hashlib
import io
import json
import subprocess
import tarfile

import numpy as np
import pytest

from repro.data import letters
from repro.data.letters import build, packages
from repro.data.letters.classes import by_class, frequent, merge, name_of
from repro.data.letters.families import splits_of, superfamilies
from repro.data.letters.packages import Package
from repro.errors import UserError

pytest.importorskip("fontTools")
# A glyph is a list of boxes (left, bottom, right, top), in units of 1000 an em.
Boxes = list[tuple[int, int, int, int]]
H: Boxes = [(50, 0, 150, 700), (450, 0, 550, 700), (150, 300, 450, 400)]
X: Boxes = [(100, 0, 500, 500)]


def font(glyphs: dict[str, Boxes], box: Boxes | None = None, advance: int = 600) -> bytes:
    """Return a WOFF file with a glyph for each character, and ``box`` for those that it lacks."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    drawn = {".notdef": box or []} | {f"u{ord(character):04X}": boxes for character, boxes in glyphs.items()}
    outlines = {}
    for name, boxes in drawn.items():
        pen = TTGlyphPen(None)
        for left, bottom, right, top in boxes:
            pen.moveTo((left, bottom))
            for point in ((left, top), (right, top), (right, bottom)):
                pen.lineTo(point)
            pen.closePath()
        outlines[name] = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(drawn))
    builder.setupCharacterMap({ord(character): f"u{ord(character):04X}" for character in glyphs})
    builder.setupGlyf(outlines)
    builder.setupHorizontalMetrics({name: (advance, 0) for name in drawn})
    builder.setupHorizontalHeader()
    builder.setupNameTable({})
    builder.setupOS2()
    builder.setupPost()
    builder.font.flavor = "woff"
    builder.font["head"].created = builder.font["head"].modified = 0
    file = io.BytesIO()
    builder.font.save(file)
    return file.getvalue()


def package(folder, family: str, license: str = "OFL-1.1", **fonts: bytes) -> Package:
    """Write a package with font files by subset, and return its pin."""
    id = family.lower().replace(" ", "-")
    about = {"family": family, "license": {"type": license, "attribution": f"A.ttf: By {family}  B.ttf: By {family}"}}
    files = {"metadata.json": json.dumps(about).encode()}
    files |= {f"files/{id}-{subset.replace('_', '-')}-400-normal.woff": content for subset, content in fonts.items()}
    made = Package(f"@fontsource/{id}", "1.0.0", "")
    with tarfile.open(made.path(folder), "w:gz") as tarball:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tarball.addfile(member, io.BytesIO(content))
    return Package(made.name, made.version, hashlib.sha256(made.path(folder).read_bytes()).hexdigest())


# ---- rendering ----


def test_characters_keep_their_size_and_place():
    from repro.data.letters.render import render

    accent = (250, 600, 350, 700)
    images = render([font({"H": H, "x": X, ".": [(250, 0, 350, 100)], "á": [*X, accent]})])
    # 700 units are 15 pixels, and the baseline is above row 25.
    rows = {name: np.flatnonzero(image.any(1)) for name, image in images.items()}
    assert (rows["H"][0], rows["H"][-1], rows["x"][0], rows["x"][-1], rows["."][-1]) == (10, 24, 14, 24, 24)
    assert np.array_equal(images["á"][14:], images["x"][14:]) and images["á"][:14].any()
    assert images["x"].max() == 15 and images["x"].dtype == np.uint8


def test_what_would_be_cut_off_is_moved_and_what_shows_nothing_is_left_out():
    from repro.data.letters.render import render

    box: Boxes = [(100, 0, 500, 700)]
    glyphs = {"H": H, "x": X, "l": [(0, 0, 100, 1300)], "_": [(0, -900, 600, -800)], "W": [(-400, 0, 1200, 100)],
              "o": [], "z": box, "\u0301": X, " ": [], "\ufffd": X}  # fmt: skip
    images = render([font(glyphs, box), font({"H": X, "é": X})])
    assert set(images) == {"H", "x", "l", "_", "é"}
    assert images["l"][0].any() and images["l"].astype(int).sum() > 15 * 2 * 27, "cut off above"
    assert images["_"][31].any() and not images["_"][:28].any()
    assert np.flatnonzero(images["H"].any(1))[0] == 10, "the second file's H"


def test_typefaces_without_lower_case_or_with_tiny_ones_are_unfit():
    from repro.data.letters.render import Unfit, render

    with pytest.raises(Unfit, match="no Latin letters"):
        render([font({"x": X})])
    with pytest.raises(Unfit, match="very different size"):
        render([font({"H": H, "x": [(0, 0, 100, 300)]})])


# ---- classes and splits ----


def test_class_names_follow_unicode():
    assert [name_of(character) for character in "aÁЖжΩæ,7ﬁ"] == [
        "a", "capital a with acute", "cyrillic capital zhe", "cyrillic zhe", "greek capital omega", "ae", "comma",
        "digit seven", "fi",
    ]  # fmt: skip


def test_characters_that_look_alike_are_one_class():
    faces = [{"A": b"1", "А": b"1", "l": b"2", "I": b"3"}, {"A": b"1", "А": b"4", "l": b"5", "I": b"5"}, {"A": b"6"}]
    assert frequent(faces, 2) == ["A", "I", "l", "А"]
    first = merge([*faces, {"l": b"7", "I": b"8"}], "AIlА")
    assert first == {"A": "A", "А": "A", "I": "I", "l": "l"}  # half of two typefaces, a third of three
    assert by_class(faces[0], first) == {"A": b"1", "l": b"2", "I": b"3"}
    assert by_class(faces[1], first) == {"A": b"1"}, "l and I look alike in this typeface"


def test_an_image_has_one_label_and_is_in_one_split():
    labeled = {"a": {"x": b"1", "y": b"2"}, "b": {"x": b"1", "y": b"3"}, "c": {"x": b"3", "y": b"4"}}
    splits = {"a": "test", "b": "train", "c": "validation"}
    assert build.unique(labeled, splits) == {"a": {"y": b"2"}, "b": {"x": b"1"}, "c": {"y": b"4"}}


def test_superfamilies_share_a_word_or_their_letters():
    images = {"one": {"a": np.full((32, 32), 9, np.uint8)}, "two": {"b": np.full((32, 32), 9, np.uint8)}}
    images |= {"three": images["one"], "four": {"c": np.full((32, 32), 9, np.uint8)}}
    families = {"one": "Noto Sans", "two": "Noto Serif", "three": "Copy Sans", "four": "Lora"}
    assert superfamilies(families, images) == {"one": "Copy", "two": "Copy", "three": "Copy", "four": "Lora"}


def test_splits_follow_from_names_and_have_their_fractions():
    sizes = {f"family {number}": 1 + number % 3 for number in range(300)}
    splits = splits_of(sizes)
    assert splits == splits_of(dict(reversed(sizes.items())))
    fraction = {part: sum(sizes[name] for name in sizes if splits[name] == part) / sum(sizes.values())
                for part in ("train", "validation", "test")}  # fmt: skip
    assert fraction == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.01)


# ---- packages ----


def face(folder, family: str, width: int, **more: Boxes) -> Package:
    """Write a package of a typeface whose letters differ from those of another width."""
    glyphs = {"H": H, "x": [(0, 0, width, 500)], "l": [(0, 0, width, 700)]}
    return package(
        folder, family, latin=font(glyphs | more), cyrillic=font({"х": glyphs["x"], "ж": [(0, 0, width, 400)]})
    )


@pytest.fixture
def listed(tmp_path, monkeypatch) -> list[Package]:
    """Return the packages of a small list, which replaces the committed one."""
    folder = tmp_path / "packages"
    folder.mkdir()
    made = [face(folder, f"{name} Sans", width) for name, width in (("Ann", 100), ("Bea", 200), ("Cid", 300))]
    made += [package(folder, "Unfree", "UFL-1.0", latin=font({"H": H, "x": X}))]
    made += [package(folder, "Some Icons", latin=font({"H": H, "x": X}))]
    with (tmp_path / "packages.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("name", "version", "sha256"), *((p.name, p.version, p.sha256) for p in made)])
    monkeypatch.setattr(packages, "LIST", tmp_path / "packages.csv")
    monkeypatch.setattr(build, "TYPEFACES", 3)
    parts = {"Ann": "train", "Bea": "validation", "Cid": "test"}
    monkeypatch.setattr(build, "splits_of", lambda sizes: {name: parts[name] for name in sizes})
    monkeypatch.setattr("repro.data.letters.families.NEAR", 0.01)
    return made


def test_building_from_small_packages_twice_gives_the_same_bytes(tmp_path, listed, monkeypatch):
    report = build.build(tmp_path / "packages", tmp_path / "first")
    assert "5 packages, 3 fit, 3 with an image" in report and "dropped, license UFL-1.0: 1" in report
    assert "dropped, no text face: 1" in report and "classes: 3, images: 9, of a class 3 to 3" in report
    build.build(tmp_path / "packages", tmp_path / "second")
    for name in ("letters.npz", "ATTRIBUTION.md"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    credit = (tmp_path / "first" / "ATTRIBUTION.md").read_text()
    assert "| Ann Sans | ann-sans@1.0.0 | OFL-1.1 | By Ann Sans | 3 |" in credit
    monkeypatch.setattr(letters, "FILE", tmp_path / "first" / "letters.npz")
    monkeypatch.setattr(letters, "SHA256", hashlib.sha256(letters.FILE.read_bytes()).hexdigest())
    content, data = letters.contents(), letters.load()
    # H looks the same everywhere and remains in training only; Latin x and Cyrillic kha are one class.
    assert data.classes == ("l", "x", "cyrillic zhe") and content.characters == ("l", "xх", "ж")
    assert [part.labels.tolist() for part in (data.train, data.validation, data.test)] == [[0, 1, 2]] * 3
    assert data.train.images.shape == (3, 1, 32, 32) and data.train.images.max() == 255
    assert [source.superfamily for source in content.typefaces] == ["Ann", "Bea", "Cid"]


def test_a_class_without_an_image_in_a_split_is_refused(tmp_path, listed, monkeypatch):
    monkeypatch.setattr(build, "splits_of", lambda sizes: dict.fromkeys(sizes, "train") | {"Ann": "test"})
    with pytest.raises(UserError, match="class 'l': has no image in the split validation"):
        build.build(tmp_path / "packages", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_altered_package_is_refused_by_name(tmp_path, listed):
    path = listed[1].path(tmp_path / "packages")
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(UserError, match=r"bea-sans-1\.0\.0\.tgz: is not @fontsource/bea-sans@1\.0\.0") as error:
        build.build(tmp_path / "packages", tmp_path / "out")
    assert listed[1].sha256[:12] in str(error.value) and "\n" not in str(error.value)


def test_a_package_that_is_gone_is_named_with_its_digest(tmp_path, listed, monkeypatch):
    calls = []

    def npm(command, **options):
        calls.append([word for word in command if word.startswith("@")])
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(packages.subprocess, "run", npm)
    listed[2].path(tmp_path / "packages").unlink()
    with pytest.raises(UserError, match=r"@fontsource/cid-sans@1\.0\.0 \(sha256 .*could not be fetched") as error:
        build.build(tmp_path / "packages", tmp_path / "out")
    assert listed[2].sha256[:12] in str(error.value) and "\n" not in str(error.value)
    assert calls == [["@fontsource/cid-sans@1.0.0"]] * 2


def test_no_file_is_taken_for_the_folder_of_packages(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is not a folder"):
            build.build(path, tmp_path / "out")
