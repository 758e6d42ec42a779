"""An answer as asyncio sees it: chunks to iterate over, and a way to leave.

Filled by the worker from its thread's deliveries, always on the event loop; so nothing here locks.
However slowly an answer is read, what waits to be read is bounded by the context's length.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from headlong.engine.requests import Chunk, Request
from headlong.errors import HeadlongError
from headlong.sampling import SamplingParams

__all__ = ["Answer", "Answers"]


class Answer:
    """One sequence being generated: an async iterator of `Chunk`.

    The last chunk carries the completion.  An answer that fails raises its `HeadlongError` after
    the chunks that it had.  Leaving ``async with``, or `aclose`, cancels what still runs.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        params: SamplingParams,
        *,
        special: bool,
        news: asyncio.Event,
        leave: Callable[[Answer], None],
    ) -> None:
        self.tokens = tokens
        self.params = params
        self.special = special
        self.submitted = time.perf_counter()
        self.request: Request | None = None
        """The engine's side of it, once the engine has it; to be read only."""
        self.slot = -1
        """The engine's place for it, once it has one."""
        self.taken = 0
        """Tokens of the chunks that were read."""
        self.started = False
        """Whether the engine has begun to read the prompt."""
        self.ended = False
        """Whether nothing more will be delivered."""
        self.left = False
        """Whether nobody wants it any more."""
        self._news = news
        self._leave = leave
        self._waiting: deque[Chunk] = deque()
        self._error: HeadlongError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while not self.readable:
            self._news.clear()
            await self._news.wait()
        chunk = self.take()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    async def aclose(self) -> None:
        """Cancel what still runs."""
        self.cancel()

    def cancel(self) -> None:
        """End the answer early; harmless if it has ended.  Its slot is free one step later."""
        if not self.left:
            self.left = True
            self._leave(self)

    @property
    def readable(self) -> bool:
        """Whether `take` has something to say."""
        return bool(self._waiting) or self.ended

    def take(self) -> Chunk | None:
        """The next chunk without waiting; None at the end.  Raises the answer's error, once."""
        if self._waiting:
            chunk = self._waiting.popleft()
            self.taken += len(chunk.tokens)
            return chunk
        error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def deliver(self, chunks: Sequence[Chunk], error: HeadlongError | None, *, last: bool) -> None:
        """Add what a step made; only the worker calls this, on the event loop."""
        if self.ended:
            return
        self.started = self.started or bool(chunks)
        self._waiting.extend(chunks)
        self._error = error
        self.ended = last
        self._news.set()


class Answers:
    """Several answers read together: an async iterator of (index, `Chunk`), as they come.

    Ends when all have ended; the first error is raised and, on leaving, cancels the others.
    """

    def __init__(self, answers: Sequence[Answer], news: asyncio.Event) -> None:
        self.each = tuple(answers)
        self._open = dict(enumerate(self.each))
        self._news = news

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, Chunk]:
        while self._open:
            for index in [i for i, answer in self._open.items() if answer.readable]:
                # Whoever was served goes last, so that one fast answer holds no other up.
                answer = self._open.pop(index)
                chunk = answer.take()
                if chunk is not None:
                    self._open[index] = answer
                    return index, chunk
            if self._open:
                self._news.clear()
                await self._news.wait()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel what still runs."""
        for answer in self.each:
            answer.cancel()
