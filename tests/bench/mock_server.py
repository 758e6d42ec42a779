"""A server that answers on a known schedule, over real sockets, in a thread of the test."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from schedules import Schedule

Script = Callable[[dict[str, Any]], Schedule]
"""The answer to a request's body."""


@dataclass
class Mock:
    """What the server does, and what it saw.

    Args:
        script: the schedule of an answer.
        owner: ``owned_by`` of its model, by which clients tell servers apart.
        refuses: fields that are answered with 400.
        status: of answers; other than 200: an error at once.
    """

    script: Script
    owner: str = "nobody"
    refuses: tuple[str, ...] = ()
    status: int = 200
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    """When requests came, by the clock of this process."""
    written: list[list[float]] = field(default_factory=list)
    """When each write of each answer was made."""
    connections: int = 0
    gone: int = 0
    """Answers that the client left before their end."""


@contextmanager
def serving(mock: Mock) -> Iterator[Mock]:
    """The mock on a free port."""
    ready, loops = threading.Event(), []
    stop: list[asyncio.Event] = []

    async def run() -> None:
        server = await asyncio.start_server(lambda r, w: _handle(mock, r, w), "127.0.0.1", 0)
        mock.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        loops.append(asyncio.get_running_loop())
        stop.append(asyncio.Event())
        ready.set()
        await stop[0].wait()
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(10)
    try:
        yield mock
    finally:
        loops[0].call_soon_threadsafe(stop[0].set)
        thread.join(10)
        assert not thread.is_alive()


async def _handle(mock: Mock, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    mock.connections += 1
    with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        while await _answer(mock, reader, writer):
            pass
    writer.close()
    with suppress(ConnectionError, asyncio.CancelledError):
        await writer.wait_closed()


async def _answer(mock: Mock, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    came = time.perf_counter()
    method, path, _ = head.split(" ", 2)
    lines = (line.partition(":") for line in head.lower().splitlines())
    length = next((int(value) for name, _, value in lines if name == "content-length"), 0)
    raw = await reader.readexactly(length)
    if method == "GET":
        known = {
            "/v1/models": {"data": [{"id": "mock", "owned_by": mock.owner, "aliases": ["alias"]}]},
            "/props": {"build_info": f"{mock.owner} 1.2.3", "chat_template": "long"},
        }
        await _json(writer, known.get(path, {"error": {"message": "not here"}}), path in known)
        return True
    body = json.loads(raw)
    mock.bodies.append(body)
    refused = [name for name in mock.refuses if name in body]
    if refused:
        await _json(writer, {"error": {"message": f"unknown field {refused[0]!r}"}}, False, 400)
        return True
    if mock.status != 200:
        await _json(writer, {"error": {"message": "no"}}, False, mock.status)
        return True
    mock.began.append(came)
    mock.written.append([])
    try:
        return await _stream(mock.script(body), writer, came, mock.written[-1])
    except ConnectionError:
        mock.gone += 1
        raise


async def _stream(
    schedule: Schedule, writer: asyncio.StreamWriter, came: float, written: list[float]
) -> bool:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for write in schedule.writes():
        wait = came + write.t - time.perf_counter()
        if wait > 0:
            await writer.drain()
            await asyncio.sleep(wait)
            if writer.is_closing():
                raise ConnectionResetError
        written.append(time.perf_counter() - came)
        writer.write(f"{len(write.data):x}\r\n".encode() + write.data + b"\r\n")
    if schedule.cut_after is not None:
        await writer.drain()
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def _json(writer: asyncio.StreamWriter, data: object, found: bool, status: int = 404) -> None:
    body = json.dumps(data).encode()
    code = 200 if found else status
    writer.write(
        f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
