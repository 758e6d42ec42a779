"""Server-sent events: a stream that shows signs of life, and ends when its reader does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Final, TypeVar

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headlong.errors import HeadlongError
from headlong.server.api_error import ApiError, error_of
from headlong.server.request_log import RequestRecord
from headlong.server.wire import json_bytes

__all__ = ["DONE", "ClientGone", "EventStream", "event", "while_connected"]

DONE: Final = b"data: [DONE]\n\n"
"""The last event of OpenAI's streams."""

_PING: Final = b": still here\n\n"

T = TypeVar("T")


class ClientGone(Exception):  # noqa: N818 - not an error of anybody here
    """Whoever asked has closed the connection."""


def event(data: object) -> bytes:
    """One event that carries JSON."""
    return b"data: " + json_bytes(data) + b"\n\n"


class EventStream(Response):
    """A response made of events as they come.

    Args:
        events: yields whole events.  It is closed when the client goes away, so that an
            ``async with answer`` in it frees the engine.  What it raises becomes an event with an
            ``error``.
        keep_alive: seconds of silence after which a comment is sent; None: never.
        end: sent last, also after an error.
        record: where a client that leaves is noted.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        keep_alive: float | None,
        end: bytes = b"",
        record: RequestRecord | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Proxies must neither keep events back nor keep them.
        own = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})}
        super().__init__(None, 200, own)
        del self.headers["content-length"]
        self._events = events
        self._keep_alive = keep_alive
        self._end = end
        self._record = record or RequestRecord()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until there is nothing more, or nobody to send to."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            await while_connected(receive, self._send_all(send))
        except ClientGone:
            self._record.gone = True

    async def _send_all(self, send: Send) -> None:
        async def put(body: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": more})

        async with aclosing(self._events) as events:
            try:
                await self._pump(events, put)
            except (ApiError, HeadlongError) as error:
                told = error if isinstance(error, ApiError) else error_of(error)
                await put(event(told.body))
        await put(self._end, more=False)

    async def _pump(
        self, events: AsyncGenerator[bytes, None], put: Callable[[bytes], Awaitable[None]]
    ) -> None:
        while True:
            coming = asyncio.ensure_future(anext(events, None))
            try:
                while not (await asyncio.wait({coming}, timeout=self._keep_alive))[0]:
                    await put(_PING)
            finally:
                if not coming.done():  # cancelled: the generator must be at rest to be closed
                    coming.cancel()
                    with suppress(asyncio.CancelledError, HeadlongError, HTTPException):
                        await coming
            data = coming.result()
            if data is None:
                return
            await put(data)


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of ``work``; it is cancelled, and `ClientGone` raised, when the client leaves."""
    gone = asyncio.ensure_future(_disconnected(receive))
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({gone, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (gone, working):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
