"""Sockets under httpx that cost little per read.

At hundreds of events a second, most of a client's time goes into waking it and into the layers
between the event loop and HTTP.  Here the loop stamps what comes, and a held answer wakes its
reader once, when it seems whole: HTTP is then taken apart by httpcore as ever, read by read.  TLS
and proxies stay with httpx's own transport.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpcore
import httpx

from headlong.bench.sse import is_done

__all__ = ["LeanTransport", "hold"]

_MOST_BUFFERED: Final = 1 << 20
_LAST_CHUNK: Final = re.compile(rb"\n0+[ \t]*(?:;|\r?\n)")
_TAIL: Final = 32  # bytes: an end may be cut into reads
_NOT_HELD: Final = {"content-length", "content-encoding"}  # the end does not show in the bytes
_EYEBALLS: Final = 0.25  # seconds before the next address of a host is tried as well

_ERRORS: Final = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.NetworkError, httpx.NetworkError),
)


class LeanTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 without TLS; connections are kept and used again, as many as there are requests."""

    def __init__(self, *, keep: int = 64) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=None,
            max_keepalive_connections=keep,
            network_backend=_Backend(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its body is read by whoever got the response."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _told_as_httpx():
            response = await self._pool.handle_async_request(asked)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


def hold(response: httpx.Response, *, until: float, most: int) -> Callable[[], float] | None:
    """Wake the reader of a body only when it seems whole.

    That is when ``[DONE]`` or the last chunk came, the connection ended, or nothing came for the
    request's read timeout.

    Args:
        until: when ``httpx.ReadTimeout`` ends the waiting, by ``time.perf_counter``.
        most: bytes after which the reader is woken anyway.

    Returns:
        When the part read last had come, by ``time.perf_counter``.  None where nothing is held:
        the connection is another transport's, or the end does not show in the bytes themselves.
    """
    connection = response.extensions.get("network_stream")
    if not isinstance(connection, _Connection) or not _NOT_HELD.isdisjoint(response.headers):
        return None
    connection.hold(until, most)
    return lambda: connection.read_at


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, AsyncIterable)
        with _told_as_httpx():
            async for part in self._response.stream:
                yield part

    async def aclose(self) -> None:
        with _told_as_httpx():
            await self._response.stream.aclose()  # type: ignore[union-attr]


@contextmanager
def _told_as_httpx() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for theirs, ours in _ERRORS:
            if isinstance(error, theirs):
                raise ours(str(error)) from error
        raise


class _Backend(httpcore.AsyncNetworkBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        local = (local_address, 0) if local_address is not None else None
        try:
            async with asyncio.timeout(timeout):
                _, protocol = await loop.create_connection(
                    _Connection, host, port, local_addr=local, happy_eyeballs_delay=_EYEBALLS
                )
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"no connection after {timeout:g} s") from None
        except OSError as error:
            raise httpcore.ConnectError(error.strerror or str(error)) from error
        return protocol

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Connection(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection: stamped reads, and a future for whoever waits for more.

    Attributes:
        read_at: when what was last handed out had come, by ``time.perf_counter``.
    """

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reads: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._tail = b""
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._begin_answer()
        self._ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False
        self.read_at = 0.0

    def _begin_answer(self) -> None:
        self._held = False
        self._over = False  # it seems whole; if it is not, nothing is held any more
        self._late = False  # nothing is waited for any more
        self._until = math.inf
        self._most = _MOST_BUFFERED

    def hold(self, until: float, most: int) -> None:
        self._held, self._until, self._most = True, until, most

    # --- What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard = time.perf_counter()
        self._reads.append((self._heard, data))
        self._size += len(data)
        seen = self._tail + data
        self._over = self._over or is_done(self._tail, data) or bool(_LAST_CHUNK.search(seen))
        self._tail = seen[-_TAIL:]
        full = self._size > self._most
        if full and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if full or self._over or not self._held:
            self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._error = exc
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # --- What httpcore calls

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not (self._reads or self._ended or self._late):
            await self._more(timeout)
        if not self._reads:
            if self._error is not None:
                raise httpcore.ReadError(str(self._error) or type(self._error).__name__)
            if self._late and not self._ended:
                raise httpcore.ReadTimeout
            return b""
        self.read_at, data = self._reads.popleft()
        if len(data) > max_bytes:
            self._reads.appendleft((self.read_at, data[max_bytes:]))
            data = data[:max_bytes]
        self._size -= len(data)
        if self._paused and not self._reads:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def _more(self, timeout: float | None) -> None:
        self._reader = self._loop.create_future()
        self._heard = time.perf_counter()
        self._watch(timeout)
        try:
            await self._reader
        finally:
            self._reader = None
            if self._timer is not None:
                self._timer.cancel()

    def _watch(self, timeout: float | None) -> None:
        """Wake the reader after a silence or when the answer's time is over; look again then."""
        due = min(self._until, math.inf if timeout is None else self._heard + timeout)
        left = due - time.perf_counter()
        if left <= 0:
            self._late = True
            self._wake()
        elif left < math.inf:
            self._timer = self._loop.call_later(left, self._watch, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._error is not None or self._transport.is_closing():
            raise httpcore.WriteError(str(self._error or "the connection is closed"))
        self._begin_answer()
        self._transport.write(buffer)
        try:
            async with asyncio.timeout(timeout):
                await self._writable.wait()
        except TimeoutError:
            raise httpcore.WriteTimeout from None

    async def aclose(self) -> None:
        self._transport.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # of an idle connection: it has ended, or answers unasked
            return self._ended or bool(self._reads) or self._transport.is_closing()
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names.get(info, info))
