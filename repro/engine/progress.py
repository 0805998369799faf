"""What a person watching sees: one bar over all the work of a command, weighed by its arithmetic."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 30.0


class ProgressDisplay:
    """A progress bar with an ETA on a terminal, a line every half minute elsewhere."""

    def __init__(self, name: str):
        self.console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
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
        self._total, self._done, self._started = 0.0, 0.0, time.monotonic()
        self._told = self._started
        self._now = name

    def __enter__(self) -> "ProgressDisplay":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def expect(self, flops: float) -> None:
        """More work is to come; time is counted from the first of it, for data may have been prepared before."""
        if not self._total:
            self._started = self._told = time.monotonic()
        self._total += flops
        self._bar.update(self._task, total=self._total)

    def now(self, what: str) -> None:
        """What is being done from here on."""
        self._now = what
        self._bar.update(self._task, description=what)

    def advance(self, flops: float) -> None:
        """So much of it was done."""
        self._done += flops
        self._bar.advance(self._task, flops)
        now = time.monotonic()
        if self._total and not self.console.is_terminal and now - self._told > LINE_SECONDS:
            self._told = now
            left = (self._total - self._done) * (now - self._started) / self._done
            print(
                f"{self._now}: {self._done / self._total:.0%} of all, {_span(left)} left", file=sys.stderr, flush=True
            )

    def say(self, text: object) -> None:
        """Print above the bar."""
        self.console.print(text, soft_wrap=True)  # paths stay in one piece


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
