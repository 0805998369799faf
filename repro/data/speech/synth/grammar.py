"""Sentences of the synthetic corpus: voice queries to a phone, from the grammar in ``files/``."""

import re
import zlib
from functools import cache
from math import log, prod
from pathlib import Path

import numpy as np

FILES = Path(__file__).parent / "files"
TOP = "query"
# One sentence in eight belongs to the test set, whoever says it: no sentence is in both parts.
TEST_ONE_IN = 8
CHOICE = re.compile(r"\(([^()]*)\)")
SLOT = re.compile(r"{(\w+)}")
# "a" before a vowel sound: "an hour", but "a unicorn".
VOWEL = re.compile(r"\ba (?=(?:hon|hour|heir)|(?!uni|use|usu|eu|ur[aeiou]|one|uk)[aeiou])")


@cache
def grammar() -> dict[str, tuple[str, ...]]:
    """Return the alternatives of every rule and slot by its name."""
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


def sentence(draw: np.random.Generator, test: bool) -> str:
    """Return a random query in lower case from the test set's sentences, or from train's."""
    ways, bounds = _queries()
    while True:
        query = _expand(ways[np.searchsorted(bounds, draw.random(), side="right")], draw)
        if in_test(query) == test:
            return query


def in_test(text: str) -> bool:
    """Return whether a sentence belongs to the test set; its checksum decides, so that no list is needed."""
    return zlib.crc32(text.encode()) % TEST_ONE_IN == 0


def _expand(way: str, draw: np.random.Generator) -> str:
    def pick(options: list[str] | tuple[str, ...]) -> str:
        return options[draw.integers(len(options))]

    while "{" in way or "(" in way:
        way = CHOICE.sub(lambda match: pick(match[1].split("|")), way)
        way = SLOT.sub(lambda match: pick(grammar()[match[1]]), way)
    return VOWEL.sub("an ", " ".join(way.split()))


@cache
def _queries() -> tuple[tuple[str, ...], np.ndarray]:
    ways = grammar()[TOP]
    weights = np.cumsum([log(1 + _count(way)) for way in ways])
    return ways, weights / weights[-1]


def _count(way: str) -> int:
    """Return the number of expansions of a rule, equal ones counted separately."""
    choices = [sum(_count(option) for option in options.split("|")) for options in CHOICE.findall(way)]
    return prod(choices + [_total(name) for name in SLOT.findall(CHOICE.sub("", way))])


@cache
def _total(name: str) -> int:
    return sum(map(_count, grammar()[name]))
