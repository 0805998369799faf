"""From the names that authors give their icons to classes: without style and size, whatever the order of the words."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

Words = tuple[str, ...]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# At the end of a name these tell how it is drawn, never what.
ALWAYS_STYLE = _words("alt duotone filled linear outline outlined regular rounded solid twotone variant")
# These may also mean something ("traffic-light", "chart-line"): style only where a set uses them as such.
SOMETIMES_STYLE = _words(
    "active bold broken bulk compact duo expressive f fill light line loop negative o one r remix round sharp small "
    "stroke thin two"
)
STYLE_SHARE, STYLE_COUNT = 0.02, 5
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
    """The endings that are style in one set, longest first: those that its metadata names, and those that it
    repeats often enough."""
    names = list(names)
    least = max(STYLE_COUNT, STYLE_SHARE * len(names))
    bare = [re.sub(r"(-\d+(px)?)+$", "", name) for name in names]
    ends = Counter(name.rsplit("-", 1)[-1] for name in bare if "-" in name)
    found: set[Words] = {(end,) for end, count in ends.items() if end in SOMETIMES_STYLE and count >= least}
    found |= {tuple(suffix.split("-")) for suffix in suffixes if suffix}
    return tuple(sorted(found, key=lambda words: (-len(words), words)))


def stem(name: str, names: set[str], styles: tuple[Words, ...], prefixes: Collection[str] = ()) -> Words:
    """The words of ``name`` without style, size and number.

    A style that may also mean something goes only where the set, ``names``, draws the rest in another way too:
    "traffic-light" keeps its light unless there is a "traffic" or a "traffic-bold".
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
    """Whether the name tells somebody what is drawn, and that is not a brand's sign."""
    letters = "".join(words)
    plain = all(re.fullmatch(r"[a-z0-9]+", word) for word in words)
    brand = letters in BRANDS_ALONE or BRANDS & set(words)
    return plain and len(letters) > 1 and not letters.isdigit() and not brand


def merge(stems: Iterable[Words]) -> dict[Words, str]:
    """For every stem the name of its class: the commonest spelling among those that are the same but for the order
    of the words ("arrow left circle", "circle arrow left") and for where they are parted ("check box", "checkbox").

    ``stems`` holds a stem as often as it occurs.
    """
    counts = Counter(stems)
    ranked = sorted(counts, key=lambda words: (-counts[words], words))
    parted: dict[str, Words] = {}  # letters -> the commonest way to part them
    for words in ranked:
        parted.setdefault("".join(words), words)
    totals: Counter[Words] = Counter()
    for words in ranked:
        totals[parted["".join(words)]] += counts[words]
    shown: dict[Words, str] = {}  # sorted words -> the commonest order
    for words in sorted(totals, key=lambda words: (-totals[words], words)):
        shown.setdefault(tuple(sorted(words)), " ".join(words))
    return {words: shown[tuple(sorted(parted["".join(words)]))] for words in ranked}
