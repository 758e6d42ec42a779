"""What `headlong bench` costs the machine it measures: its CPU time, and how late its stamps are.

A process of its own writes one token every few milliseconds, with the time of the write as the
token's text. Two clients read it in turns: the bench harness, parsing included, and a bare asyncio
reader that stamps reads and does nothing else, the least that Python can do.

    python benchmarks/harness_cost.py [--rate 200] [--seconds 10] [--turns 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import mean, median, quantiles

from headlong.bench.client import Endpoint, open_http, run_request
from headlong.bench.modes import AS_SERVED
from headlong.bench.workloads import Message, Workload

TEXT = re.compile(rb'"content": "([0-9.]+)"')


@dataclass(frozen=True, slots=True)
class Turn:
    """One stream: CPU seconds of the client per second, and seconds from write to stamp."""

    share: float
    delays: tuple[float, ...]


# --- The server


async def serve(rate: float) -> None:
    """Answer every POST with as many tokens as it wants; print the port first."""
    server = await asyncio.start_server(lambda r, w: answer(r, w, 1 / rate), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, interval: float
) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split()[0])
            tokens = int(json.loads(await reader.readexactly(length))["max_tokens"])
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            began = time.perf_counter()
            for number in range(1, tokens + 1):
                await asyncio.sleep(max(0.0, began + number * interval - time.perf_counter()))
                writer.write(event({"content": f"{time.time():.6f}"}, None))
            writer.write(event({}, "length") + chunk(b"data: [DONE]\n\n") + chunk(b""))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def event(delta: dict[str, str], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    whole = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return chunk(b"data: " + json.dumps(whole).encode() + b"\n\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- The clients


async def harness(port: int, tokens: int) -> list[tuple[float, float]]:
    url = f"http://127.0.0.1:{port}"
    question = Workload("q", (Message("user", "Why?"),), tokens)
    async with open_http(url) as http:
        record = await run_request(http, Endpoint(url, "m"), question, AS_SERVED)
    if record.error is not None:
        raise RuntimeError(record.error)
    return [(float(one.text), record.sent_at + one.t) for one in record.events]


async def bare(port: int, tokens: int) -> list[tuple[float, float]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"max_tokens": tokens}).encode()
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    reads: list[tuple[float, bytes]] = []
    while not reads or not reads[-1][1].endswith(b"0\r\n\r\n"):
        data = await reader.read(1 << 16)
        reads.append((time.time(), data))
        if not data:
            raise RuntimeError("the server closed the connection")
    writer.close()
    return [(float(text), t) for t, data in reads for text in TEXT.findall(data)]


CLIENTS: dict[str, Callable[[int, int], Awaitable[list[tuple[float, float]]]]] = {
    "bench harness": harness,
    "bare reader": bare,
}


async def measure(name: str, port: int, tokens: int) -> Turn:
    wall, cpu = time.perf_counter(), time.process_time()
    stamps = await CLIENTS[name](port, tokens)
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    if len(stamps) != tokens:
        raise RuntimeError(f"{name}: {len(stamps)} of {tokens} tokens came")
    return Turn(share, tuple(read - written for written, read in stamps))


def described(name: str, turns: Sequence[Turn]) -> str:
    shares = ", ".join(f"{100 * turn.share:.1f}" for turn in turns)
    delays = [1e6 * delay for turn in turns for delay in turn.delays]
    return (
        f"{name:14} {100 * mean(turn.share for turn in turns):5.2f} % of a core ({shares})   "
        f"stamps late by {median(delays):4.0f} us, 99 % under {quantiles(delays, n=100)[98]:.0f} us"
    )


async def compare(port: int, tokens: int, repeats: int) -> None:
    turns: dict[str, list[Turn]] = {name: [] for name in CLIENTS}
    for name in CLIENTS:
        await measure(name, port, 20)  # imports, first calls
    for _ in range(repeats):
        for name in CLIENTS:
            turns[name].append(await measure(name, port, tokens))
    for name, measured in turns.items():
        print(described(name, measured))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200, help="tokens per second")
    parser.add_argument("--seconds", type=float, default=10, help="length of one stream")
    parser.add_argument("--turns", type=int, default=2, help="streams of each client")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.rate))
        return
    command = [sys.executable, __file__, "--serve", "--rate", str(arguments.rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            tokens = round(arguments.rate * arguments.seconds)
            asyncio.run(compare(port, tokens, arguments.turns))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
