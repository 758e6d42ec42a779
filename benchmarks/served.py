"""`headlong serve` as a process of its own, for benchmarks that talk HTTP to it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

READY_SECONDS = 300
STOP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready."""

    process: subprocess.Popen[str]
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self, how: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(how)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def serve(model: Path, flags: Sequence[str] = ()) -> Iterator[Server]:
    """Start it on a free port, wait until it is ready, and end it afterwards.

    Raises `RuntimeError` with its last words if it does not start.
    """
    command = [sys.executable, "-m", "headlong.cli", "serve", str(model), "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = []
        found = None
        for line in process.stdout:
            said.append(line)
            found = found or re.search(r"http://([\d.]+):(\d+)", line)
            if found:
                break
        if found is None:
            raise RuntimeError("headlong serve did not start:\n" + "".join(said[-20:]))
        server = Server(process, found[1], int(found[2]))
        _drain(process)
        _wait(server)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _drain(process: subprocess.Popen[str]) -> None:
    """Read on, so that a full pipe never stops the server."""
    assert process.stdout is not None
    threading.Thread(target=process.stdout.read, daemon=True).start()


def _wait(server: Server) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        try:
            with urlopen(f"{server.url}/health", timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("headlong serve did not get ready")
