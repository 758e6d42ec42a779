"""What a setting's value may be: read from a flag or a variable, checked from TOML, written back.

A kind refuses with what the value is not; whoever asks puts the place in front of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from headlong.errors import ParameterError

__all__ = ["Choice", "Files", "Kind", "Number", "Switch", "Text", "Texts", "Whole"]

T_co = TypeVar("T_co", covariant=True)

_ON: Final = ("on", "true", "yes", "1")
_OFF: Final = ("off", "false", "no", "0")


class Kind(Protocol[T_co]):
    """A type of value, as text and as TOML."""

    @property
    def metavar(self) -> str:
        """What stands for the value in a list of flags."""

    def parse(self, text: str) -> T_co:
        """A value from a flag or a variable.  Raises `ParameterError`."""

    def check(self, value: object, folder: Path) -> T_co:
        """A value from TOML; file names are relative to ``folder``.  Raises `ParameterError`."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``low`` to ``high``; a word may stand for None."""

    low: int
    high: int
    word: str | None = None
    unit: str = ""
    metavar: str = "N"

    def parse(self, text: str) -> int | None:
        """A value from text."""
        text = text.strip()
        if self.word is not None and text.lower() == self.word:
            return None
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
            raise self._refusal(text)
        return self._within(int(text))

    def check(self, value: object, folder: Path) -> int | None:
        """A value from TOML."""
        if self.word is not None and value == self.word:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._refusal(value)
        return self._within(value)

    def _within(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise self._refusal(value)
        return value

    def _refusal(self, value: object) -> ParameterError:
        unit = f" {self.unit}" if self.unit else ""
        word = f", nor '{self.word}'" if self.word is not None else ""
        return ParameterError(
            f"{_shown(value)} is not a whole number from {self.low} to {self.high}{unit}{word}."
        )


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number from ``low`` to ``high``."""

    low: float
    high: float
    unit: str
    metavar: str = "SECONDS"

    def parse(self, text: str) -> float:
        """A value from text."""
        try:
            return self._within(float(text))
        except ValueError:
            raise self._refusal(text) from None

    def check(self, value: object, folder: Path) -> float:
        """A value from TOML."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._refusal(value)
        return self._within(value)

    def _within(self, value: float) -> float:
        if not (math.isfinite(value) and self.low <= value <= self.high):
            raise self._refusal(value)
        return float(value)

    def _refusal(self, value: object) -> ParameterError:
        return ParameterError(
            f"{_shown(value)} is not a number from {self.low:g} to {self.high:g} {self.unit}."
        )


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off; ``valued``: the flag takes the word, instead of having an opposite."""

    valued: bool = False
    metavar: str = "on|off"

    def parse(self, text: str) -> bool:
        """A value from text: on, off, true, false, yes, no, 1, 0."""
        word = text.strip().lower()
        if word not in _ON + _OFF:
            raise ParameterError(f"'{text}' is neither on nor off.")
        return word in _ON

    def check(self, value: object, folder: Path) -> bool:
        """A value from TOML."""
        if not isinstance(value, bool):
            raise ParameterError(f"{_shown(value)} is neither true nor false.")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]
    metavar: str = "TYPE"

    def parse(self, text: str) -> str:
        """A value from text."""
        if text not in self.words:
            raise ParameterError(f"{_shown(text)} is not one of: {', '.join(self.words)}.")
        return text

    def check(self, value: object, folder: Path) -> str:
        """A value from TOML."""
        return self.parse(value) if isinstance(value, str) else self._refuse(value)

    def _refuse(self, value: object) -> str:
        raise ParameterError(f"{_shown(value)} is not one of: {', '.join(self.words)}.")


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is not blank; ``accept`` refuses with a `ParameterError`."""

    metavar: str = "TEXT"
    accept: Callable[[str], None] | None = None

    def parse(self, text: str) -> str:
        """A value from text."""
        if not text.strip():
            raise ParameterError("the text is empty.")
        if self.accept is not None:
            self.accept(text)
        return text

    def check(self, value: object, folder: Path) -> str:
        """A value from TOML."""
        if not isinstance(value, str):
            raise ParameterError(f"{_shown(value)} is not a text; put it in quotes.")
        return self.parse(value)


@dataclass(frozen=True, slots=True)
class Texts:
    """Several texts: a list in TOML, between commas elsewhere."""

    one: Text
    metavar: str = "TEXT,..."

    def parse(self, text: str) -> tuple[str, ...]:
        """A value from text."""
        return tuple(self.one.parse(part.strip()) for part in text.split(","))

    def check(self, value: object, folder: Path) -> tuple[str, ...]:
        """A value from TOML: a list, or one text."""
        if isinstance(value, str):
            return (self.one.check(value, folder),)
        if not isinstance(value, list):
            raise ParameterError(f"{_shown(value)} is not a list of texts.")
        return tuple(self.one.check(part, folder) for part in value)


@dataclass(frozen=True, slots=True)
class Files:
    """The name of a file."""

    metavar: str = "FILE"

    def parse(self, text: str) -> Path:
        """A value from text."""
        if not text.strip():
            raise ParameterError("the file name is empty.")
        return Path(text)

    def check(self, value: object, folder: Path) -> Path:
        """A value from TOML."""
        if not isinstance(value, str):
            raise ParameterError(f"{_shown(value)} is not a file name; put it in quotes.")
        return folder / self.parse(value)


def _shown(value: object) -> str:
    """A value in an error, shortened: a list may be as long as a file."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
