"""How many prompt rows a step may take: as many as keep it short for everybody else.

A pass takes as long for each prompt row once there are sixteen of them (2B Q4_K_M: 512 tokens at
the same speed in chunks of 16 and of 256), so small chunks cost little; and while a prompt is read
in chunks of a tenth of a second, running answers go on at ten steps a second, and a request that
has just come waits no longer for its turn.
"""

from __future__ import annotations

from typing import Final

SHARED_STEP: Final = 0.1
"""Seconds that prompt rows may add to a step while others wait for it."""

LONE_STEP: Final = 0.4
"""Seconds of a step that only one prompt waits for: the next request, and a cancellation, wait for
its end too."""

LEAST_ROWS: Final = 16
_WEIGHT: Final = 0.3
"""Of the newest step in the estimate."""


class Pace:
    """Seconds per prompt row, learned from steps; nothing is limited before the first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._row_seconds = 0.0

    def rows(self, *, alone: bool) -> int:
        """Prompt rows for the next step; ``alone`` when one prompt is all there is to do."""
        if not self._row_seconds:
            return self._most if alone else min(self._most, 4 * LEAST_ROWS)
        wanted = int((LONE_STEP if alone else SHARED_STEP) / self._row_seconds)
        return min(self._most, max(LEAST_ROWS, wanted // LEAST_ROWS * LEAST_ROWS))

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a pass of so many rows, prompt rows most of them."""
        if rows < LEAST_ROWS:
            return
        fresh = seconds / rows
        known = self._row_seconds
        self._row_seconds = known + _WEIGHT * (fresh - known) if known else fresh
