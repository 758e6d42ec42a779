"""A whole server in a thread of the test, behind real HTTP on a free port."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from serving_engines import Held

from headlong import LLM
from headlong.progress import Progress
from headlong.server.running import Quiet, Server
from headlong.server.settings import ServerSettings


@dataclass
class Served:
    """A server that takes requests, and a client of it."""

    server: Server
    client: httpx.Client
    thread: threading.Thread
    code: int | None = None

    @property
    def url(self) -> str:
        return self.server.url

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def events(self, path: str, body: object, **options: Any) -> list[dict[str, Any]]:
        """The JSON of every event of a stream."""
        return [data for data in self.stream(path, body, **options) if isinstance(data, dict)]

    def stream(self, path: str, body: object, **options: Any) -> Iterator[dict[str, Any] | str]:
        """Events as they come; comments and ``[DONE]`` as text."""
        with self.client.stream("POST", path, json=body, **options) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line.removeprefix("data: "))
                elif line:
                    yield line


class _Announced(Quiet):
    def __init__(self) -> None:
        self.is_ready = threading.Event()

    def ready(self, url: str, llm: LLM) -> None:
        self.is_ready.set()


@contextmanager
def serving(
    load: Callable[[Progress], LLM], *, ready: bool = True, **settings: Any
) -> Iterator[Served]:
    """A running server; ``ready``: wait until the model is loaded."""
    announced = _Announced()
    server = Server(ServerSettings(port=0, **settings), load, events=announced)
    failure: list[BaseException] = []

    def run() -> None:
        try:
            served.code = asyncio.run(server.run(signals=False))
        except BaseException as error:
            failure.append(error)
        finally:
            announced.is_ready.set()

    thread = threading.Thread(target=run)
    with httpx.Client(base_url=server.url, timeout=20) as client:
        served = Served(server, client, thread)
        thread.start()
        try:
            if ready:
                assert announced.is_ready.wait(20)
            if failure:
                raise failure[0]
            yield served
        finally:
            if isinstance(load, Held):
                load.let_go()
            server.stop()
            server.stop()
            thread.join(20)
            assert not thread.is_alive()
