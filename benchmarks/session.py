"""What a benchmark asks of an engine: open a file, answer token ids, say when tokens came.

Speeds are taken here, from the moments at which tokens reached the asker, in one way for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PLAIN = 0
AUTO = "auto"


class PeerError(Exception):
    """An engine did not start, refused, or answered with something else than asked for."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that arrived together; the ids are empty where the engine does not tell them."""

    seconds: float  # since the question was sent
    count: int
    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy continuation as it arrived."""

    pieces: tuple[Piece, ...]
    drafted: int = 0
    accepted: int = 0

    def __post_init__(self) -> None:
        if not self.pieces or any(piece.count < 1 for piece in self.pieces):
            raise PeerError("an answer held no tokens")

    @property
    def count(self) -> int:
        """Tokens in all."""
        return sum(piece.count for piece in self.pieces)

    @property
    def tokens(self) -> tuple[int, ...] | None:
        """Their ids; None where the engine does not tell."""
        ids = tuple(token for piece in self.pieces for token in piece.tokens)
        return ids if len(ids) == self.count else None

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def first_seconds(self) -> float:
        """Until the first token."""
        return self.pieces[0].seconds

    @property
    def per_second(self) -> float:
        """Tokens after the first piece, per second: what decoding gives, without the prompt."""
        later = self.count - self.pieces[0].count
        seconds = self.pieces[-1].seconds - self.pieces[0].seconds
        if later < 1 or seconds <= 0:
            raise PeerError(f"{self.count} tokens arrived at once, which tells no speed")
        return later / seconds


class Session(Protocol):
    """An engine with the file loaded."""

    def generate(self, prompt: Sequence[int], tokens: int) -> Answer:
        """Continue greedily by exactly so many tokens, none of which ends the text."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What every engine is opened with."""

    model: Path
    context: int
    threads: int


@dataclass(frozen=True, slots=True)
class Arm:
    """One engine in one mode.

    ``draft`` is `PLAIN`, a length, `AUTO`, or None where a command decides by itself.
    """

    engine: str
    mode: str
    draft: int | str | None
    version: str
    flags: str
    open: Callable[[Setup], AbstractContextManager[Session]]
