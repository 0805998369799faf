"""Characters of transcripts: letters, separators, symbols and digits; compatibility forms and invisible characters.

``fold`` resolves compatibility forms (NFKC, but not of symbols, numbers, superscripts and subscripts), removes
invisible characters (Default_Ignorable_Code_Point of Unicode) and writes apostrophes and hyphens in one way.
"""

import unicodedata
from functools import cache

SIGNS = str.maketrans({**dict.fromkeys("’‘‛ʼ´`′", "'"), "‐": "-"})
JOINERS = set("'.-_")
SPOKEN = set("&%#*/@\\§¶†‡‰‱ªº")  # beside all that Unicode calls symbols
BRACKETS = set("()[]{}<>")
UNSEEN_SPACES = {"\u200b", "\u2800"}  # zero-width space, blank of Braille; no white space in Unicode
# Default_Ignorable_Code_Point of Unicode 15 beside the category Cf.
IGNORABLE = [
    *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x2060, 0x2070), 0x3164, 0xFFA0),
    *(*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)),
]
INVISIBLE = set(map(chr, IGNORABLE))


def fold(text: str) -> str:
    """Return a text in lower case, without invisible characters, and with one form of apostrophe and hyphen."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", "".join(map(_plain, text)))
    return unicodedata.normalize("NFC", text.casefold()).translate(SIGNS)


@cache
def class_of(character: str) -> str:
    """Return whether a folded character is a letter, a separator of words, a symbol or a digit.

    Apostrophes, dots, hyphens and underscores, which may be parts of words, are letters here.
    """
    category = unicodedata.category(character)[0]
    if category == "N":
        return "digit"
    if character in SPOKEN or character in BRACKETS or _is_raised(character):
        return "symbol"
    if character in JOINERS or category in "LM":
        return "letter"
    return "separator" if character.isspace() or category == "P" else "symbol"


def has(text: str, kind: str) -> bool:
    """Return whether a text has a character of a class of ``class_of``."""
    return any(class_of(character) == kind for character in text)


@cache
def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if character in UNSEEN_SPACES:
        return " "
    if category == "Cf" or character in INVISIBLE:
        return ""
    if category[0] in "SN" or character in SPOKEN or _is_raised(character):
        return character
    return unicodedata.normalize("NFKC", character)


def _is_raised(character: str) -> bool:
    """Return whether a character is a superscript or subscript."""
    return unicodedata.decomposition(character).startswith(("<super>", "<sub>"))
