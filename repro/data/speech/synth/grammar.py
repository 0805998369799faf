"""The sentences of the synthetic corpus: what people ask a telephone, by a small grammar of our own."""

import re
import zlib
from functools import cache
from math import log, prod
from pathlib import Path

import numpy as np

FILES = Path(__file__).parent / "files"
TOP = "query"
# One sentence in so many belongs to the test set, whoever says it: no sentence stands in both.
TEST_SHARE = 8
CHOICE = re.compile(r"\(([^()]*)\)")
SLOT = re.compile(r"{(\w+)}")
# "a" before a vowel that is heard: "an hour", but "a unicorn".
VOWEL = re.compile(r"\ba (?=(?:hon|hour|heir)|(?!uni|use|usu|eu|ur[aeiou]|one|uk)[aeiou])")


@cache
def grammar() -> dict[str, tuple[str, ...]]:
    """Every rule and slot by its name, with the ways to say it."""
    rules: dict[str, list[str]] = {}
    for line in _lines("words.txt"):
        if not line.startswith(" "):
            name, _, line = line.partition(":")
            rules[name] = []
        rules[name] += [filler.replace("_", " ") for filler in line.split()]
    for line in _lines("rules.txt"):
        if line.startswith("["):
            name = line.strip("[]")
            rules[name] = []
        else:
            rules[name].append(line)
    return {name: tuple(ways) for name, ways in rules.items()}


def _lines(name: str) -> list[str]:
    lines = (FILES / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@cache
def vocabulary() -> frozenset[str]:
    """Every word that the grammar can say, in lower case."""
    text = " ".join(" ".join(ways) for ways in grammar().values())
    return frozenset(re.sub(r"{\w+}|[(|)]", " ", text).split()) | {"an"}


def sentence(draw: np.random.Generator, test: bool) -> str:
    """A query in lower case, one of those that belong to the test set or one of the others."""
    ways, bounds = _queries()
    while True:
        found = _say(ways[np.searchsorted(bounds, draw.random(), side="right")], draw)
        if in_test(found) == test:
            return found


def in_test(text: str) -> bool:
    """Whether a sentence belongs to the test set; it says so itself, so that no list need be kept."""
    return zlib.crc32(text.encode()) % TEST_SHARE == 0


def _say(way: str, draw: np.random.Generator) -> str:
    def pick(options: list[str] | tuple[str, ...]) -> str:
        return options[draw.integers(len(options))]

    while "{" in way or "(" in way:
        way = CHOICE.sub(lambda found: pick(found[1].split("|")), way)
        way = SLOT.sub(lambda found: pick(grammar()[found[1]]), way)
    return VOWEL.sub("an ", " ".join(way.split()))


@cache
def _queries() -> tuple[tuple[str, ...], np.ndarray]:
    ways = grammar()[TOP]
    weights = np.cumsum([log(1 + _count(way)) for way in ways])
    return ways, weights / weights[-1]


def _count(way: str) -> int:
    """In how many ways it can be said, alike ones counted apart."""
    choices = [sum(_count(option) for option in found.split("|")) for found in CHOICE.findall(way)]
    return prod(choices + [_total(name) for name in SLOT.findall(CHOICE.sub("", way))])


@cache
def _total(name: str) -> int:
    return sum(map(_count, grammar()[name]))
