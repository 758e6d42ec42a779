"""Requests to a mock server, and records without one."""

from __future__ import annotations

import asyncio

from schedules import Schedule, reads

from headlong.bench.answers import read_answer
from headlong.bench.client import RequestOptions, connect, open_http, run_request
from headlong.bench.events import RequestRecord
from headlong.bench.modes import AS_SERVED, Mode
from headlong.bench.sse import Read, split
from headlong.bench.workloads import Message, Workload

QUESTION = Workload("question", (Message("user", "Why?"),), 32)


def ask(
    url: str,
    *,
    mode: Mode = AS_SERVED,
    workload: Workload = QUESTION,
    options: RequestOptions | None = None,
    salt: str = "",
    times: int = 1,
) -> list[RequestRecord]:
    """Ask several times, one after another, over one client."""

    async def run() -> list[RequestRecord]:
        async with open_http(url) as http:
            server = await connect(http, url)
            return [
                await run_request(http, server, workload, mode, salt=salt, options=options)
                for _ in range(times)
            ]

    return asyncio.run(run())


def record_of(schedule: Schedule, came: list[Read] | None = None) -> RequestRecord:
    """The record of an answer that arrived without any delay."""
    stream = split(came if came is not None else reads(schedule))
    answer = read_answer(stream.events)
    return RequestRecord(
        "question", "0", "as served", "http://mock", "mock", {}, 0.0,
        events=answer.events, ended=stream.done or 0.0, finished=answer.finished,
        usage=answer.usage, timings=answer.timings, status=200,
        finish_reason=answer.finish_reason, error=answer.error,
    )  # fmt: skip
