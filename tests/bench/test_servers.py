"""Servers are started, found, and gone afterwards, however the benchmark ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from headlong.bench.servers import RunningServer, ServerSpec, is_local, running
from headlong.errors import ParameterError, ServerError

SCRIPT = Path(__file__).with_name("small_server.py")
PATIENCE = 20.0


def spec(*how: str, port: str = "{port}", **fields: object) -> ServerSpec:
    command = (sys.executable, str(SCRIPT), port, *how)
    return ServerSpec("small", command=command, **fields)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_gone(*pids: int) -> None:
    until = time.monotonic() + PATIENCE
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < until, f"{pids} are still there"
        time.sleep(0.02)


def started(one: ServerSpec, log: Path, flags: tuple[str, ...] = ()) -> tuple[RunningServer, int]:
    """The server while it ran, and the status it gave."""

    async def go() -> tuple[RunningServer, int]:
        async with running(one, flags, log=log) as server, httpx.AsyncClient() as client:
            return server, (await client.get(f"{server.url}/v1/models")).status_code

    return asyncio.run(go())


def test_a_server_is_started_and_ended(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "small.log"
    server, status = started(spec("{flags}", "last"), log, ("first",))
    assert status == 200
    assert server.pid is not None
    assert not alive(server.pid)
    assert server.command is not None
    assert server.command.endswith("first last")
    said = log.read_text()
    assert said.startswith("$ ")
    assert f"pid {server.pid} listening" in said


def test_it_waits_while_the_server_loads(tmp_path: Path) -> None:
    server, _ = started(spec("slow"), tmp_path / "log")
    assert server.start_seconds >= 0.3


def test_the_port_is_read_from_the_log(tmp_path: Path) -> None:
    server, status = started(spec(port="0", port_pattern=r"port (\d+)"), tmp_path / "log")
    assert status == 200
    assert f"port {server.url.rpartition(':')[2]}" in (tmp_path / "log").read_text()


def test_a_server_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"ended with code 3 before it was ready(?s:.)*no such"):
        started(spec("fails"), tmp_path / "log")


def test_a_server_that_is_never_ready(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ServerError, match=r"was not ready in 0\.3 s"):
        started(spec("parent", "silent", ready_seconds=0.3), log)
    child = re.search(r"child (\d+)", log.read_text())
    if child:
        wait_gone(int(child[1]))


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    nothing = ServerSpec("gone", command=("/nowhere/serve", "{port}"))
    with pytest.raises(ServerError, match=r"'/nowhere/serve' cannot be started: No such file"):
        started(nothing, tmp_path / "log")


def test_a_stubborn_server_is_killed(tmp_path: Path) -> None:
    server, _ = started(spec("stubborn", stop_seconds=0.2), tmp_path / "log")
    assert server.pid is not None
    assert not alive(server.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="adoption is Linux's")
def test_what_left_the_group_goes_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    started(spec("parent"), log)
    child = re.search(r"child (\d+)", log.read_text())
    assert child
    assert not alive(int(child[1]))


BENCHMARK = """
import asyncio, sys, time
from pathlib import Path
from headlong.bench.servers import ServerSpec, running

async def main():
    spec = ServerSpec("small", command=(sys.executable, sys.argv[1], "{port}", "parent"))
    async with running(spec, log=Path(sys.argv[2])):
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="adoption is Linux's")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_benchmark_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", BENCHMARK, str(SCRIPT), str(log)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as benchmark:
        assert benchmark.stdout is not None
        assert benchmark.stdout.readline() == "ready\n"
        said = log.read_text()
        pids = [int(pid) for pid in re.findall(r"(?:child|pid) (\d+)", said)]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        benchmark.send_signal(how)
        benchmark.wait(PATIENCE)
    wait_gone(*pids)


def test_a_server_that_answers_at_the_port_already_is_not_taken_for_ours(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        one = spec(port=str(port), url=f"http://127.0.0.1:{port}")
        with pytest.raises(ServerError, match="something answers at"):
            started(one, tmp_path / "log")


def test_a_url_without_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = ServerSpec("nobody", url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(ServerError, match=f"nobody at http://127.0.0.1:{port} is not ready"):
        started(nobody, Path("unused"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give a url, or a command"),
        ({"command": ("serve",)}, r"needs \{port\}"),
        ({"url": "localhost:80"}, "no http:// or https:// URL"),
        ({"command": ("serve", "{port}", "{model}")}, r"has \{model\}, but none is given"),
        ({"command": ("serve",), "port_pattern": "port ("}, "port_pattern: "),
        ({"command": ("serve",), "port_pattern": "port"}, "one group"),
    ],
)
def test_a_server_that_cannot_be_reached_is_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        ServerSpec("it", **fields)  # type: ignore[arg-type]


def test_local_urls() -> None:
    assert is_local("http://127.0.0.1:80")
    assert is_local("http://localhost/v1")
    assert not is_local("http://gpu-box:8000")
