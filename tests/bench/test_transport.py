"""Held answers: whatever their end looks like, it is seen, and stamps are those of the reads."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

import pytest

from headlong.bench import client
from headlong.bench.client import Endpoint, RequestOptions, open_http, run_request
from headlong.bench.events import RequestRecord
from headlong.bench.modes import AS_SERVED
from headlong.bench.workloads import Message, Workload

QUESTION = Workload("q", (Message("user", "hello"),), 3)
PAUSE = 0.05
CHUNKED = b"Transfer-Encoding: chunked\r\n"
DONE = b"data: [DONE]\n\n"


def event(delta: dict[str, str], reason: str | None = None) -> bytes:
    data = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENTS = (event({"content": "a"}), event({"content": "b"}), event({}, "stop"))
CHUNKS = tuple(map(chunk, EVENTS))
SPLIT = b"".join(CHUNKS) + chunk(DONE) + b"0\r\n\r\n"


def ask(
    headers: bytes,
    writes: tuple[bytes, ...],
    *,
    end: str = "keep",
    times: int = 2,
    options: RequestOptions | None = None,
) -> tuple[list[RequestRecord], int, float]:
    """What came of several requests, over how many connections, in how many seconds."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + headers)
                writer.write(b"\r\n")
                for data in writes:
                    writer.write(data)
                    await asyncio.sleep(PAUSE)
                if end == "reset":
                    writer.transport.abort()
                if end != "keep":
                    break
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def run() -> list[RequestRecord]:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        endpoint = Endpoint(url, "m")
        async with server, open_http(url) as http:
            records = [
                await run_request(http, endpoint, QUESTION, AS_SERVED, options=options)
                for _ in range(times)
            ]
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        return records

    began = time.perf_counter()
    records = asyncio.run(run())
    return records, connections, time.perf_counter() - began


@pytest.mark.parametrize(
    ("headers", "writes", "end", "connections"),
    [
        (CHUNKED, (*CHUNKS, chunk(DONE), b"0\r\n\r\n"), "keep", 1),
        (CHUNKED, (*CHUNKS, b"0\r\n\r\n"), "keep", 1),
        (CHUNKED, (*CHUNKS, b"0\r\nServer-Timing: all\r\n\r\n"), "keep", 1),
        (CHUNKED, (*CHUNKS, b"000;last\r\n\r\n"), "keep", 1),
        (CHUNKED, (*CHUNKS, b"0", b"\r", b"\n\r\n"), "keep", 1),
        (CHUNKED, (SPLIT[:-4], SPLIT[-4:]), "keep", 1),
        (CHUNKED, (SPLIT[:150], SPLIT[150:]), "keep", 1),
        (b"Content-Length: %d\r\n" % len(b"".join(EVENTS)), EVENTS, "keep", 1),
        (b"", EVENTS, "close", 2),
    ],
    ids=[
        "whole", "no DONE", "trailer", "extension", "end in parts", "end apart", "cut event",
        "length", "until closed",
    ],
)  # fmt: skip
def test_ends(
    headers: bytes,
    writes: tuple[bytes, ...],
    end: str,
    connections: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_DRAIN_SECONDS", 60.0)
    records, seen, seconds = ask(headers, writes, end=end)
    assert [(record.error, record.text) for record in records] == [(None, "ab")] * 2
    assert seen == connections
    assert seconds < 30  # no wait had to run out


def test_stamps_are_those_of_the_reads_though_all_is_read_at_the_end() -> None:
    (record,), _, _ = ask(CHUNKED, (*CHUNKS, chunk(DONE), b"0\r\n\r\n"), times=1)
    first, second = (one.t for one in record.events)
    assert second - first > PAUSE / 2
    assert record.ended >= second + 1.5 * PAUSE


def test_an_answer_that_goes_on_after_done_is_left() -> None:
    endless = (*CHUNKS, chunk(DONE), *[chunk(b": on\n\n")] * 45)
    (record,), _, _ = ask(CHUNKED, endless, times=1)
    assert (record.error, record.text) == (None, "ab")
    assert record.ended < 45 * PAUSE


@pytest.mark.parametrize("end", ["reset", "close"])
def test_what_came_before_a_break_is_kept(end: str) -> None:
    (record,), _, _ = ask(CHUNKED, CHUNKS[:2], end=end, times=1)
    assert record.error is not None and "the connection broke" in record.error
    assert record.text == "ab"


def test_what_came_before_a_timeout_is_kept() -> None:
    trickle = (*CHUNKS[:2], *[chunk(b": on\n\n")] * 20)
    for limits, words in [
        (RequestOptions(total_timeout=0.5), "no end after 0.5 s"),
        (RequestOptions(silence_timeout=0.04), "not a byte for 0.04 s"),
    ]:
        (record,), _, _ = ask(CHUNKED, trickle, times=1, options=limits)
        assert record.error == words
        assert record.text == ("ab" if limits.total_timeout == 0.5 else "a")
