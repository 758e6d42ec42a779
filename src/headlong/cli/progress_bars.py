"""How long work shows itself: bars on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.progress import (
    Progress as RichProgress,
)
from rich.text import Text

from headlong.cli.figures import byte_size
from headlong.progress import Progress, Stage

__all__ = ["Bars", "PlainLines", "progress_on"]

# What the engine calls its stages, in words for the user.
_STAGES: Final = {
    "tokenizer": "reading the tokenizer",
    "weights": "packing weights",
    "costs": "measuring the costs of passes",
    "prompt": "reading the prompt",
}

# A plain line comes at most once in this many seconds, and for at least this share of the work.
_SECONDS_PER_LINE: Final = 1.0
_PERCENT_PER_LINE: Final = 10

_LEAST_LEFT: Final = 5.0
"""Seconds below which nobody asks how long it takes."""


def progress_on(stream: TextIO | None = None) -> Progress:
    """Bars when the stream (standard error by default) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    console = Console(file=stream)
    # A dumb terminal cannot move the cursor, so bars would pile up.
    if console.is_terminal and not console.is_dumb_terminal:
        return Bars(console)
    return PlainLines(stream)


class Bars:
    """A `Progress` that draws one bar at a time and removes it when the stage ends."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        """Show a bar until the context is left."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            _Amount(unit),
            _Left(),
        )
        with RichProgress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(_words(name), total=max(total, 1))
            yield _Bar(bars, task)

    def note(self, text: str) -> None:
        """Print a remark."""
        self._console.print(f"note: {text}", style="yellow", markup=False, highlight=False)


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)


class _Amount(ProgressColumn):
    """Done and total in the stage's unit; nothing for a stage without one."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        done, total = int(task.completed), int(task.total or 0)
        if not self._unit:
            return Text("")
        begun = byte_size(done) if self._unit == "B" else str(done)
        return Text(f"{begun} of {_amount(total, self._unit)}")


class _Left(ProgressColumn):
    """The time that is left, of stages that take long enough for it to matter."""

    max_refresh = 0.5  # seconds

    def render(self, task: Task) -> Text:
        return Text(_time_left(task.time_remaining))


class PlainLines:
    """A `Progress` of whole lines, for logs and pipes.  Short stages print nothing."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        """Print lines while the stage goes on."""
        yield _Lines(self._print, self._clock, _words(name), max(total, 1), unit)

    def note(self, text: str) -> None:
        """Print a remark."""
        self._print(f"note: {text}")

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class _Lines:
    def __init__(
        self,
        show: Callable[[str], None],
        clock: Callable[[], float],
        name: str,
        total: int,
        unit: str,
    ) -> None:
        self._show = show
        self._clock = clock
        self._name = name
        self._total = total
        self._unit = unit
        self._done = 0
        self._shown_percent = 0
        self._began = self._shown_at = clock()

    def advance(self, amount: int) -> None:
        self._done += amount
        percent = 100 * self._done // self._total
        now = self._clock()
        if (
            percent - self._shown_percent < _PERCENT_PER_LINE
            or now - self._shown_at < _SECONDS_PER_LINE
        ):
            return
        self._shown_percent, self._shown_at = percent, now
        of = f" of {_amount(self._total, self._unit)}" if self._unit else ""
        left = (now - self._began) * (self._total / self._done - 1)
        self._show(f"{self._name}: {percent} %{of}{_time_left(left, before=', ')}")


def _time_left(seconds: float | None, before: str = "") -> str:
    """Rounded as such guesses deserve; nothing for less than `_LEAST_LEFT`."""
    if seconds is None or seconds < _LEAST_LEFT:
        return ""
    if seconds < 90:
        return f"{before}about {5 * round(seconds / 5)} s left"
    if seconds < 5400:
        return f"{before}about {round(seconds / 60)} min left"
    return f"{before}about {seconds / 3600:.1f} h left"


def _words(name: str) -> str:
    return _STAGES.get(name, name)


def _amount(value: int, unit: str) -> str:
    return byte_size(value) if unit == "B" else f"{value} {unit}"
