"""A server that closes idle connections, as llama-server does after some seconds."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from headlong.bench.client import Endpoint, open_http, run_request
from headlong.bench.events import RequestRecord
from headlong.bench.modes import AS_SERVED
from headlong.bench.workloads import Message, Workload

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
QUESTION = Workload("q", (Message("user", "hello"),), 2)


def event(delta: dict[str, str], reason: str | None) -> bytes:
    data = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    body = b"data: " + json.dumps(data).encode() + b"\n\n"
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


async def handle(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: int, seen: list[int]
) -> None:
    """Answer so many requests of a connection, then take one more and close."""
    seen.append(0)
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split()[0])
            await reader.readexactly(length)
            seen[-1] += 1
            if seen[-1] > answers:
                break
            writer.write(ANSWER + event({"content": "hi"}, None) + event({}, "stop"))
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def ask(times: int, answers: int) -> tuple[list[RequestRecord], list[int]]:
    """What came, and requests by connection."""

    async def run() -> tuple[list[RequestRecord], list[int]]:
        seen: list[int] = []
        server = await asyncio.start_server(
            lambda r, w: handle(r, w, answers, seen), "127.0.0.1", 0
        )
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, open_http(url) as http:
            endpoint = Endpoint(url, "m")
            records = [await run_request(http, endpoint, QUESTION, AS_SERVED) for _ in range(times)]
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        return records, seen

    return asyncio.run(run())


def test_a_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    records, seen = ask(times=3, answers=1)
    assert [record.error for record in records] == [None] * 3
    assert [record.text for record in records] == ["hi"] * 3
    assert seen == [2, 2, 1]


def test_a_server_that_always_closes_is_one() -> None:
    (record,), seen = ask(times=1, answers=0)
    assert record.error is not None
    assert "the connection broke" in record.error
    assert len(seen) == 2
