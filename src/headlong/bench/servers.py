"""Servers that a benchmark starts itself: ports, logs, ready checks, and no orphan left behind.

A server runs under a guardian (`guardian.py`), which ends it and everything that it started as soon
as this process closes a pipe or is gone: after an error, Ctrl-C, `kill -9`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from headlong.errors import ParameterError, ServerError
from headlong.progress import Progress, Silent

__all__ = ["RunningServer", "ServerSpec", "is_local", "running"]

READY_SECONDS: Final = 600.0
STOP_SECONDS: Final = 20.0
_GUARDIAN: Final = Path(__file__).with_name("guardian.py")
_POLL: Final = 0.1
_ATTEMPTS: Final = 3
"""A free port can be taken by somebody else before the server takes it."""
_LOG_SHOWN: Final = 1500
"""Characters of a log's end in an error message."""
_GUARDIAN_GRACE: Final = 15.0
"""Seconds for the guardian beyond those that the server is given."""
_READY_PATHS: Final = ("/health", "/v1/models")
"""Asked in this order where the plan names no path; a 404 leads to the next."""
_NO_ANSWER: Final = (httpx.TransportError, httpx.InvalidURL)


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server that runs already (`url`) or is to be started (`command`).

    In a command ``{port}``, ``{model}`` and ``{flags}`` (a mode's own) are replaced.  Its port is
    chosen here where it holds ``{port}``, read from the log where `port_pattern` is set, else
    taken from `url`.

    Raises:
        ParameterError: the fields do not say how to reach it.
    """

    name: str
    url: str | None = None
    command: tuple[str, ...] = ()
    model: str | None = None  # path of its GGUF file, for ``{model}`` and the roofline
    ready_path: str | None = None
    ready_seconds: float = READY_SECONDS
    stop_seconds: float = STOP_SECONDS
    port_pattern: str | None = None  # regular expression whose group 1 is the port
    environment: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        own_port = any("{port}" in word for word in self.command)
        if not self.command and self.url is None:
            raise ParameterError(f"server {self.name}: give a url, or a command that starts it")
        if self.command and not (own_port or self.port_pattern or self.url):
            raise ParameterError(
                f"server {self.name}: the command needs {{port}}, or the plan a port_pattern that "
                "finds the port in its output, or a url"
            )
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise ParameterError(f"server {self.name}: {self.url!r} is no http:// or https:// URL")
        if any("{model}" in word for word in self.command) and self.model is None:
            raise ParameterError(
                f"server {self.name}: the command has {{model}}, but none is given"
            )
        if self.port_pattern is not None:
            try:
                groups = re.compile(self.port_pattern).groups
            except re.error as error:
                raise ParameterError(f"server {self.name}: port_pattern: {error}") from error
            if groups != 1:
                raise ParameterError(
                    f"server {self.name}: port_pattern needs one group, around the port"
                )

    def words(self, port: int, flags: Sequence[str]) -> list[str]:
        """The command with everything replaced; flags go to the end without ``{flags}``."""
        words: list[str] = []
        for word in self.command:
            if word == "{flags}":
                words += flags
            else:
                words.append(word.replace("{port}", str(port)).replace("{model}", self.model or ""))
        return words if "{flags}" in self.command else [*words, *flags]


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answered its ready check."""

    url: str  # scheme, host and port, no path
    pid: int | None  # None where it was not started here
    command: str | None
    log: Path | None
    start_seconds: float  # from start to ready; 0 where it was not started here


def is_local(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


@asynccontextmanager
async def running(
    spec: ServerSpec,
    flags: Sequence[str] = (),
    *,
    log: Path | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[RunningServer]:
    """Start the server if it is not there yet, wait until it is ready, end it afterwards.

    Args:
        spec: which server.
        flags: a mode's own words of the command.
        log: file for its output, appended to; needed to start one.
        progress: told what is waited for.

    Raises:
        ServerError: it cannot be started, ends, or is not ready in time; the message ends with
            the end of its log.
    """
    if not spec.command:
        assert spec.url is not None
        base = _base(spec.url)
        await _wait_ready(spec, base, None)
        yield RunningServer(base, None, None, None, 0.0)
        return
    if log is None:
        raise ParameterError(f"server {spec.name}: no file for its log")
    server = await _start(spec, flags, log, progress or Silent())
    try:
        yield server.running
    finally:
        await server.stop()


class _Guarded:
    """A guardian and what it guards."""

    def __init__(self, spec: ServerSpec, words: list[str], log: Path) -> None:
        self._spec = spec
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        self._ended: int | None = None
        self.words = words
        self.running: RunningServer
        environment = {**os.environ, **dict(spec.environment)}
        with log.open("ab") as output:
            output.write(f"$ {shlex.join(words)}\n".encode())
            output.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARDIAN), str(spec.stop_seconds), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said = json.loads(line) if line else {"failed": "its guardian ended"}
        if "failed" in said:
            self._close()
            raise ServerError(
                f"server {spec.name}: '{words[0]}' cannot be started: {said['failed']}"
            )
        self.pid = int(said["pid"])
        os.set_blocking(self._process.stdout.fileno(), False)

    def exit_code(self) -> int | None:
        """Of the server, if it ended."""
        assert self._process.stdout is not None
        if self._ended is None:
            line = self._process.stdout.readline()
            if line:
                self._ended = int(json.loads(line)["ended"])
            elif self._process.poll() is not None:
                self._ended = self._process.returncode
        return self._ended

    def output(self) -> str:
        """What the server printed."""
        with self._log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def failure(self, what: str) -> ServerError:
        tail = self.output()[-_LOG_SHOWN:].strip()
        return ServerError(f"server {self._spec.name} {what}; the end of {self._log}:\n{tail}")

    async def stop(self) -> None:
        """Let the guardian end the server, and wait for both.

        The pipe is closed first: whatever interrupts the wait, the guardian does its work.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        until = time.monotonic() + self._spec.stop_seconds + _GUARDIAN_GRACE
        while self._process.poll() is None and time.monotonic() < until:
            await asyncio.sleep(_POLL / 5)
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        if self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)


async def _start(spec: ServerSpec, flags: Sequence[str], log: Path, progress: Progress) -> _Guarded:
    log.parent.mkdir(parents=True, exist_ok=True)
    choose = any("{port}" in word for word in spec.command)
    if not choose and spec.port_pattern is None and spec.url is not None:
        base = _base(spec.url)
        if _answers(base):
            raise ServerError(
                f"server {spec.name}: something answers at {base} already; end it, or write "
                "{port} into the command for a free port"
            )
    for attempt in range(_ATTEMPTS):
        port = _free_port() if choose else 0
        began = time.monotonic()
        server = _Guarded(spec, spec.words(port, flags), log)
        with progress.stage(f"starting {spec.name}", 1, "") as stage:
            try:
                base = await _base_of(spec, server, port)
                await _wait_ready(spec, base, server)
                stage.advance(1)
            except BaseException as error:
                await server.stop()
                taken = choose and isinstance(error, ServerError) and _answers(_local(port))
                if taken and attempt + 1 < _ATTEMPTS:
                    continue
                raise
        server.running = RunningServer(
            base, server.pid, shlex.join(server.words), log, time.monotonic() - began
        )
        return server
    raise AssertionError("the last attempt returns or raises")


async def _base_of(spec: ServerSpec, server: _Guarded, port: int) -> str:
    if port:
        return _local(port)
    if spec.port_pattern is None:
        assert spec.url is not None
        return _base(spec.url)
    until = time.monotonic() + spec.ready_seconds
    while True:
        found = re.search(spec.port_pattern, server.output())
        if found:
            return _local(int(found[1]))
        code = server.exit_code()
        if code is not None:
            raise server.failure(f"ended with code {code} before it told its port")
        if time.monotonic() > until:
            raise server.failure(f"told no port in {spec.ready_seconds:g} s")
        await asyncio.sleep(_POLL)


async def _wait_ready(spec: ServerSpec, base: str, server: _Guarded | None) -> None:
    """Return when it answers 200.  A server that was not started here gets one chance."""
    paths = [spec.ready_path] if spec.ready_path else list(_READY_PATHS)
    until = time.monotonic() + (spec.ready_seconds if server else 0.0)
    said = "no answer"
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
        while True:
            try:
                status = (await client.get(base + paths[0])).status_code
                if status < 300:
                    return
                said = f"status {status} from {paths[0]}"
                if status in (401, 403):
                    return  # it is there, and wants a key for this
                if status in (404, 405) and len(paths) > 1:
                    paths.pop(0)
                    continue
            except _NO_ANSWER as error:
                said = str(error) or type(error).__name__
            if server is None:
                raise ServerError(f"server {spec.name} at {base} is not ready: {said}")
            code = server.exit_code()
            if code is not None:
                raise server.failure(f"ended with code {code} before it was ready")
            if time.monotonic() > until:
                raise server.failure(f"was not ready in {spec.ready_seconds:g} s ({said})")
            await asyncio.sleep(_POLL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _base(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _answers(base: str) -> bool:
    """Whether something listens there."""
    parts = urlsplit(base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=1.0).close()
    except OSError:
        return False
    return True
