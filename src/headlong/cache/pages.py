"""Which sequence owns which page of the KV cache, and which slot of recurrent state.

Bookkeeping only; the bytes live in `headlong.cache.memory`.
"""

from __future__ import annotations

import numpy as np

from headlong.errors import ContextError
from headlong.ops.batch import PAGE, IntArray


def pages_for(positions: int) -> int:
    """Pages that hold this many positions."""
    return -(-positions // PAGE)


class PagePool:
    """Free pages, last freed first, so that warm memory is used again."""

    def __init__(self, pages: int) -> None:
        self.total = pages
        self._free = list(range(pages - 1, -1, -1))

    @property
    def free(self) -> int:
        """Pages that nobody owns."""
        return len(self._free)

    def take(self) -> int:
        """Hand out a page.  Raises `ContextError` when none is left."""
        if not self._free:
            raise ContextError(
                f"the KV cache is full ({self.total} pages of {PAGE} positions); "
                "run fewer sequences at once or give the cache more memory."
            )
        return self._free.pop()

    def give_back(self, pages: list[int]) -> None:
        """Return pages to the pool."""
        self._free.extend(reversed(pages))


class Lease:
    """What one sequence holds while it runs: a slot and a growing list of pages."""

    def __init__(self, slot: int, pool: PagePool) -> None:
        self.slot = slot
        self._pool = pool
        self._pages: list[int] = []
        self._table = np.empty(0, np.int32)

    def reserve(self, positions: int) -> IntArray:
        """Own enough pages for this many positions; returns the page table, int32."""
        while len(self._pages) < pages_for(positions):
            self._pages.append(self._pool.take())
        if len(self._table) != len(self._pages):
            self._table = np.array(self._pages, np.int32)
        return self._table

    def drop(self) -> None:
        """Give every page back."""
        self._pool.give_back(self._pages)
        self._pages = []
        self._table = np.empty(0, np.int32)
