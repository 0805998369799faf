"""Which of the package's icon sets are taken, whose hand drew each, and which hands are kept for the test."""

from collections.abc import Mapping
from typing import Any

# Licences that let anyone use, change and pass on the work if it is credited, and ask nothing of what is made
# from it. OFL-1.1 asks that what derives from a font stay under it, so it is not among them.
LICENCES = frozenset(["MIT", "Apache-2.0", "ISC", "BSD-3-Clause", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "Unlicense"])
UNFIT_CATEGORIES = {"Emoji": "emoji", "Logos": "logos"}
# Sets of logos that the package files under another category.
LOGOS = frozenset(["devicon-plain", "fa-brands", "fa6-brands", "fa7-brands", "file-icons"])

# Author -> family. An author who is not named here is a family alone. Together stand those whose sets share art:
# the same drawing, or a copy of it, was found in both.
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
    """Why a set is not taken, in a word or two, or None; ``info`` is its own metadata."""
    licence = info["license"].get("spdx", "unknown")
    if info.get("hidden") or not info.get("category"):
        return "hidden or superseded"
    if info.get("palette"):
        return "multicolour"
    if info["category"] in UNFIT_CATEGORIES:
        return UNFIT_CATEGORIES[info["category"]]
    if prefix in LOGOS:
        return "logos"
    return None if licence in LICENCES else f"licence {licence}"


def family_of(info: Mapping[str, Any]) -> str:
    """The family of a set's author."""
    return FAMILIES.get(info["author"]["name"], info["author"]["name"])


def split_of(family: str) -> str:
    """The part of the data in which a family's images stand, always the same."""
    return "test" if family in TEST else "validation" if family in VALIDATION else "train"
