"""How long work reports itself, whoever is watching.

The engine calls these; the command line draws bars or prints plain lines, a library user gets
silence unless a `Progress` is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stage(Protocol):
    """One stage of some work, e.g. packing the weights."""

    def advance(self, amount: int) -> None:
        """Add to the amount done, in the unit that the stage was opened with."""


class Progress(Protocol):
    """Receives stages, one after another, and remarks between them."""

    def stage(self, name: str, total: int, unit: str) -> AbstractContextManager[Stage]:
        """Open a stage of ``total`` units (``"B"`` is shown as bytes); closing it ends it."""

    def note(self, text: str) -> None:
        """A line worth reading, such as a weight type that had to be re-encoded."""


class Silent:
    """A `Progress` that shows nothing."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        """Open a stage that nobody sees."""
        yield self

    def advance(self, amount: int) -> None:
        """Ignore the amount."""

    def note(self, text: str) -> None:
        """Ignore the text."""
