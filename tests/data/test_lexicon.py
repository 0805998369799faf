"""Pronunciations of the dictionary and of a corpus's lexicon."""

from pathlib import Path

import pytest

from repro.data.speech.lexicon import cmudict, known_phones, parse, pronunciations
from repro.data.speech.transcripts import is_word
from repro.errors import UserError

PATH = Path("lexicon.txt")


def test_pronunciations_combine_dictionary_and_lexicon():
    lexicon = {
        "cat": [("K", "AE", "T"), ("K", "AA", "T"), ("K", "Q", "T")],
        "zzyzx": [("Z", "AY", "Z", "IH", "K", "S")],
    }
    spellings = pronunciations(["cat", "zzyzx", "qqqq", "a"], lexicon)
    assert spellings["cat"] == [("K", "AE", "T"), ("K", "AA", "T")]
    assert spellings["zzyzx"] == lexicon["zzyzx"]
    assert ("EY",) in spellings["a"] and len(spellings["a"]) == 2
    assert "qqqq" not in spellings
    assert cmudict()["cat"] == [("K", "AE", "T")]  # unchanged


def test_the_dictionary_is_read_with_its_alternatives():
    assert cmudict()["tomato"] == [tuple(["T", "AH", "M", "EY", "T", "OW"]), tuple(["T", "AH", "M", "AA", "T", "OW"])]
    assert len(cmudict()) > 126_000 and len(known_phones()) == 39
    assert all(is_word(word) for word in [*cmudict()][::50])


def test_entries_that_are_no_words_are_skipped():
    lines = [
        "",
        "<eps>",
        "!SIL SIL",
        "<UNK> SPN",
        "<noise> NSN",
        "[laughter] LAU",
        "{SMACK} S",
        "%hesitation AH",
        ". SIL",
    ]
    assert parse(PATH, [*lines, "3D TH R IY", ";;; comment"], 1) == {}


def test_words_are_folded_stress_is_dropped_and_alternatives_are_collected():
    lines = [
        "SHOP\tSH AA1 P",
        "shop(2) sh ao0 p",
        "Shop SH AA0 P",
        "O’CLOCK AH K L AA K",
        "ＡＢ B",
        "AT&T EY",
        "UH-HUH AH",
    ]
    assert parse(PATH, lines, 1) == {
        "shop": [("SH", "AA", "P"), ("SH", "AO", "P")], "o'clock": [("AH", "K", "L", "AA", "K")], "ab": [("B",)],
        "at&t": [("EY",)], "uh-huh": [("AH",)],
    }  # fmt: skip


def test_probabilities_are_skipped_where_they_are_expected():
    assert parse(PATH, ["a 0.5 EY1", "a 1 AH", "a 1e-05 AA"], 2) == {"a": [("EY",), ("AH",), ("AA",)]}
    for line, first_phone in (("a 0.5 EY", 1), ("a EY", 2), ("a 0.5", 2), ("a EY EY", 2), ("a 1 1", 2), ("a", 1)):
        with pytest.raises(UserError, match=r"lexicon.txt: line 1: "):
            parse(PATH, [line], first_phone)
