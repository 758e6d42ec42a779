"""What running a command in a test gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Run = Callable[..., "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str
