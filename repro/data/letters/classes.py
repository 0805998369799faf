"""Classes of the letters: their names, characters that look alike, and images that have no unique label."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations

# Images of one typeface by character or by class; images are bytes, so that equal ones are found by hashing.
Images = dict[str, bytes]
# Characters are one class if their images are equal in this fraction of the typefaces that have both. In most of the
# others such pairs differ by a fraction of a pixel, in the place of an accent. Pairs below it mostly are two shapes.
SAME = 0.4


def name_of(character: str) -> str:
    """Return the class name of a character, by Unicode: "a with acute", "capital a", "cyrillic zhe", "comma"."""
    name = unicodedata.name(character).lower()
    for script in ("latin ", "greek ", "cyrillic "):
        for case, short in (("small ", ""), ("capital ", "capital ")):
            for kind in ("letter ", "ligature "):
                if name.startswith(script + case + kind):
                    return script.replace("latin ", "") + short + name.removeprefix(script + case + kind)
    return name


def frequent(typefaces: Iterable[Collection[str]], least: int) -> list[str]:
    """Return the characters, or classes, that at least ``least`` typefaces have, sorted."""
    counts = Counter(item for typeface in typefaces for item in typeface)
    return sorted(item for item, count in counts.items() if count >= least)


def merge(typefaces: Collection[Images], characters: Collection[str]) -> dict[str, str]:
    """Return for every character the first of those that it looks like, itself included.

    Latin A and Cyrillic A have one image in nearly all typefaces, and no reader could say which of the two it shows.
    """
    wanted, equal, both = set(characters), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for images in typefaces:
        alike = defaultdict(list)
        for character in sorted(wanted & images.keys()):
            alike[images[character]].append(character)
        equal.update(pair for group in alike.values() for pair in combinations(group, 2))
    for images in typefaces:
        both.update(pair for pair in equal if pair[0] in images and pair[1] in images)
    first = {character: character for character in characters}
    for character, other in sorted(pair for pair in equal if equal[pair] >= SAME * both[pair]):
        here, there = sorted((first[character], first[other]))
        first = {member: here if group == there else group for member, group in first.items()}
    return first


def by_class(images: Images, first: Mapping[str, str]) -> Images:
    """Return one image for each class, that of its first character in the typeface, without those of two classes."""
    labeled: Images = {}
    for character in sorted(images):
        if character in first:
            labeled.setdefault(first[character], images[character])
    counts = Counter(labeled.values())
    return {label: image for label, image in labeled.items() if counts[image] == 1}
