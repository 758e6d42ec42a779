"""Many clients, most of them ill-behaved: does the server stay right, whole, and its own size?

Starts `headlong serve` and lets clients send requests for some minutes: answered, streamed,
cancelled, dropped in the middle of a body, read slowly, not JSON, too long, too large, with fields
that do not exist.  Every finished text must be the one that the same request got alone, with
nothing cached and nothing drafted; every refusal must have its status; in the end memory, threads,
open files and slots must be what they were.

    python -m benchmarks.soak model.gguf --minutes 10

Writes results/soak.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
from benchmarks.served import Server, serve

SCHEMA = 1
OUT = Path(__file__).with_name("results") / "soak.json"
FLAGS = ("-c", "2048", "-np", "8", "--cache-ram", "256", "--max-request-size", "1")
WORDS = (
    "import json path list value return class def self error file open read write for while with "
    "test module name key data line text parse result number string type function thread queue"
)

Body = dict[str, object]


@dataclass(frozen=True, slots=True)
class Question:
    """A request that has one right answer."""

    path: str
    body: Body
    answer: str = ""


@dataclass(slots=True)
class Tally:
    """What happened, by kind of request; and what should not have."""

    kinds: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    refused_busy: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Something that is the server's doing."""
        self.faults.append(text)
        print(f"fault: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Size:
    """What the server holds at a moment: MiB resident, threads, open files."""

    seconds: float
    resident: float
    threads: int
    files: int


def questions(count: int, rng: random.Random) -> list[Question]:
    """Prompts of 5 to 300 words, some with a common beginning, in every sampler mode."""
    words = WORDS.split()
    shared = " ".join(rng.choices(words, k=150))
    made = []
    for index in range(count):
        text = " ".join(rng.choices(words, k=rng.choice([5, 20, 80, 150])))
        if index % 3 == 0:
            text = f"{shared} {text}"
        sampling: Body = {
            "seed": index,
            "temperature": rng.choice([0, 0.7, 1.2]),
            "top_p": rng.choice([0.9, 1.0]),
            "repeat_penalty": rng.choice([1.0, 1.1]),
        }
        tokens = rng.choice([1, 8, 40, 120])
        if index % 2:
            messages = [{"role": "user", "content": text}]
            body: Body = {"messages": messages, "max_tokens": tokens, **sampling}
            if index % 10 == 1:
                body["response_format"] = {"type": "json_object"}
            made.append(Question("/v1/chat/completions", body))
        else:
            made.append(Question("/completion", {"prompt": text, "n_predict": tokens, **sampling}))
    return made


def text_of(path: str, answer: dict[str, object]) -> str:
    """The text in a whole answer."""
    if path == "/completion":
        return str(answer["content"])
    choices = answer["choices"]
    assert isinstance(choices, list)
    message = choices[0]["message"]
    return f"{message.get('reasoning_content') or ''}|{message.get('content') or ''}"


class StreamedText:
    """The same text, from the events of a stream."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._parts = {"reasoning_content": "", "content": ""}
        self.error = ""

    def feed(self, line: str) -> None:
        if not line.startswith("data: ") or line == "data: [DONE]":
            return
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            self.error = str(event["error"])
            return
        delta = event
        if self._path != "/completion":
            if not event["choices"]:
                return
            delta = event["choices"][0]["delta"]
        for name in self._parts:
            self._parts[name] += delta.get(name) or ""

    @property
    def text(self) -> str:
        if self._path == "/completion":
            return self._parts["content"]
        return f"{self._parts['reasoning_content']}|{self._parts['content']}"


async def alone(server: Server, asked: Sequence[Question]) -> list[Question]:
    """Each question answered by itself, with nothing drafted or taken from a cache."""
    answered = []
    plain: Body = {"speculative": {"n_max": 0}, "cache_prompt": False}
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        for question in asked:
            reply = await client.post(question.path, json=question.body | plain)
            reply.raise_for_status()
            text = text_of(question.path, reply.json())
            answered.append(Question(question.path, question.body, text))
    return answered


class Clients:
    """The ways in which a client asks."""

    def __init__(self, server: Server, asked: Sequence[Question], tally: Tally) -> None:
        self._server = server
        self._asked = asked
        self._tally = tally
        self._kinds: tuple[
            tuple[int, Callable[[httpx.AsyncClient, random.Random], Awaitable[None]]], ...
        ]
        self._kinds = (
            (6, self.whole),
            (6, self.streamed),
            (3, self.cancelled),
            (2, self.dropped),
            (2, self.slow),
            (1, self.not_json),
            (1, self.unknown_field),
            (1, self.too_long),
            (1, self.too_large),
            (1, self.watcher),
        )

    async def run(self, index: int, until: float) -> None:
        """One client, request after request."""
        rng = random.Random(index)
        weights = [weight for weight, _ in self._kinds]
        async with httpx.AsyncClient(base_url=self._server.url, timeout=120) as client:
            while time.monotonic() < until:
                ((_, kind),) = rng.choices(self._kinds, weights)
                self._tally.kinds[kind.__name__] += 1
                try:
                    await kind(client, rng)
                except (httpx.HTTPError, OSError) as error:
                    self._tally.fault(f"{kind.__name__}: {error!r}")

    def _question(self, rng: random.Random) -> Question:
        return rng.choice(self._asked)

    def _judge(self, kind: str, question: Question, text: str) -> None:
        self._tally.finished += 1
        if text != question.answer:
            self._tally.fault(f"{kind}: {question.body} gave {text!r}, not {question.answer!r}")

    def _busy(self, status: int) -> bool:
        self._tally.refused_busy += status == 429
        return status == 429

    def _expect(self, kind: str, reply: httpx.Response, *wanted: int) -> None:
        if reply.status_code in wanted:
            message = reply.json()["error"]["message"]
            if "Traceback" in message or ".py" in message:
                self._tally.fault(f"{kind}: an error with insides: {message}")
        else:
            self._tally.fault(f"{kind}: status {reply.status_code}: {reply.text[:200]}")

    async def whole(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Asks and waits."""
        question = self._question(rng)
        reply = await client.post(question.path, json=question.body)
        if self._busy(reply.status_code):
            return
        if reply.status_code != 200:
            self._tally.fault(f"whole: status {reply.status_code}: {reply.text[:200]}")
            return
        self._judge("whole", question, text_of(question.path, reply.json()))

    async def _stream(self, client: httpx.AsyncClient, question: Question) -> AsyncIterator[str]:
        body = question.body | {"stream": True}
        async with client.stream("POST", question.path, json=body) as reply:
            if self._busy(reply.status_code):
                return
            if reply.status_code != 200:
                await reply.aread()
                self._tally.fault(f"stream: status {reply.status_code}: {reply.text[:200]}")
                return
            async for line in reply.aiter_lines():
                yield line

    async def streamed(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Reads events as they come."""
        question, lines = self._question(rng), 0
        reader = StreamedText(question.path)
        async for line in self._stream(client, question):
            lines += 1
            reader.feed(line)
        if reader.error:
            self._tally.fault(f"streamed: {reader.error}")
        elif lines:
            self._judge("streamed", question, reader.text)

    async def cancelled(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Loses interest after some events."""
        left = rng.randrange(12)
        stream = self._stream(client, self._question(rng))
        async for _ in stream:
            left -= 1
            if left < 0:
                break
        await stream.aclose()  # type: ignore[attr-defined]

    @asynccontextmanager
    async def _socket(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(self._server.host, self._server.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    def _raw(self, question: Question, **more: object) -> bytes:
        body = json.dumps(question.body | more).encode()
        head = (
            f"POST {question.path} HTTP/1.1\r\nHost: {self._server.host}:{self._server.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def dropped(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Is cut off: in the middle of its request, or soon after it."""
        async with self._socket() as (_, writer):
            data = self._raw(self._question(rng), stream=rng.random() < 0.5)
            writer.write(data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.5 else data)
            await writer.drain()
            await asyncio.sleep(rng.random() * 0.1)

    async def slow(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Reads some bytes at a time."""
        question = self._question(rng)
        async with self._socket() as (reader, writer):
            writer.write(self._raw(question, stream=True))
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                piece = await reader.read(rng.choice([64, 512, 4096]))
                if not piece:
                    break
                data += piece
                await asyncio.sleep(0.02)
                if b" 429 " in data[:16]:
                    self._busy(429)
                    return
        if b" 200 " not in data[:16]:
            self._tally.fault(f"slow: {data[:200]!r}")
            return
        events = StreamedText(question.path)
        for line in _unchunked(data.partition(b"\r\n\r\n")[2]).decode().splitlines():
            events.feed(line)
        if events.error:
            self._tally.fault(f"slow: {events.error}")
        else:
            self._judge("slow", question, events.text)

    async def not_json(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Sends what is no JSON, or no object."""
        content = rng.choice([b"{", b"[]", b"null", b"\xff\xfe", b'{"prompt": NaN}', b""])
        reply = await client.post(
            self._question(rng).path,
            content=content,
            headers={"Content-Type": "application/json"},
        )
        self._expect("not_json", reply, 400)

    async def unknown_field(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Asks for what does not exist."""
        question = self._question(rng)
        field_ = rng.choice(["temperatur", "beam_width", "__proto__"])
        reply = await client.post(question.path, json=question.body | {field_: 1})
        self._expect("unknown_field", reply, 400)

    async def too_long(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Sends a prompt that no context holds."""
        reply = await client.post("/completion", json={"prompt": "word " * 20_000})
        self._expect("too_long", reply, 400)

    async def too_large(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Sends more bytes than are taken."""
        try:
            reply = await client.post(
                "/completion",
                content=b" " * (2 << 20),
                headers={"Content-Type": "application/json"},
            )
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            return  # hung up on, which is an answer too
        self._expect("too_large", reply, 413)

    async def watcher(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        """Looks at what the server tells of itself."""
        path = rng.choice(["/health", "/metrics", "/slots", "/props", "/v1/models"])
        reply = await client.get(path)
        if reply.status_code != 200:
            self._tally.fault(f"watcher: {path}: {reply.status_code}")


def _unchunked(data: bytes) -> bytes:
    """The body that HTTP/1.1 chunks hold."""
    whole = b""
    while data:
        head, _, rest = data.partition(b"\r\n")
        size = int(head or b"0", 16)
        if not size:
            break
        whole, data = whole + rest[:size], rest[size + 2 :]
    return whole


def size_of(server: Server, began: float) -> Size:
    """What the process holds now."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    figures = dict(line.split(":", 1) for line in status.splitlines())
    return Size(
        seconds=time.monotonic() - began,
        resident=int(figures["VmRSS"].split()[0]) / 1024,
        threads=int(figures["Threads"]),
        files=len(list(Path(f"/proc/{server.pid}/fd").iterdir())),
    )


async def idle_slots(server: Server) -> tuple[int, int]:
    """Slots, and how many of them are idle, once nothing runs or for 30 seconds at most."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        for _ in range(60):
            slots = (await client.get("/slots")).json()
            idle = sum(not slot["is_processing"] for slot in slots)
            if idle == len(slots):
                break
            await asyncio.sleep(0.5)
        return len(slots), idle


async def soak(
    server: Server, asked: Sequence[Question], clients: int, seconds: float
) -> tuple[Tally, list[Size], tuple[int, int]]:
    """Let the clients loose."""
    tally, began = Tally(), time.monotonic()
    asked = await alone(server, asked)
    print(f"{len(asked)} questions answered alone", file=sys.stderr, flush=True)
    sizes = [size_of(server, began)]
    ways = Clients(server, asked, tally)
    until = time.monotonic() + seconds
    running = [asyncio.create_task(ways.run(index, until)) for index in range(clients)]
    while time.monotonic() < until:
        await asyncio.sleep(min(5.0, seconds / 10))
        sizes.append(size_of(server, began))
        print(
            f"{sizes[-1].seconds:6.0f} s  {sum(tally.kinds.values())} requests, "
            f"{tally.finished} finished, {len(tally.faults)} faults, "
            f"{sizes[-1].resident:.0f} MiB, {sizes[-1].threads} threads, {sizes[-1].files} files",
            file=sys.stderr,
            flush=True,
        )
    await asyncio.gather(*running)
    slots = await idle_slots(server)
    await asyncio.sleep(1)
    sizes.append(size_of(server, began))
    return tally, sizes, slots


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("flags", nargs="*", help="for `headlong serve`, after --")
    args = parser.parse_args(argv)
    flags = [*FLAGS, *args.flags]
    with serve(args.model, flags) as server:
        asked = questions(args.questions, random.Random(0))
        tally, sizes, (slots, idle) = asyncio.run(
            soak(server, asked, args.clients, 60 * args.minutes)
        )
        code = server.stop(signal.SIGTERM)
    if idle != slots:
        tally.fault(f"{slots - idle} slots are still taken")
    if code != 0:
        tally.fault(f"the server ended with {code}")
    args.out.write_text(
        json.dumps(
            {
                "schema": SCHEMA,
                "file": args.model.name,
                "minutes": args.minutes,
                "clients": args.clients,
                "kinds": dict(tally.kinds),
                "finished": tally.finished,
                "refused_busy": tally.refused_busy,
                "faults": tally.faults,
                "sizes": [asdict(size) for size in sizes],
            },
            indent=1,
        )
        + "\n"
    )
    print(f"{dict(tally.kinds)}\n{tally.finished} texts compared, {len(tally.faults)} faults")
    first, last = sizes[len(sizes) // 5], sizes[-1]
    print(
        f"after a fifth of the time: {first.resident:.0f} MiB, {first.threads} threads, "
        f"{first.files} files; at the end {last.resident:.0f} MiB, {last.threads}, {last.files}"
    )
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
