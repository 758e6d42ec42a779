"""Asks a server and notes when its bytes came.

While an answer streams, reads are only stamped and kept; they are taken apart after the last one,
so that parsing delays no stamp.  Only HTTP is read on the way where an answer is compressed, says
its length, or comes by TLS.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import httpx

from headlong.bench.answers import error_text, read_answer
from headlong.bench.body import Endpoint, RequestOptions, request_body, without
from headlong.bench.discovery import connect, open_http
from headlong.bench.events import RequestRecord
from headlong.bench.modes import Mode
from headlong.bench.sse import Read, is_done, split
from headlong.bench.transport import hold
from headlong.bench.workloads import Workload

__all__ = ["Endpoint", "RequestOptions", "connect", "open_http", "run_request"]

_MOST_BYTES: Final = 1 << 28  # an answer of a million tokens is smaller
_MOST_REFUSAL: Final = 1 << 16
_AT_ONCE: Final = 32  # held reads, which take about a millisecond
_STALE_SECONDS: Final = 1.0
"""A kept connection that the server had closed in the meantime fails at once: it is asked again."""
_DRAIN_SECONDS: Final = 1.0  # for what follows [DONE], so that the connection can be used again


async def run_request(
    http: httpx.AsyncClient,
    server: Endpoint,
    workload: Workload,
    mode: Mode,
    *,
    salt: str = "",
    options: RequestOptions | None = None,
) -> RequestRecord:
    """Ask once, streaming, and note everything.

    Whatever the server does ends as a record: a refusal, a broken connection or a timeout is its
    ``error``.  Only cancellation passes through.  A field that the server refuses by name and that
    is not essential is left out, and the record says so.

    Args:
        salt: what keeps a cold request out of prefix caches; any text that no other request has.
            It is not part of the prompt's hash.  Give both requests of a pair the same.

    Raises:
        ParameterError: ``mode`` is switched by requests and the server cannot do that.
    """
    options = options or RequestOptions()
    body = request_body(server, workload, mode, options, salt)
    record = RequestRecord(
        workload=workload.name,
        prompt_sha256=workload.sha256,
        mode=mode.name,
        server=server.url,
        model=server.model,
        params={},
        sent_at=0.0,
    )
    dropped: list[str] = []
    while True:
        exchange = await _exchange(http, server, body, options)
        refused = without(body, exchange.error or "") if exchange.refused else None
        if refused is None:
            break
        dropped.append(refused)
        body = {name: value for name, value in body.items() if name != refused}
    params = {name: value for name, value in body.items() if name != "messages"}
    return exchange.told(replace(record, params=params, dropped=tuple(dropped)))


@dataclass(slots=True)
class _Exchange:
    """A request under way."""

    sent_at: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    reads: list[Read] = field(default_factory=list)
    status: int | None = None
    error: str | None = None
    stale: bool = False

    @property
    def refused(self) -> bool:
        return self.status in (400, 422)

    def since(self) -> float:
        return time.perf_counter() - self.began

    def told(self, record: RequestRecord) -> RequestRecord:
        """The record, with what came."""
        stream = split(self.reads)
        answer = read_answer(stream.events)
        error = self.error or answer.error
        if error is None and answer.finish_reason is None:
            error = (
                "the stream ended without a finish reason"
                if answer.events or stream.done is not None
                else "the stream ended without a single token"
            )
        return replace(
            record,
            sent_at=self.sent_at,
            events=answer.events,
            ended=stream.done if stream.done is not None else self.ended,
            finished=answer.finished,
            usage=answer.usage,
            timings=answer.timings,
            status=self.status,
            finish_reason=answer.finish_reason,
            error=error,
            keep_alives=stream.comments,
        )


async def _exchange(
    http: httpx.AsyncClient, server: Endpoint, body: Mapping[str, object], options: RequestOptions
) -> _Exchange:
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",  # a compressed stream would come in blocks
    }
    if server.api_key:
        headers["Authorization"] = f"Bearer {server.api_key}"
    default = http.timeout
    request = http.build_request(
        "POST",
        f"{server.url}/v1/chat/completions",
        content=json.dumps(body).encode(),
        headers=headers,
        timeout=httpx.Timeout(options.silence_timeout, connect=default.connect),
    )
    exchange = await _try(http, request, options)
    if exchange.stale:
        exchange = await _try(http, request, options)
    exchange.ended = exchange.ended or exchange.since()
    return exchange


async def _try(
    http: httpx.AsyncClient, request: httpx.Request, options: RequestOptions
) -> _Exchange:
    exchange = _Exchange(sent_at=time.time(), began=time.perf_counter())
    endless = f"no end after {options.total_timeout:g} s"
    try:
        async with asyncio.timeout(options.total_timeout) as limit:
            await _stream(http, request, exchange, options.total_timeout, limit)
    except TimeoutError:
        exchange.error = endless
    except httpx.ReadTimeout:
        late = exchange.since() >= options.total_timeout
        exchange.error = endless if late else f"not a byte for {options.silence_timeout:g} s"
    except httpx.HTTPError as error:
        exchange.error = f"the connection broke: {str(error) or type(error).__name__}"
        closed = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError)
        exchange.stale = closed and exchange.status is None and exchange.since() < _STALE_SECONDS
    return exchange


async def _stream(
    http: httpx.AsyncClient,
    request: httpx.Request,
    exchange: _Exchange,
    total: float,
    limit: asyncio.Timeout,
) -> None:
    response = await http.send(request, stream=True)
    try:
        exchange.status = response.status_code
        if response.status_code != 200:
            exchange.error = await _refusal(response)
            return
        kind = response.headers.get("content-type", "")
        if kind.startswith("application/json"):
            exchange.error = f"the server does not stream: it answered with {kind}"
            return
        clock = hold(response, until=exchange.began + total, most=_MOST_BYTES)
        if clock is not None:
            limit.reschedule(None)  # whoever holds keeps the time: a timeout would lose what came
        await _read(response, exchange, clock or time.perf_counter)
    finally:
        await response.aclose()


async def _read(response: httpx.Response, exchange: _Exchange, clock: Callable[[], float]) -> None:
    reads, tail, size = exchange.reads, b"\n", 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    stream = aiter(response.stream)  # `aiter_raw` would add a layer per read
    async for data in stream:
        reads.append(Read(clock() - exchange.began, data))
        size += len(data)
        if is_done(tail, data):
            break
        tail = (tail + data)[-32:]
        if len(reads) % _AT_ONCE == 0:
            await asyncio.sleep(0)  # what came is kept already: other answers may be stamped
        if size > _MOST_BYTES:
            exchange.error = f"given up after {size} bytes of one answer"
            return
    exchange.ended = reads[-1].t if reads else exchange.since()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in stream:
                pass


async def _refusal(response: httpx.Response) -> str:
    body = bytearray()
    async for data in response.aiter_raw():
        body += data
        if len(body) > _MOST_REFUSAL:
            break
    try:
        words = error_text(json.loads(body))
    except ValueError:
        words = body[:200].decode("utf-8", "replace").strip() or response.reason_phrase
    return f"{response.status_code}: {words}"
