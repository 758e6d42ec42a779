"""Who holds which page of the KV cache, and which slot of recurrent state.

Bookkeeping only; the bytes live in `headlong.cache.memory`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from headlong.errors import ContextError
from headlong.ops.batch import PAGE, IntArray


def pages_for(positions: int) -> int:
    """Pages that hold this many positions."""
    return -(-positions // PAGE)


class PagePool:
    """Free pages, last freed first, so that warm memory is used again.

    A page may have several holders; it is free when the last one gives it back.
    """

    def __init__(self, pages: int) -> None:
        self.total = pages
        self._free = list(range(pages - 1, -1, -1))
        self._holders = [0] * pages
        self.reclaim: Callable[[], bool] = lambda: False
        """Asked for a page when none is free; whether it let go of one."""

    @property
    def free(self) -> int:
        """Pages that nobody holds."""
        return len(self._free)

    def take(self) -> int:
        """Hand out a page.  Raises `ContextError` when none is left."""
        while not self._free:
            if not self.reclaim():
                raise ContextError(
                    f"the KV cache is full ({self.total} pages of {PAGE} positions); "
                    "run fewer sequences at once or give the cache more memory."
                )
        page = self._free.pop()
        self._holders[page] = 1
        return page

    def share(self, page: int) -> None:
        """One more holder of a page that somebody holds."""
        assert self._holders[page] > 0
        self._holders[page] += 1

    def holders(self, page: int) -> int:
        """How many hold a page."""
        return self._holders[page]

    def give_back(self, pages: Sequence[int]) -> None:
        """One holder less of each of these."""
        for page in reversed(pages):
            self._holders[page] -= 1
            if self._holders[page] == 0:
                self._free.append(page)


class Lease:
    """What one sequence holds while it runs: a slot and a growing list of pages."""

    def __init__(self, slot: int, pool: PagePool) -> None:
        self.slot = slot
        self._pool = pool
        self._pages: list[int] = []
        self._table = np.empty(0, np.int32)

    @property
    def pages(self) -> Sequence[int]:
        """The pages held, in the order of positions."""
        return self._pages

    def share(self, pages: Iterable[int]) -> None:
        """Hold these pages of somebody else's too, as the next ones."""
        for page in pages:
            self._pool.share(page)
            self._pages.append(page)

    def replace_last(self, page: int) -> None:
        """Hold this page, which must be new, in place of the last one."""
        self._pool.give_back([self._pages[-1]])
        self._pages[-1] = page

    def reserve(self, positions: int) -> IntArray:
        """Hold enough pages for this many positions; returns the page table, int32."""
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
