"""An error that the user can fix, the cause of any other error on one line, hints, and lines on standard error."""

import contextlib
import difflib
import re
import sys
from collections.abc import Iterable

LONGEST_CAUSE, LONGEST_CONTEXT = 1000, 120  # characters: some libraries put tables of processes into a message


class UserError(Exception):
    """A setting, file or data set is wrong. The message is one line that names it and what it may be.

    The command line prints the message without a traceback and exits with code 2.
    """


# What PyTorch's allocators and Python say.
MEMORY = re.compile(r"not enough memory|out of memory|can't allocate memory|cannot allocate memory", re.IGNORECASE)


def environment_problem(error: Exception) -> str:
    """Return what to do about too little memory or a package that cannot be loaded; empty for any other error."""
    if isinstance(error, MemoryError) or MEMORY.search(str(error)):
        return f"not enough memory ({reason(error)}); close other programs, or use smaller networks or batches"
    if isinstance(error, ImportError) and not str(error.name).startswith("repro"):
        return f"{error.name or 'a package'} cannot be loaded ({reason(error)}); run `repro doctor`, then `make` again"
    return ""


def hint(name: str, known: Iterable[str]) -> str:
    """Return which name a wrong one may stand for: the known one of similar spelling, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"it must be one of: {', '.join(names)}"


def warn(text: str) -> None:
    """Print a line on standard error if it can be written: no closed terminal or full disk of a log ends the work."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: closed
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)


def reason(error: BaseException) -> str:
    """Return on one line what caused an error, and after it, shortened and in brackets, the error itself."""
    cause = error
    while (below := _cause(cause)) is not None:
        cause = below
    first, last = _one_line(cause, LONGEST_CAUSE), _one_line(error, LONGEST_CONTEXT)
    return first if cause is error or first in " ".join(str(error).split()) else f"{first} ({last})"


def _cause(error: BaseException) -> BaseException | None:
    """Return the exception that led to this one; of those that were merely being handled, failed system calls alone."""
    handled = None if error.__suppress_context__ else error.__context__
    return error.__cause__ or (handled if isinstance(handled, OSError) else None)


def _one_line(error: BaseException, longest: int) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."
