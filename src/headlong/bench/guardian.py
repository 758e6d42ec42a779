"""Runs one server for a benchmark and ends it, and all it started, however the benchmark ended.

A program of its own (`python -I guardian.py STOP_SECONDS COMMAND...`), because only another process
outlives one that is killed.  The benchmark holds the other end of its standard input: when that is
closed, by choice or because the benchmark is gone, the server is asked to end and, after
STOP_SECONDS, made to.  It tells of itself in JSON lines on standard output: ``{"pid": ...}`` or
``{"failed": ...}`` first, ``{"ended": ...}`` with the exit code when the server ends.  Standard
error is the server's log.  Standard library alone, and idle while the server runs.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: what loses its parent becomes a child of this process, not of init."""
_PATIENCE = 5.0
"""Seconds for the system to take away what was killed."""
_POLL = 0.02


def main(words: list[str]) -> int:
    """Run the command until it or the benchmark ends; returns the exit code."""
    stop_seconds, command = float(words[0]), words[1:]
    adopts = _adopt_orphans()
    awake, wake = os.pipe()
    for end in (awake, wake):
        os.set_blocking(end, False)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C is the benchmark's to answer
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=2, stderr=2, start_new_session=True
        )
    except OSError as error:
        _tell({"failed": error.strerror or str(error)})
        return 127
    _tell({"pid": server.pid})
    code = _watch(server.pid, awake)
    if code is not None:
        _tell({"ended": code})
    assert server.stdin is not None
    with suppress(BrokenPipeError):
        server.stdin.close()
    _end_group(server.pid, stop_seconds if code is None else 0.0)
    if adopts:
        _end_adopted()
    return 0


def _watch(pid: int, awake: int) -> int | None:
    """Sleep until the server ends (its exit code) or should end (None)."""
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if 0 in ready and not os.read(0, 1 << 16):
            return None
        if awake in ready:
            numbers = os.read(awake, 1 << 12)
            code = _reap(pid)
            if code is not None:
                return code
            if signal.SIGTERM in numbers:
                return None


def _reap(pid: int) -> int | None:
    """Take away all children that ended; the exit code of `pid` if it was one of them."""
    code = None
    with suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == 0:
                break
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
    return code


def _end_group(group: int, patience: float) -> None:
    """Ask the group to end, and make it after `patience` seconds."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, _PATIENCE)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
        until = time.monotonic() + seconds
        while True:
            _reap(group)
            try:
                os.killpg(group, 0)
            except (ProcessLookupError, PermissionError):
                return
            if time.monotonic() >= until:
                break
            time.sleep(_POLL)


def _end_adopted() -> None:
    """Kill what left the group: its parents are gone, so one after another becomes a child."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        _reap(0)
        children = _children()
        if not children:
            return
        for pid in children:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL)


def _children() -> list[int]:
    own = os.getpid()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                # pid (name) state ppid ...; a name may hold spaces and brackets
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == own:
                    found.append(int(entry.name))
    return found


def _adopt_orphans() -> bool:
    """Whether the system lets this process adopt (Linux alone)."""
    if not sys.platform.startswith("linux"):
        return False
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0) == 0)
    return False


def _tell(fact: dict[str, int | str]) -> None:
    with suppress(BrokenPipeError):
        print(json.dumps(fact), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
