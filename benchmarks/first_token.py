"""How long a short request waits for its first token while a long prompt is being read.

A prompt of 8,000 tokens is sent to `headlong serve`; from its first moments to its last, short
requests come one after another at uneven times, and an answer that had begun before goes on.  Told
are the short requests' time to first token, and the gaps in that answer; both beside those of a
server that has nothing else to do.

    python -m benchmarks.first_token model.gguf

Writes results/first-token-NAME.json.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from benchmarks.served import serve

from headlong.tools.samples import Samples

SCHEMA = 1
RESULTS = Path(__file__).with_name("results")
SHORT = 16


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds: first tokens of short requests, gaps between the events of the running answer."""

    first_tokens: tuple[float, ...]
    gaps: tuple[float, ...]

    def line(self) -> str:
        first, gaps = Samples(self.first_tokens), Samples(self.gaps)
        return (
            f"{len(self.first_tokens)} short requests: first token after {first.median:.2f} s, "
            f"at most {first.high:.2f} s; running answer: gaps of {gaps.median:.3f} s, "
            f"at most {gaps.high:.2f} s"
        )


def prompt_of(tokens: int, seed: int) -> list[int]:
    """Ids that any vocabulary has, and no two prompts share."""
    return random.Random(seed).choices(range(300, 4000), k=tokens)


async def first_event(client: httpx.AsyncClient, prompt: list[int], tokens: int) -> float:
    """Seconds from sending a request to its first token."""
    body = {"prompt": prompt, "n_predict": tokens, "stream": True, "temperature": 0}
    began = time.perf_counter()
    async with client.stream("POST", "/completion", json=body) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                return time.perf_counter() - began
    raise RuntimeError("a stream ended before its first token")


async def gaps(client: httpx.AsyncClient, stop: asyncio.Event) -> tuple[float, ...]:
    """Seconds between the events of one answer, until told to stop."""
    body = {
        "prompt": prompt_of(SHORT, 1),
        "n_predict": 4000,
        "stream": True,
        "temperature": 0,
        "ignore_eos": True,
    }
    times = []
    async with client.stream("POST", "/completion", json=body) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                times.append(time.perf_counter())
            if stop.is_set():
                break
    return tuple(b - a for a, b in itertools.pairwise(times))


async def measure(url: str, long: int, shorts: int) -> Waits:
    """Short requests beside a running answer, and a prompt of `long` tokens where it is not 0."""
    rng = random.Random(long)
    stop = asyncio.Event()
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        running = asyncio.create_task(gaps(client, stop))
        await asyncio.sleep(1.0)
        slow = asyncio.create_task(first_event(client, prompt_of(long, 2), 1)) if long else None
        waits = []
        while len(waits) < shorts and not (slow and slow.done()):
            await asyncio.sleep(0.2 + rng.random())
            waits.append(await first_event(client, prompt_of(SHORT, 100 + len(waits)), 1))
        stop.set()
        between = await running
        if slow is not None:
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
    return Waits(tuple(waits), between)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--long", type=int, default=8000, help="tokens of the long prompt")
    parser.add_argument("--shorts", type=int, default=20, help="short requests, at most")
    parser.add_argument("--out", type=Path, help="default: results/first-token-NAME.json")
    parser.add_argument("flags", nargs="*", help="for `headlong serve`, after --")
    args = parser.parse_args(argv)
    with serve(args.model, ["-c", str(args.long + 192), "-np", "4", *args.flags]) as server:
        idle = asyncio.run(measure(server.url, 0, args.shorts))
        print(f"nothing else to do:  {idle.line()}", flush=True)
        busy = asyncio.run(measure(server.url, args.long, args.shorts))
        print(f"{args.long} tokens to read: {busy.line()}", flush=True)
    out = args.out or RESULTS / f"first-token-{args.model.stem}.json"
    fields = {"schema": SCHEMA, "file": args.model.name, "long": args.long}
    out.write_text(
        json.dumps(fields | {"idle": asdict(idle), "busy": asdict(busy)}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
