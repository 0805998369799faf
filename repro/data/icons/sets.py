"""Selection of icon sets by license and kind, families of authors, and the split of each family."""

from collections.abc import Mapping
from typing import Any

# Licenses that permit use, change and redistribution with attribution and put no condition on derived works. OFL-1.1
# requires that works derived from a font stay under it, so it is not among them.
LICENSES = frozenset(["MIT", "Apache-2.0", "ISC", "BSD-3-Clause", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "Unlicense"])
UNFIT_CATEGORIES = {"Emoji": "emoji", "Logos": "logos"}
# Sets of logos that the package lists under another category.
LOGOS = frozenset(["devicon-plain", "fa-brands", "fa6-brands", "fa7-brands", "file-icons"])

# Author -> family. Authors whose sets share icons, or copies of them, are one family; all others are families of one.
FAMILIES = {
    "Google": "Material",
    "Material Design Authors": "Material",
    "Pictogrammers": "Material",
    "Ben Sperry": "Ionicons",
    "Family": "Ionicons",  # famicons: 99% of its bitmaps are Ionicons'
    "480 Design": "Solar",
    "REICON": "Solar",  # 56% of its bitmaps are Solar's
    "Dave Gandy": "Font Awesome and Line Awesome",
    "Icons8": "Font Awesome and Line Awesome",  # Line Awesome redraws Font Awesome in lines
    "Quincy Morgan": "Map icons",  # Pinhead collects Maki, Temaki and others
    "Bryan Housel": "Map icons",
    "Mapbox": "Map icons",
    "Lucide Contributors": "Lucide, Tabler and kin",  # all come from or copy Feather
    "Paweł Kuna": "Lucide, Tabler and kin",
    "Refactoring UI Inc": "Lucide, Tabler and kin",
    "Andri Soone": "Lucide, Tabler and kin",  # SidekickIcons extends Heroicons
    "zkreations": "Lucide, Tabler and kin",
    "Keyline Icons": "Lucide, Tabler and kin",
}

VALIDATION = frozenset([
    "creativeLabs Łukasz Holeczek", "IBM", "Luca Burgio", "Map icons", "ProCode", "TDesign", "The Bootstrap Authors",
    "Valentin Fossati", "Zuzana Benova", "smhmd",
])  # fmt: skip
TEST = frozenset([
    "Astrit", "ByteDance", "Font Awesome and Line Awesome", "GameIcons", "Hugeicons", "Microsoft Corporation",
    "Phosphor Icons",
])  # fmt: skip
SPLITS = ("train", "validation", "test")


def unfit(prefix: str, info: Mapping[str, Any]) -> str | None:
    """Return the reason for excluding a set, in a word or two, or None; ``info`` is the set's metadata."""
    license = info["license"].get("spdx", "unknown")
    if info.get("hidden") or not info.get("category"):
        return "hidden or superseded"
    if info.get("palette"):
        return "multicolor"
    if info["category"] in UNFIT_CATEGORIES:
        return UNFIT_CATEGORIES[info["category"]]
    if prefix in LOGOS:
        return "logos"
    return None if license in LICENSES else f"license {license}"


def family_of(info: Mapping[str, Any]) -> str:
    """Return the family of a set's author."""
    return FAMILIES.get(info["author"]["name"], info["author"]["name"])


def split_of(family: str) -> str:
    """Return the split that all images of a family are in."""
    return "test" if family in TEST else "validation" if family in VALIDATION else "train"
