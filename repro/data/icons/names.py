"""Class names from the names that authors give their icons: without style and size, in one spelling and word order."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

Words = tuple[str, ...]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# At the end of a name these describe the style of an icon, never its object.
ALWAYS_STYLE = _words("alt duotone filled linear outline outlined regular rounded solid twotone variant")
# These may also be part of the object ("traffic-light", "chart-line"): style only in sets that use them as such.
SOMETIMES_STYLE = _words(
    "active bold broken bulk compact duo expressive f fill light line loop negative o one r remix round sharp small "
    "stroke thin two"
)
STYLE_FRACTION, STYLE_COUNT = 0.02, 5
# A number at the end counts renditions ("tree-2"), unless the icon is about the number.
COUNTED = _words(
    "backward battery box circle column columns counter cube dice filter forward grid h header heading hexagon layout "
    "level looks number numeric replay rewind rotate row rows signal skip speed square step timer top"
)
# A logo is a trademark, whoever drew it: no class whose name holds one of these words ...
BRANDS = _words(
    "adobe airbnb airplay airpods alipay amazon android behance bitbucket blogger bluesky bluetooth brand chrome "
    "chromecast codepen css3 devto discord docker dribbble dropbox ethereum facebook figma firefox flickr github "
    "gitlab google html5 instagram java javascript kotlin linkedin linux logo mastercard mastodon messenger microsoft "
    "netflix nintendo nodejs npm openai patreon paypal php pinterest playstation python qq quora reddit skype "
    "snapchat social soundcloud spotify stackoverflow telegram tiktok trello tumblr twitch twitter typescript ubuntu "
    "unsplash vimeo vk vuejs wechat whatsapp wordpress xbox yahoo youtube"
)
# ... or is one of these, which in company are ordinary words ("battery medium", "git branch").
BRANDS_ALONE = _words(
    "apple appstore blender bootstrap claude css edge gemini git html line medium meta metro node notion opera pacman "
    "react safari sketch slack steam stripe swift threads visa windows yarn"
)


def styles_of(names: Iterable[str], suffixes: Iterable[str]) -> tuple[Words, ...]:
    """Return the endings that are styles in one set, longest first: those of its metadata and frequent ones."""
    names = list(names)
    least = max(STYLE_COUNT, STYLE_FRACTION * len(names))
    bare = [re.sub(r"(-\d+(px)?)+$", "", name) for name in names]
    ends = Counter(name.rsplit("-", 1)[-1] for name in bare if "-" in name)
    styles: set[Words] = {(end,) for end, count in ends.items() if end in SOMETIMES_STYLE and count >= least}
    styles |= {tuple(suffix.split("-")) for suffix in suffixes if suffix}
    return tuple(sorted(styles, key=lambda words: (-len(words), words)))


def stem(name: str, names: set[str], styles: tuple[Words, ...], prefixes: Collection[str] = ()) -> Words:
    """Return the words of ``name`` without style, size and number.

    A style that may also be part of the object is removed only if the set, ``names``, has the rest in another style
    too: "traffic-light" keeps its "light" unless there is a "traffic" or a "traffic-bold".
    """
    words = tuple(name.split("-"))
    if len(words) > 1 and words[0] in prefixes:
        # The prefix is the style, so that nothing at the end is one.
        return _without_number(words[1:])
    while True:
        shorter = _without_number(_without_style(words, names, styles))
        if shorter == words:
            return words
        words = shorter


def _without_style(words: Words, names: set[str], styles: tuple[Words, ...]) -> Words:
    for style in styles:
        rest = words[: -len(style)]
        if rest and words[-len(style) :] == style:
            others = ["-".join(rest), *("-".join(rest + other) for other in styles if other != style)]
            if style[-1].isdigit() or any(other in names for other in others):  # a size, or drawn in two ways
                return rest
    return words[:-1] if len(words) > 1 and words[-1] in ALWAYS_STYLE else words


def _without_number(words: Words) -> Words:
    last, rest = words[-1], words[:-1]
    if rest and last.removesuffix("px").isdigit() and (re.match("0.", last) or not COUNTED & set(rest)):
        return rest
    return words


def is_readable(words: Words) -> bool:
    """Return whether a name describes an object to a reader, and that object is not the logo of a brand."""
    letters = "".join(words)
    plain = all(re.fullmatch(r"[a-z0-9]+", word) for word in words)
    brand = letters in BRANDS_ALONE or BRANDS & set(words)
    return plain and len(letters) > 1 and not letters.isdigit() and not brand


def merge(stems: Iterable[Words]) -> dict[Words, str]:
    """Return the class name of every stem: the most common spelling of its variants.

    Variants differ in the order of the words only ("arrow left circle", "circle arrow left") or in how they are split
    ("check box", "checkbox"). ``stems`` holds a stem as often as it occurs.
    """
    counts = Counter(stems)
    ranked = sorted(counts, key=lambda words: (-counts[words], words))
    parted: dict[str, Words] = {}  # letters -> the most common way to split them
    for words in ranked:
        parted.setdefault("".join(words), words)
    totals: Counter[Words] = Counter()
    for words in ranked:
        totals[parted["".join(words)]] += counts[words]
    shown: dict[Words, str] = {}  # sorted words -> the most common order
    for words in sorted(totals, key=lambda words: (-totals[words], words)):
        shown.setdefault(tuple(sorted(words)), " ".join(words))
    return {words: shown[tuple(sorted(parted["".join(words)]))] for words in ranked}
