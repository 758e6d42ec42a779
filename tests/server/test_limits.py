"""What a server under strain does: queues, times, slow readers, broken steps, silence."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Served, serving
from serving_engines import Held, loads

BODY: dict[str, Any] = {"prompt": "the end", "temperature": 0, "n_predict": 20}
LONG: dict[str, Any] = {**BODY, "n_predict": 400, "ignore_eos": True}


class Asking(threading.Thread):
    """A request in the background."""

    def __init__(self, served: Served, body: dict[str, Any]) -> None:
        super().__init__()
        self.served = served
        self.body = body
        self.answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        with httpx.Client(base_url=self.served.url, timeout=20) as client:
            self.answer = client.post("/completion", json=self.body)

    def done(self) -> httpx.Response:
        self.join(20)
        assert self.answer is not None
        return self.answer


def wait_for_answers(served: Served, count: int) -> None:
    until = time.monotonic() + 10
    while len(served.server.worker.answers) != count:
        assert time.monotonic() < until
        time.sleep(0.002)


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_full_queue_is_429(model: Path) -> None:
    engine = Held(loads(model, sequences=1))
    with serving(engine, queue_limit=1) as served:
        asking = [Asking(served, BODY) for _ in range(2)]
        wait_for_answers(served, 2)
        refused = served.post("/completion", BODY)
        assert error(refused) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        too_many = served.post("/completion", {**BODY, "n_cmpl": 3})
        assert error(too_many) == (400, None)
        engine.let_go()
        assert [one.done().status_code for one in asking] == [200, 200]


def test_waiting_and_running_too_long(model: Path) -> None:
    engine = Held(loads(model, sequences=1))
    with serving(engine, queue_timeout=0.2, timeout=0.4) as served:
        first = Asking(served, LONG)
        wait_for_answers(served, 1)
        second = Asking(served, LONG)
        wait_for_answers(served, 2)
        engine.allow(2)
        assert error(second.done()) == (503, "queue_timeout")
        assert error(first.done()) == (504, "timeout")
        engine.let_go()
        streamed = served.events("/completion", {**BODY, "stream": True})
        assert streamed[-1]["stop"] is True


def test_a_stream_that_takes_too_long_ends_with_an_error(model: Path) -> None:
    engine = Held(loads(model))
    with serving(engine, timeout=0.3) as served:
        engine.allow(2)
        events = served.events("/completion", {**LONG, "stream": True})
        assert events[0]["content"]
        assert events[-1]["error"]["code"] == "timeout"
        engine.let_go()


def test_silence_is_filled_with_comments(model: Path) -> None:
    engine = Held(loads(model))
    with serving(engine, keep_alive=0.05) as served:
        stream = served.stream("/completion", {**BODY, "stream": True})
        assert [next(stream) for _ in range(3)] == [": still here"] * 3
        engine.let_go()
        rest = list(stream)
        assert isinstance(rest[-1], dict)
        assert rest[-1]["stop"] is True
        off = served.stream("/completion", {**BODY, "stream": True, "sse_ping_interval": -1})
        assert ": still here" not in list(off)


def test_a_broken_step_is_told_and_the_next_request_runs(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Held(loads(model))
    with serving(engine) as served:
        engine.broken = True
        engine.let_go()
        response = served.post("/completion", BODY)
        assert response.status_code == 500
        assert response.json()["error"]["code"] in caplog.text
        assert "secret" not in response.text
        streamed = served.events("/completion", {**BODY, "stream": True})
        assert "incident" in streamed[-1]["error"]["message"]
        engine.broken = False
        assert served.post("/completion", BODY).status_code == 200


@pytest.fixture
def unread(model: Path) -> Iterator[tuple[Served, socket.socket]]:
    """A server, and a client of it that asks for a stream and reads none of it."""
    with serving(loads(model, context=2048)) as served, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", int(served.url.rsplit(":", 1)[1])))
        body = httpx.Request(
            "POST", served.url,
            json={**LONG, "n_predict": 1900, "stream": True, "timings_per_token": True},
        ).content  # fmt: skip
        head = (
            "POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        yield served, client


def test_who_does_not_read_holds_nobody_up(unread: tuple[Served, socket.socket]) -> None:
    served, client = unread
    answers = [Asking(served, BODY) for _ in range(4)]
    assert {one.done().status_code for one in answers} == {200}
    wait_for_answers(served, 0)  # it is generated, though nobody has read it
    assert client.recv(1 << 12).startswith(b"HTTP/1.1 200 OK")


def test_prompts_are_logged_only_where_that_is_asked_for(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "headlong.server"), serving(
        loads(model), log_prompts=True
    ) as served:  # fmt: skip
        text = served.post("/completion", {**BODY, "prompt": "a\nprompt"}).json()["content"]
    assert r"'a\nprompt'" in caplog.text
    assert text in caplog.text
