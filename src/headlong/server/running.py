"""A server's life: listen, load, serve, and end in good order.

The first signal lets running answers finish, for as long as the settings give them; meanwhile new
requests are told to go elsewhere.  The second ends everything now.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import uvicorn

from headlong.llm import LLM
from headlong.progress import Progress
from headlong.server.app import create_app
from headlong.server.listening import address_of, listen
from headlong.server.prompt_log import PromptLog
from headlong.server.refusals import ShuttingDown
from headlong.server.service import Service
from headlong.server.settings import ServerSettings
from headlong.server.worker import Limits, Worker

__all__ = ["Events", "Quiet", "Server", "run_server"]

_log: Final = logging.getLogger("headlong.server")

INTERRUPTED: Final = 130
"""Exit code where a second signal did not let answers finish, as shells have it for Ctrl-C."""

_FLUSH_SECONDS: Final = 5
"""After the last answer, for slow clients to fetch what is theirs."""
_LAST_WORDS: Final = 0.2
"""Before everything is cut, for the events that say so."""
_IDLE_CONNECTION: Final = 75
"""Longer than clients keep theirs, so that none sends into a connection that is being closed."""


class Events(Protocol):
    """Who tells the user how it goes; called on the event loop."""

    def listening(self, url: str) -> None:
        """The port is taken; loading begins."""

    def ready(self, url: str, llm: LLM) -> None:
        """Requests are taken."""

    def stopping(self, answers: int, seconds: float) -> None:
        """The first signal came, and so many answers have so long to finish."""

    def stopped(self, unfinished: int) -> None:
        """Nothing runs any more; so many answers were cut short."""


class Quiet:
    """`Events` that nobody hears of."""

    def listening(self, url: str) -> None:
        """Say nothing."""

    def ready(self, url: str, llm: LLM) -> None:
        """Say nothing."""

    def stopping(self, answers: int, seconds: float) -> None:
        """Say nothing."""

    def stopped(self, unfinished: int) -> None:
        """Say nothing."""


def run_server(
    settings: ServerSettings,
    load: Callable[[Progress], LLM],
    *,
    events: Events | None = None,
    progress: Progress | None = None,
) -> int:
    """Serve until a signal; returns the exit code.

    Args:
        settings: all of them.
        load: makes the model; called in the engine's thread.
        events: who is told how it goes.
        progress: where loading is shown.

    Raises what `listen` raises at once, and what ``load`` raised once the server has ended.
    """
    server = Server(settings, load, events=events, progress=progress)
    code = asyncio.run(server.run(signals=True))
    if server.thread_lives:
        # Native code that cannot be interrupted; leaving while it runs would crash at the end.
        logging.shutdown()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


class Server:
    """One server.  `run` is its whole life; `stop` may be called from any thread."""

    def __init__(
        self,
        settings: ServerSettings,
        load: Callable[[Progress], LLM],
        *,
        events: Events | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._settings = settings
        self._keys = settings.api_keys
        self._events = events or Quiet()
        self._socket = listen(settings.host, settings.port)
        self.url = address_of(self._socket, settings.host)
        """Where it listens."""
        self.worker = Worker(
            load,
            Limits(
                queue=settings.queue_limit,
                queue_seconds=settings.queue_timeout or None,
                request_seconds=settings.timeout or None,
            ),
            progress,
            per_token=settings.stream_per_token,
        )
        if settings.log_prompts:
            self.worker.observers.append(PromptLog(self.worker).observe)
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def thread_lives(self) -> bool:
        """Whether the engine's thread did not end in time."""
        return not self.worker.join(0)

    def stop(self) -> None:
        """Begin to end; a second call ends at once."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._signalled)

    async def run(self, *, signals: bool) -> int:
        """Serve until stopped, by signals too if wanted; returns the exit code."""
        self._loop = asyncio.get_running_loop()
        if signals:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._signalled)
        http = _Uvicorn(self._config())
        serving = asyncio.create_task(http.serve(sockets=[self._socket]))
        self.worker.start()
        self._events.listening(self.url)
        try:
            if await self._loaded():
                self._events.ready(self.url, self.worker.llm)
                await _first_of(self._first.wait(), _ended(serving))
                self._events.stopping(len(self.worker.answers), self._settings.shutdown_grace)
            drained = self.worker.drain(self._settings.shutdown_grace)
            await _first_of(drained, self._second.wait())
        finally:
            unfinished = len(self.worker.answers)
            self.worker.stop()
            http.should_exit = True
            if self._second.is_set():
                await asyncio.sleep(_LAST_WORDS)
                http.force_exit = True
            await serving
            patience = 1.0 if self._second.is_set() else 10.0
            await asyncio.to_thread(self.worker.join, patience)
        self._events.stopped(unfinished)
        return INTERRUPTED if self._second.is_set() and unfinished else 0

    async def _loaded(self) -> bool:
        """Whether there is a model; False if the end was asked for before."""
        loading = asyncio.ensure_future(self.worker.loaded())
        await _first_of(loading, self._first.wait())
        if loading.cancelled():
            return False
        with suppress(ShuttingDown):
            loading.result()
            return True
        return False

    def _signalled(self) -> None:
        (self._second if self._first.is_set() else self._first).set()

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            create_app(Service(self.worker, self._settings), keys=self._keys),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_CONNECTION,
            timeout_graceful_shutdown=_FLUSH_SECONDS,
        )


class _Uvicorn(uvicorn.Server):
    """uvicorn, without its ideas about signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def _first_of(*awaitables: Awaitable[object]) -> None:
    """Wait for one of them; the others are cancelled.  Raises nothing of theirs."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended(task: asyncio.Task[None]) -> None:
    """Return when a task has ended, without owning it."""
    await asyncio.wait({task})
