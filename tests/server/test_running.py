"""A server's life: loading, the port, signals, the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import serving
from serving_engines import Held, loads

from headlong import LLM
from headlong.errors import GGUFError, ParameterError
from headlong.progress import Progress
from headlong.server.running import Server
from headlong.server.settings import ServerSettings

BODY = {"prompt": "the end", "temperature": 0, "ignore_eos": True}
PATIENCE = 30

PROGRAM = """
import sys
from headlong import LLM
from headlong.server.running import Quiet, run_server
from headlong.server.settings import ServerSettings

class Told(Quiet):
    def listening(self, url): print("listening", url, flush=True)
    def ready(self, url, llm): print("ready", flush=True)
    def stopping(self, answers, seconds): print("stopping", answers, flush=True)
    def stopped(self, unfinished): print("stopped", unfinished, flush=True)

settings = ServerSettings(port=int(sys.argv[2]), shutdown_grace=float(sys.argv[3]))
load = lambda progress: LLM(sys.argv[1], context=2048, threads=1, sequences=2, progress=progress)
sys.exit(run_server(settings, load, events=Told()))
"""


class Process:
    """A server as a process of its own."""

    def __init__(self, model: Path, port: int = 0, grace: float = 20.0) -> None:
        command = [sys.executable, "-c", PROGRAM, str(model), str(port), str(grace)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.url = self.line().removeprefix("listening ")
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        assert err == ""
        return self.process.returncode, out

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def process(model: Path) -> Iterator[Process]:
    running = Process(model)
    yield running
    running.close()


class Streaming(threading.Thread):
    """A client in the middle of an answer."""

    def __init__(self, url: str, **change: object) -> None:
        super().__init__()
        self.url = url
        self.change = change
        self.began = threading.Event()
        self.events: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        self.start()
        assert self.began.wait(PATIENCE)

    def run(self) -> None:
        body = {**BODY, "stream": True, **self.change}
        try:
            with httpx.stream("POST", f"{self.url}/completion", json=body, timeout=20) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        self.events.append(json.loads(line.removeprefix("data: ")))
                        self.began.set()
        except httpx.HTTPError as error:
            self.failure = error


def test_health_tells_how_far_loading_is(model: Path) -> None:
    go_on = threading.Event()

    def slowly(progress: Progress) -> LLM:
        with progress.stage("weights", 4, "B") as stage:
            stage.advance(2)
            assert go_on.wait(20)
        return loads(model)(progress)

    with serving(slowly, ready=False) as served:
        for _ in range(1000):
            health = served.client.get("/health")
            if health.json().get("progress"):
                break
        assert health.status_code == 503
        assert health.json()["status"] == "loading"
        assert health.json()["progress"] == 0.45
        assert health.json()["stage"] == "weights"
        refused = served.post("/completion", BODY)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "loading"
        assert int(refused.headers["retry-after"]) > 0
        assert served.client.get("/v1/models").json()["data"][0]["meta"] is None
        assert served.client.get("/metrics").status_code == 200
        assert served.client.get("/props").status_code == 503
        go_on.set()
        for _ in range(1000):
            health = served.client.get("/health")
            if health.status_code == 200:
                break
        assert health.json() == {"status": "ok"}


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path: Path) -> None:
    server = Server(ServerSettings(port=0), loads(tmp_path / "nothing.gguf"))
    with pytest.raises(GGUFError, match=r"nothing\.gguf"):
        asyncio.run(server.run(signals=False))
    assert not server.thread_lives


def test_a_port_in_use_is_told_before_loading() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match=f"port {port} of 127.0.0.1 is in use"):
            Server(ServerSettings(port=port), lambda progress: pytest.fail("it loads"))


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_addresses_of_others(host: str) -> None:
    with pytest.raises(ParameterError, match=f"{host}.* is no address of this machine"):
        Server(ServerSettings(host=host, port=0), lambda progress: pytest.fail("it loads"))


def test_the_server_ends_while_it_loads(model: Path) -> None:
    began = threading.Event()

    def for_ever(progress: Progress) -> LLM:
        with progress.stage("weights", 10**9, "B") as stage:
            while True:
                stage.advance(1)
                began.set()
                time.sleep(0.001)

    with serving(for_ever, ready=False) as served:
        assert began.wait(20)
        served.server.stop()
        served.thread.join(10)
        assert served.code == 0
    assert not served.server.thread_lives


def test_answers_finish_after_the_first_signal(model: Path) -> None:
    engine = Held(loads(model))
    with serving(engine, shutdown_grace=20.0) as served:
        engine.allow(2)
        client = Streaming(served.url, n_predict=30)
        served.server.stop()
        for _ in range(1000):
            health = served.client.get("/health")
            if health.status_code == 503:
                break
        assert health.json()["status"] == "shutting_down"
        refused = served.post("/completion", BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        engine.let_go()
        client.join(20)
        assert client.events[-1]["stop_type"] == "limit"
        served.thread.join(20)
        assert served.code == 0


def test_answers_that_take_too_long_are_told(model: Path) -> None:
    engine = Held(loads(model))
    with serving(engine, shutdown_grace=0.1) as served:
        engine.allow(2)
        client = Streaming(served.url)
        waiting = threading.Thread(target=lambda: refusals.append(served.post("/completion", BODY)))
        refusals: list[httpx.Response] = []
        waiting.start()
        while len(served.server.worker.answers) < 2:
            time.sleep(0.001)
        served.server.stop()
        time.sleep(0.3)
        engine.let_go()
        client.join(20)
        waiting.join(20)
        assert client.failure is None
        assert client.events[-1]["error"]["code"] == "shutting_down"
        assert refusals[0].status_code == 503
        assert "ended early" in refusals[0].json()["error"]["message"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_answers_finish(process: Process, number: int) -> None:
    client = Streaming(process.url, n_predict=150)
    process.signal(number)
    code, out = process.end()
    client.join(PATIENCE)
    assert code == 0
    assert out.splitlines()[-1] == "stopped 0"
    assert client.failure is None
    assert client.events[-1]["tokens_predicted"] == 150


def test_the_second_signal_ends_it_now(model: Path) -> None:
    process = Process(model)
    try:
        # Two of thousands of tokens each: they cannot be done before the second signal.
        clients = [Streaming(process.url, n_predict=1500) for _ in range(2)]
        process.signal(signal.SIGTERM)
        assert process.line() == "stopping 2"
        process.signal(signal.SIGINT)
        code, out = process.end()
        for client in clients:
            client.join(PATIENCE)
            assert client.failure is None
            assert client.events[-1]["error"]["code"] == "shutting_down"
        assert (code, out) == (130, "stopped 2\n")
    finally:
        process.close()


def test_a_killed_server_leaves_its_port_free(process: Process, model: Path) -> None:
    port = int(process.url.rsplit(":", 1)[1])
    client = Streaming(process.url)
    os.kill(process.process.pid, signal.SIGKILL)
    client.join(PATIENCE)
    process.close()
    again = Process(model, port)
    try:
        assert httpx.get(f"{again.url}/health").status_code == 200
        again.signal(signal.SIGTERM)
        assert again.end()[0] == 0
    finally:
        again.close()
