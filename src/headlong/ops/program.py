"""Passes that are recorded once and replayed in one native call, without the interpreter.

A forward written in operations does the same for every batch of one shape: only what lies in its
input arrays differs.  The first batch of a shape runs eagerly on arrays that stay, while the
backend notes its operations; later ones copy their arrays into those and run the notes.  Arithmetic
and checks are those of eager calls.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Concatenate, Generic, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt

from headlong import _native
from headlong.ops.batch import Batch, FloatArray, IntArray
from headlong.ops.scratch import Scratch, lend

P = ParamSpec("P")
R = TypeVar("R")
Dtype = TypeVar("Dtype", bound=np.generic)

MOST_ROWS = 16
"""Rows of the largest batch that is recorded: what decoding and drafting need.  Of a prompt chunk
the interpreter's part is a thousandth."""

MOST_PROGRAMS = 32
"""Shapes that a function keeps; the one used longest ago goes.  At 2B dimensions one of 16 rows
holds about 2 MB, since layers pass on their memory."""

LEAST_PAGES = 16
"""Width of the narrowest page table.  Widths double, so that a sequence is recorded anew only a
few times while it grows."""

CACHE_LINE = 64


class Recorder:
    """Which program a backend records, and where operations find memory meanwhile."""

    def __init__(self, backend: _native.Backend) -> None:
        self.backend = backend
        self._arena: Arena | None = None
        self._scratch = Scratch()
        self._thread = 0
        self._turn = threading.Lock()

    def floats(self, *shape: int) -> FloatArray:
        """Uninitialised float32 for an operation's result."""
        return self._array(shape, np.float32)

    def ints(self, *shape: int) -> IntArray:
        """Uninitialised int32 for an operation's result."""
        return self._array(shape, np.int32)

    def _array(self, shape: tuple[int, ...], dtype: type[Dtype]) -> npt.NDArray[Dtype]:
        if self._arena is None or self._thread != threading.get_ident():
            return self._scratch.array(shape, dtype)
        return self._arena.array(shape, dtype)

    @contextmanager
    def recording(self) -> Iterator[_native.Program | None]:
        """A program that notes what this thread does; `None` while another one is recorded."""
        if not self._turn.acquire(blocking=False):
            yield None
            return
        program = _native.Program()
        try:
            self._arena, self._thread = Arena(program), threading.get_ident()
            self.backend.record(program)
            yield program
        finally:
            self._arena = None
            self.backend.record(None)
            self._turn.release()


class Arena:
    """Memory of one program: an array that nobody refers to any more makes room for a later one.

    Operations are replayed in the order in which they were recorded, so what was free then is free
    in every replay.
    """

    def __init__(self, program: _native.Program) -> None:
        self._program = program
        self._free: dict[int, list[Block]] = {}

    def array(self, shape: tuple[int, ...], dtype: type[Dtype]) -> npt.NDArray[Dtype]:
        """Uninitialised memory, at the start of a cache line."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        free = self._free.setdefault(nbytes, [])
        block = free.pop() if free else self._block(nbytes)
        return lend(shape, dtype, block.room, block.start, lambda: free.append(block))

    def _block(self, nbytes: int) -> Block:
        room = bytearray(nbytes + CACHE_LINE)
        start = -np.frombuffer(room, np.uint8).ctypes.data % CACHE_LINE
        self._program.own(memoryview(room)[start : start + nbytes])
        return Block(room, start)


@dataclass(frozen=True, slots=True)
class Block:
    """Memory for one array, which begins at byte ``start``."""

    room: bytearray
    start: int


@dataclass(frozen=True, slots=True)
class _Recording(Generic[R]):
    program: _native.Program
    result: R


class Replay(Generic[P, R]):
    """`Ops.program` on the CPU: a function of a batch and float arrays, recorded by shape."""

    def __init__(self, recorder: Recorder, function: Callable[Concatenate[Batch, P], R]) -> None:
        self._recorder = recorder
        self._function = function
        self._recordings: OrderedDict[tuple[int, int, int], _Recording[R]] = OrderedDict()

    def __call__(self, batch: Batch, /, *arrays: P.args, **named: P.kwargs) -> R:
        """Run it; what it returns is overwritten by the next call.

        Raises what the function does; `TypeError` for an array that is passed by name.
        """
        if named:
            raise TypeError(f"a program takes arrays by position, not by name: {', '.join(named)}.")
        rows, (segments, pages) = batch.tokens.size, batch.page_table.shape
        if not 0 < rows <= MOST_ROWS:
            return self._function(batch, *arrays, **named)
        width = max(LEAST_PAGES, 1 << (pages - 1).bit_length())
        recording = self._recordings.get((rows, segments, width))
        if recording is None:
            return self._record(width, batch, arrays)
        self._recordings.move_to_end((rows, segments, width))
        inputs = (batch.tokens, batch.figures, batch.page_table, *arrays)
        recording.program.run(self._recorder.backend, inputs)
        return recording.result

    def _record(self, width: int, batch: Batch, arrays: Sequence[object]) -> R:
        """Run the function on arrays that stay; every replay fills them anew."""
        function = cast(Callable[..., R], self._function)
        with self._recorder.recording() as program:
            if program is None:
                return function(batch, *arrays)
            held = batch.copy(width)
            floats = [np.array(array, np.float32) for array in arrays]
            program.input(held.tokens)
            program.input(held.figures)
            program.input(held.page_table, ragged=True)
            for copied in floats:
                program.input(copied)
            result = function(held, *floats)
        self._recordings[batch.tokens.size, len(batch.page_table), width] = _Recording(
            program, result
        )
        if len(self._recordings) > MOST_PROGRAMS:
            self._recordings.popitem(last=False)
        return result
