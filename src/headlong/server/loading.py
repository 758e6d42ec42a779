"""How far loading has come, for whoever asks over HTTP, and a way to break it off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from headlong.progress import Progress, Silent, Stage
from headlong.server.refusals import ShuttingDown

__all__ = ["LoadingProgress"]

# Where each stage begins and ends in the whole.  Packing the weights is nearly all of the time.
_SHARES: Final = {"weights": (0.0, 0.9), "tokenizer": (0.9, 0.92), "costs": (0.92, 1.0)}


class LoadingProgress:
    """A `Progress` that remembers where it stands and passes everything on to another one.

    Written by the thread that loads, read by any other.  After `stop`, the next report raises
    `ShuttingDown` in the thread that loads.
    """

    def __init__(self, shown: Progress | None = None) -> None:
        self._shown = shown or Silent()
        self._stopped = threading.Event()
        self.fraction = 0.0
        """Share of the whole that is done, 0 to 1; never falls."""
        self.stage_name = "start"
        """The stage that is running or was the last to."""

    def stop(self) -> None:
        """Break loading off at its next report."""
        self._stopped.set()

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        """Open a stage; see `Progress`."""
        self._check()
        self.stage_name = name
        begin, end = _SHARES.get(name, (self.fraction, self.fraction))
        self._reach(begin)
        with self._shown.stage(name, total, unit) as shown:
            yield _Stage(self, shown, begin, end - begin, total)
        self._reach(end)

    def note(self, text: str) -> None:
        """Pass a remark on."""
        self._check()
        self._shown.note(text)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise ShuttingDown("the server was stopped while the model was being loaded.")

    def _reach(self, fraction: float) -> None:
        self.fraction = max(self.fraction, min(1.0, fraction))


class _Stage:
    """A stage of a `LoadingProgress`: ``share`` of the whole, starting at ``begin``."""

    def __init__(
        self, progress: LoadingProgress, shown: Stage, begin: float, share: float, total: int
    ) -> None:
        self._progress = progress
        self._shown = shown
        self._begin = begin
        self._share = share
        self._total = max(1, total)
        self._done = 0

    def advance(self, amount: int) -> None:
        """Add to the amount done; raises `ShuttingDown` once loading is to stop."""
        self._progress._check()
        self._done += amount
        self._progress._reach(self._begin + self._share * self._done / self._total)
        self._shown.advance(amount)
