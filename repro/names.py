"""Names of files, folders and data sets as text that any page, table, path and terminal can take."""

import re
from pathlib import Path

# Characters that break a line, a terminal, an XML file or the order of the text beside them.
UNSHOWABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffe\uffff]")

# Names of results of the project's own data sets and settings, and of pages beside them; some disks ignore case.
OWN = re.compile(r"(icons|letters|cifar100|mnist)(-long|-2percent)?|synth|librispeech|all|paper", re.IGNORECASE)


def dataset_name(folder: Path, default: str) -> str:
    """Return the name of the data in a user's folder, safe in a path and unlike names with a meaning of their own.

    Args:
        folder: the folder, of whose name each run of characters besides ASCII letters, digits and "_" becomes "-".
        default: the name where nothing is left.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-") or default
    name = re.sub("-search$", "_search", name)  # results of a recipe search end so
    return f"folder-{name}" if OWN.fullmatch(name) else name


def text_of(name: str | Path) -> str:
    r"""Return a name as valid Unicode on one line; bytes that are not UTF-8 and control characters become ``\xe9``."""
    # Python keeps such bytes as lone surrogates, which no file or terminal takes.
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return UNSHOWABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
