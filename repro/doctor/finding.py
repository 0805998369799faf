"""Findings of the checks of ``repro doctor``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from repro.errors import UserError, reason


class Status(StrEnum):
    """Whether a finding prevents a command from working (error) or might (warning)."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """A line of the report: status, what was found, and what to do about it."""

    status: Status
    text: str
    advice: str = ""


def ok(text: str, advice: str = "") -> Finding:
    """Return a finding that needs nothing."""
    return Finding(Status.OK, text, advice)


def warning(text: str, advice: str) -> Finding:
    """Return a finding that may prevent a command from working, or slow it."""
    return Finding(Status.WARNING, text, advice)


def error(text: str, advice: str) -> Finding:
    """Return a finding that prevents a command from working."""
    return Finding(Status.ERROR, text, advice)


def isolated(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check; an exception is an error of its own."""
    try:
        yield from check()
    except UserError as problem:  # says itself what to do
        yield error(str(problem), "")
    except (Exception, SystemExit) as problem:  # whatever a broken environment raises
        kind = type(problem).__name__
        yield error(f"the check itself failed ({kind}: {reason(problem)})", "attach this line to a report")
