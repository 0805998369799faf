"""Names of files and folders as text that any page, table and terminal can show."""

import re
from pathlib import Path

# Characters that break a line, a terminal, an XML file or the order of the text beside them.
UNSHOWABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffe\uffff]")


def text_of(name: str | Path) -> str:
    r"""Return a name as valid Unicode on one line; bytes that are not UTF-8 and control characters become ``\xe9``."""
    # Python keeps such bytes as lone surrogates, which no file or terminal takes.
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return UNSHOWABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
