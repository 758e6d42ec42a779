"""Memory for large results, used again instead of being returned to the system after every pass.

A C library gives freed memory of some size back, and every page of it is a fault when the next pass
asks again: of a small model's prompt, a third of the time.
"""

from __future__ import annotations

import math
import mmap
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

Dtype = TypeVar("Dtype", bound=np.generic)

LEAST_BYTES: Final = 1 << 16
"""Smaller arrays stay in the C library's own hands."""

MOST_BYTES: Final = 1 << 28
"""All memory that is held, in use or not; what does not fit is allocated as usual."""


class Scratch:
    """Hands out arrays; one that nobody refers to any more makes room for a later one."""

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}
        self.held = 0
        """Bytes of all blocks."""

    def array(self, shape: tuple[int, ...], dtype: type[Dtype]) -> npt.NDArray[Dtype]:
        """Uninitialised memory."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if nbytes < LEAST_BYTES:
            return np.empty(shape, dtype)
        unit = 1 << (nbytes.bit_length() - 3)  # at most a quarter is wasted
        size = -(-nbytes // unit) * unit
        free = self._free.setdefault(size, [])
        try:
            block = free.pop()
        except IndexError:
            if self.held + size > MOST_BYTES:
                return np.empty(shape, dtype)
            self.held += size
            block = mmap.mmap(-1, size)
        return lend(shape, dtype, block, 0, lambda: free.append(block))


def lend(
    shape: tuple[int, ...],
    dtype: type[Dtype],
    memory: bytearray | mmap.mmap,
    start: int,
    give_back: Callable[[], None],
) -> npt.NDArray[Dtype]:
    """An array on this memory; ``give_back`` is called when nobody refers to it or a view of it.

    Views refer to the array, not past it: numpy looks through arrays and memoryviews for the owner
    of the memory, but not through a bytearray or a mapping.
    """
    array = np.ndarray(shape, dtype, buffer=memory, offset=start)
    weakref.finalize(array, give_back).atexit = False
    return array
