"""Pronunciations: those of pocketsphinx's dictionary, the CMU dictionary, then those of a corpus's lexicon."""

import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pocketsphinx

from repro.data.speech.characters import fold
from repro.data.speech.transcripts import is_word
from repro.errors import UserError

Pronunciations = dict[str, list[tuple[str, ...]]]

ALTERNATIVE = re.compile(r"\(\d+\)$")  # word(2), the second pronunciation of a word
PROBABILITY = re.compile(r"[\d.]+(?:e-?\d+)?", re.IGNORECASE)


def dictionary_path() -> Path:
    """Return the path of pocketsphinx's dictionary, the CMU dictionary."""
    return Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))


@cache
def cmudict() -> Pronunciations:
    """Return the CMU dictionary, with phones without stress."""
    spellings: Pronunciations = defaultdict(list)
    for line in dictionary_path().read_text(encoding="utf-8").splitlines():
        word, *phones = line.split()
        spellings[ALTERNATIVE.sub("", word)].append(tuple(map(sys.intern, phones)))
    return dict(spellings)


@cache
def known_phones() -> frozenset[str]:
    """Return the phones of the acoustic model."""
    return frozenset(phone for spellings in cmudict().values() for phones in spellings for phone in phones)


def pronunciations(words: Iterable[str], lexicon: Pronunciations | None = None) -> Pronunciations:
    """Return each word's pronunciations, first the CMU dictionary's, then the lexicon's; words without any are omitted.

    Args:
        words: the words to look up.
        lexicon: pronunciations of a corpus; those with phones that pocketsphinx lacks are ignored.
    """
    spellings_of = {}
    for word in sorted(set(words)):
        spellings = [*cmudict().get(word, []), *filter(known_phones().issuperset, (lexicon or {}).get(word, []))]
        if spellings:
            spellings_of[word] = list(dict.fromkeys(spellings))
    return spellings_of


def parse(path: Path, lines: Iterable[str], first_phone: int) -> Pronunciations:
    """Return the pronunciations in the lines of a Kaldi lexicon, without stress.

    Entries that are no words, such as ``<eps>``, ``!SIL`` and ``<UNK>``, are skipped.

    Args:
        path: the file, for errors.
        lines: a word, with ``first_phone`` 2 a probability, and phones each.
        first_phone: 1 for ``lexicon.txt``, 2 for ``lexiconp.txt``.

    Raises:
        UserError: a line has no phones, or a probability at an unexpected place.
    """
    lexicon: Pronunciations = defaultdict(list)
    for number, line in enumerate(lines, 1):
        entry, *fields = line.split() or [""]
        word = fold(ALTERNATIVE.sub("", entry))
        if not is_word(word):
            continue
        phones = fields[first_phone - 1 :]
        if not phones:
            raise UserError(f"{path}: line {number}: {entry} has no phones")
        if [bool(PROBABILITY.fullmatch(field)) for field in fields[:first_phone]] != [True, False][-first_phone:]:
            raise UserError(
                f"{path}: line {number}: must be a word and its phones in lexicon.txt, "
                "and a word, a probability and its phones in lexiconp.txt"
            )
        spelling = tuple(re.sub(r"\d", "", phone) for phone in phones)
        if "".join(spelling).islower():  # phones in both cases are not ARPAbet (X-SAMPA has s and S) and stay unknown
            spelling = tuple(map(str.upper, spelling))
        if spelling not in lexicon[word]:
            lexicon[word].append(spelling)
    return dict(lexicon)
