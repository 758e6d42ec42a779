"""The client against a server whose writes are known: 2 % or 2 ms."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import pytest
from asking import QUESTION, ask
from mock_server import Mock, serving
from schedules import Schedule, mixed

from headlong.bench.client import RequestOptions, connect, open_http, run_request
from headlong.bench.discovery import base_url, is_loopback
from headlong.bench.metrics import measure
from headlong.bench.modes import AS_SERVED, PLAIN, drafts
from headlong.bench.workloads import Message, Workload
from headlong.errors import ParameterError, ServerError

STEPS = mixed(15, (3, 2, 3, 3, 2))
SHORT = Schedule(steps=(1,) * 3, step=0.005, prefill=0.01)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(steps=STEPS),
        Schedule(steps=STEPS, form="bundle", first=5),
        Schedule(
            steps=STEPS, form="bundle", source="reasoning", reasoning=9, usage=False, ids=True
        ),
        Schedule(steps=STEPS, stalls=((5, 0.1),), comments=3),
        Schedule(steps=STEPS, form="buffer", timings=True),
    ],
    ids=["burst", "bundled first", "reasoning", "stall", "buffer"],
)
def test_stamps_are_those_of_the_server(schedule: Schedule) -> None:
    # The truth is when the mock wrote: on a busy machine it oversleeps, and another process may
    # come between its write and our read.  Ten tries, one must be quiet.
    for attempt in range(10):
        with serving(Mock(lambda body: schedule)) as mock:
            began = time.perf_counter()
            (record,) = ask(mock.url)
            assert time.perf_counter() - began < 5
        assert record.error is None
        written = mock.written[0]
        truth_first = next(
            t for t, w in zip(written, schedule.writes(), strict=True) if w.t >= schedule.ttft
            and b'"delta": {"role"' not in w.data
        )  # fmt: skip
        metrics = measure(record)
        assert metrics.tokens == schedule.tokens
        assert metrics.ttft is not None and metrics.latency is not None
        last = max(t for t, w in zip(written, schedule.writes(), strict=True) if b"w0" in w.data)
        off = max(abs(metrics.ttft - truth_first), abs(metrics.latency - last))
        if off < 0.002 or attempt == 9:
            assert off < 0.002
            break
    if schedule.form == "buffer":
        assert metrics.decode_rate is None
    else:
        span = last - truth_first
        assert metrics.decode_rate == pytest.approx(sum(schedule.steps) / span, rel=0.02)


def test_one_connection_is_used_again() -> None:
    with serving(Mock(lambda body: SHORT)) as mock:
        records = ask(mock.url, times=3)
    assert [r.error for r in records] == [None] * 3
    assert mock.connections == 1


def test_what_is_sent() -> None:
    exact = Workload("w", (Message("user", "Why?"),), 9, exact_length=True)
    with serving(Mock(lambda body: SHORT, owner="headlong")) as mock:
        (record,) = ask(mock.url, mode=drafts(2), workload=exact, salt="abc")
        ask(mock.url, mode=PLAIN, options=RequestOptions(warm=True, logprobs=5, token_ids=False))
    first, second = mock.bodies
    assert first == {
        "model": "mock",
        "messages": [{"role": "user", "content": "Why?"}],
        "max_tokens": 9,
        "temperature": 0.0,
        "seed": 42,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
        "min_tokens": 9,
        "cache_prompt": False,
        "return_token_ids": True,
        "speculative": {"n_max": 2},
    }
    assert second["speculative"] == {"n_max": 0}
    assert (second["logprobs"], second["top_logprobs"]) == (True, 5)
    assert "cache_prompt" not in second and "return_token_ids" not in second
    assert record.params == {k: v for k, v in first.items() if k != "messages"}
    assert record.prompt_sha256 == exact.sha256


@pytest.mark.parametrize(
    ("owner", "expected"),
    [("llamacpp", ("cache_prompt", False)), ("vllm", ("cache_salt", "abc"))],
)
def test_how_other_servers_are_kept_cold(owner: str, expected: tuple[str, object]) -> None:
    with serving(Mock(lambda body: SHORT, owner=owner)) as mock:
        ask(mock.url, salt="abc")
    name, value = expected
    assert mock.bodies[0][name] == value
    assert mock.bodies[0]["messages"][0]["content"] == "Why?"


def test_an_unknown_server_gets_a_salt_in_the_text() -> None:
    with serving(Mock(lambda body: SHORT)) as mock:
        (record,) = ask(mock.url, salt="abc")
        ask(mock.url, salt="abc", options=RequestOptions(warm=True))
    texts = [body["messages"][0]["content"] for body in mock.bodies]
    assert texts == ["[abc] Why?", "Why?"]
    assert record.prompt_sha256 == QUESTION.sha256


def test_fields_that_are_refused_are_left_out_and_told() -> None:
    with serving(Mock(lambda body: SHORT, refuses=("seed", "stream_options"))) as mock:
        (record,) = ask(mock.url)
    assert record.error is None
    assert set(record.dropped) == {"seed", "stream_options"}
    assert "seed" not in record.params


def test_a_field_that_matters_is_not_left_out() -> None:
    with serving(Mock(lambda body: SHORT, refuses=("max_tokens",))) as mock:
        (record,) = ask(mock.url)
    assert (record.status, record.error) == (400, "400: unknown field 'max_tokens'")


def test_ends_that_are_none() -> None:
    cut = Schedule(cut_after=6)
    unfinished = Schedule(steps=(1,), finish=None)
    for schedule, words in [
        (cut, "connection broke"),
        (unfinished, "without a finish reason"),
        (Schedule(cut_after=0), "connection broke"),
    ]:
        with serving(Mock(lambda body, schedule=schedule: schedule)) as mock:
            (record,) = ask(mock.url)
        assert record.error is not None and words in record.error
        assert not record.ok
    with serving(Mock(lambda body: cut)) as mock:
        assert measure(ask(mock.url)[0]).tokens == 5


def test_timeouts() -> None:
    silent = Schedule(stalls=((2, 30.0),))
    with serving(Mock(lambda body: silent)) as mock:
        (record,) = ask(mock.url, options=RequestOptions(silence_timeout=0.2))
        assert record.error == "not a byte for 0.2 s"
        (record,) = ask(mock.url, options=RequestOptions(total_timeout=0.2))
    assert record.error == "no end after 0.2 s"
    assert len(record.events) == 3


def test_cancelling_leaves_the_server() -> None:
    endless = Schedule(steps=(1,) * 500)

    async def run(url: str) -> None:
        async with open_http(url) as http:
            server = await connect(http, url)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await run_request(http, server, QUESTION, AS_SERVED)

    with serving(Mock(lambda body: endless)) as mock:
        asyncio.run(run(mock.url))
        for _ in range(100):
            if mock.gone:
                break
            time.sleep(0.02)
        assert mock.gone == 1


def test_a_mode_that_the_server_does_not_have() -> None:
    with serving(Mock(lambda body: SHORT)) as mock, pytest.raises(ParameterError, match="plain"):
        ask(mock.url, mode=PLAIN)


def test_who_answers() -> None:
    async def find(url: str, **options: str) -> object:
        async with open_http(url) as http:
            return await connect(http, url, **options)

    with serving(Mock(lambda body: SHORT, owner="llamacpp")) as mock:
        found = asyncio.run(find(mock.url + "/v1/"))
        assert (found.kind, found.version, found.model) == ("llama.cpp", "llamacpp 1.2.3", "mock")  # type: ignore[attr-defined]
        assert "chat_template" not in str(found.about)  # type: ignore[attr-defined]
        assert asyncio.run(find(mock.url, model="alias")).model == "alias"  # type: ignore[attr-defined]
        with pytest.raises(ParameterError, match="no model 'other'; it has: mock"):
            asyncio.run(find(mock.url, model="other"))
    with pytest.raises(ServerError, match="does not answer"):
        asyncio.run(find(mock.url))


def test_refusals_of_the_whole() -> None:
    with serving(Mock(lambda body: SHORT, status=503)) as mock:
        (record,) = ask(mock.url)
    assert (record.status, record.error) == (503, "503: no")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("http://h:1/v1/", "http://h:1"),
        ("https://h/prefix/v1/chat/completions", "https://h/prefix"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert base_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "ftp://h", "http://", "http://h:x", "http://h/?a=1", "http://[::1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ParameterError, match="address of a server"):
        base_url(text)


def test_this_machine() -> None:
    assert is_loopback("http://127.0.0.1:1") and is_loopback("http://[::1]:1")
    assert not is_loopback("http://example.org")


def test_a_refused_connection_and_a_slow_one_are_httpx_errors() -> None:
    async def get(url: str, seconds: float) -> None:
        async with open_http(url, connect_timeout=seconds) as http:
            await http.get(url)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(httpx.ConnectError):
        asyncio.run(get(f"http://127.0.0.1:{port}", 5))
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        with pytest.raises(httpx.ConnectTimeout, match=r"no connection after 0\.2 s"):
            asyncio.run(get(f"http://127.0.0.1:{address[1]}", 0.2))
        for one in waiting:
            one.close()


def test_a_flood_is_read_whole_and_a_large_request_is_sent_whole() -> None:
    words = tuple("x" * 20_000 for _ in range(200))
    flood = Schedule(steps=(1,) * 199, step=0.0, words=words, prefill=0.001)
    large = Workload("large", (Message("user", "y" * (3 << 20)),), 200)
    with serving(Mock(lambda body: flood)) as mock:
        (record,) = ask(mock.url, workload=large, options=RequestOptions(warm=True))
    assert record.error is None
    assert len(record.text) == 200 * 20_000
    assert len(mock.bodies[0]["messages"][0]["content"]) == 3 << 20


def test_a_server_that_closed_an_idle_connection_is_asked_over_a_new_one() -> None:
    async def run(url: str) -> list[str | None]:
        async with open_http(url) as http:
            server = await connect(http, url)
            first = await run_request(http, server, QUESTION, AS_SERVED)
            await asyncio.sleep(0.1)  # the mock closes after a cut answer
            second = await run_request(http, server, QUESTION, AS_SERVED)
            return [first.error, second.error]

    answers = iter([Schedule(cut_after=4), SHORT])
    with serving(Mock(lambda body: next(answers))) as mock:
        first, second = asyncio.run(run(mock.url))
    assert first is not None and second is None
    assert mock.connections == 2
