"""Names of files as text: bytes that are not UTF-8 and control characters are escaped, all else stays."""

import os
from pathlib import Path

import pytest

from repro.names import OWN, dataset_name, text_of

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"pet 1", "pet 1"),
        ("café 🙂 日本 \u200d".encode(), "café 🙂 日本 \u200d"),
        (b"caf\xe9", r"caf\xe9"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
        (b"a\nb\r\tc", r"a\nb\r\tc"),
        (b"\x1b[31m\x7f", r"\x1b[31m\x7f"),
        ("\x85\u2028\u202e\ufffe".encode(), r"\x85\u2028\u202e\ufffe"),
        (rb"back\slash", rb"back\slash".decode()),
    ],
)
def test_names_become_text(name, text):
    assert text_of(os.fsdecode(name)) == text == text_of(Path(os.fsdecode(name)))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("pets", "pets"),
        ("my pets & café", "my-pets-caf"),
        ("日本", "images"),
        ("icons", "folder-icons"),
        ("icons-long", "folder-icons-long"),
        ("Icons", "folder-Icons"),
        ("letters-of-mine", "letters-of-mine"),
        ("speechocean762", "speechocean762"),
        ("iconsets", "iconsets"),
        ("all", "folder-all"),
        ("paper", "folder-paper"),
        ("pets-search", "pets_search"),
        ("letters-search", "letters_search"),
        ("synth", "folder-synth"),
    ],
)
def test_names_of_own_data_differ_from_those_with_a_meaning(tmp_path, folder, name):
    assert dataset_name(tmp_path / folder, "images") == name


def test_the_committed_results_of_images_are_the_projects_own():
    folders = [path for experiment in ("specialists", "variants") for path in (ROOT / "results" / experiment).iterdir()]
    names = [path.name for path in folders if path.is_dir() and not path.name.endswith("-search")]
    assert len(names) > 5 and all(map(OWN.fullmatch, names))
