"""Progress of a command in the terminal: one bar over all its work, measured in FLOPs."""

import contextlib
import io
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from repro.names import text_of

LINE_SECONDS = 30.0
RATE_LINES = 20  # lines over which the speed of the work is averaged for the ETA


class PlainConsole(Console):
    """A console that prints text literally: brackets and colons in paths and names are no markup or emoji."""

    def __init__(self, file: IO[str] | None = None):
        """``file`` is a text stream. Default: standard output."""
        super().__init__(file=file, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError, where Rich would end the process without a word."""
        raise


class BestEffort:
    """A text stream that drops what cannot be written: no closed terminal or full disk of a log ends the work."""

    def __init__(self, stream: IO[str]):
        """``stream`` gets what can be written."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if possible."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class ProgressDisplay:
    """Progress on standard error: a bar with an ETA on a terminal, elsewhere a line every ``LINE_SECONDS``."""

    def __init__(self, name: str):
        """``name`` is displayed until ``now`` is called."""
        stream = sys.stderr or io.StringIO()  # none where it is closed
        self.console = PlainConsole(cast(IO[str], BestEffort(stream)))
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._bar.speed_estimate_period = 120.0
        self._task = self._bar.add_task(name, total=None)
        self._total, self._done = 0.0, 0.0
        self._last_line = time.monotonic()
        # Times at which lines were printed and the work done by then; the first is that of the first work done.
        self._rates: deque[tuple[float, float]] = deque(maxlen=RATE_LINES)
        self._description = name

    def __enter__(self) -> "ProgressDisplay":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def expect(self, flops: float) -> None:
        """Add to the expected work, or subtract from it."""
        self._total += flops
        self._bar.update(self._task, total=self._total)

    def now(self, description: str) -> None:
        """Display the description of the work that starts."""
        self._description = description
        self._bar.update(self._task, description=description)

    def advance(self, flops: float) -> None:
        """Count work as done."""
        self._done += flops
        self._bar.advance(self._task, flops)
        now = time.monotonic()
        if not self._rates:
            self._rates.append((now, self._done))
        elif self._total and not self.console.is_terminal and now - self._last_line > LINE_SECONDS:
            before, done = self._rates[0]
            if self._done == done:  # work of jobs too small to count beside the rest
                return
            self._rates.append((now, self._done))
            self._last_line = now
            left = (self._total - self._done) * (now - before) / (self._done - done)
            self.say(f"{self._description}: {self._done / self._total:.0%} done, {_format_duration(left)} left")

    def say(self, content: object) -> None:
        """Print a line of text or a Rich renderable above the bar."""
        if isinstance(content, str):
            content = text_of(content)
        self.console.print(content, soft_wrap=True)  # paths stay in one piece

    def list_by_reason(
        self, noun: str, used: int, left_out: Mapping[str, Sequence[str]], changed: Mapping[str, Sequence[str]]
    ) -> None:
        """Print a line for each reason for which files were left out or changed: count, reason and an example.

        Args:
            noun: what is counted, in the plural.
            used: their number without those left out.
            left_out: names of those left out, by reason.
            changed: names of those that were changed, by reason.
        """
        total = used + sum(map(len, left_out.values()))
        for kind, reasons in (("left out", left_out), ("changed", changed)):
            for reason, names in reasons.items():
                line = f"{kind}: {len(names)} of {total} {noun}: {reason} (for example {names[0]})"
                most = kind == "left out" and 2 * len(names) > total
                self.say(f"warning: more than half of the {noun} are {line}" if most else line)


def _format_duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
