"""The server as a process: what it prints, how it starts, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cli_runs import Run

from headlong.server.settings import declared_settings
from hub_stand_in import stand_in

COMMAND = (sys.executable, "-m", "headlong.cli", "serve")
# Starting takes a second; a busy machine may take many times that.
PATIENCE = 60
READY = re.compile(r"^ready: (http://\S+)", re.MULTILINE)


class Serving:
    """A server in a process of its own, and what it has printed so far."""

    def __init__(self, *arguments: object, environment: dict[str, str] | None = None) -> None:
        command = [*COMMAND, *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        streams = {"out": self.process.stdout, "err": self.process.stderr}
        self._readers = [
            threading.Thread(target=lambda n=name, s=stream: self._lines[n].extend(s))
            for name, stream in streams.items()
        ]
        for reader in self._readers:
            reader.start()

    @property
    def out(self) -> str:
        return "".join(self._lines["out"])

    @property
    def err(self) -> str:
        return "".join(self._lines["err"])

    def url(self) -> str:
        """Where it serves, once it does."""
        deadline = time.monotonic() + PATIENCE
        while (found := READY.search(self.out)) is None or "try: " not in self.out:
            assert self.process.poll() is None, self.err
            assert time.monotonic() < deadline, self.out + self.err
            time.sleep(0.02)
        return found[1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the process and for the last of what it printed; the exit code."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        assert "Traceback" not in self.out + self.err
        return code


@contextmanager
def serving(*arguments: object, **options: dict[str, str]) -> Iterator[Serving]:
    server = Serving(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        for reader in server._readers:
            reader.join(PATIENCE)
        for stream in (server.process.stdout, server.process.stderr):
            assert stream is not None
            stream.close()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@contextmanager
def long_answer(url: str) -> Iterator[Iterator[str]]:
    """An answer that goes on for a while, its first event read; yields what follows."""
    body = {"prompt": "hello", "n_predict": 100_000, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{url}/completion", json=body, timeout=PATIENCE) as response:
        events = response.iter_text()
        next(events)
        yield events


# --- Starting


def test_a_start_tells_what_to_do_next(model: Path) -> None:
    with serving(model, "--port", 0, "-np", 2, "-c", 256) as server:
        url = server.url()
        assert url.startswith("http://127.0.0.1:")
        assert f"chat page: {url}/" in server.out
        assert "MTP head: in the file" in server.out
        assert "2 slots, context 256" in server.out
        assert httpx.get(f"{url}/health").status_code == 200
        shown = re.search(r"^try: (curl .*)$", server.out, re.MULTILINE)
        assert shown is not None and f"{url}/v1/chat/completions" in shown[1]
        assert "weights" in server.err and "for 2 slots of 256 tokens" in server.err
        assert "warning" not in server.err
        answer = httpx.post(f"{url}/completion", json={"prompt": "a", "n_predict": 3})
        assert answer.status_code == 200, answer.text
        server.signal(signal.SIGTERM)
        assert server.end() == 0
        assert server.err.endswith("stopped\n")
        assert '"POST /completion' in server.err or "POST /completion 200" in server.err


def test_a_file_without_a_head_is_told(headless: Path) -> None:
    with serving(headless, "--port", 0) as server:
        server.url()
        assert "MTP head: none in this file" in server.out
        assert "nextn_predict_layers" in server.out
        server.signal(signal.SIGINT)
        assert server.end() == 0


def test_a_port_in_use_is_told_at_once_with_one_that_is_free(model: Path, run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("serve", model, "--port", port)
    assert result.code == 1
    assert f"port {port} of 127.0.0.1 is in use" in result.err
    free = re.search(r"take --port (\d+)", result.err)
    assert free is not None and int(free[1]) > port


def test_a_wide_address_without_a_key_is_warned_about(model: Path, tmp_path: Path) -> None:
    with serving(model, "--port", 0, "--host", "0.0.0.0") as server:
        assert server.url().startswith("http://127.0.0.1:")
        assert "warning: 0.0.0.0 can be reached from other machines" in server.err
    keys = tmp_path / "keys"
    keys.write_text("secret-key\n")
    with serving(model, "--port", 0, "--host", "0.0.0.0", "--api-key-file", keys) as server:
        server.url()
        assert "warning" not in server.err
        assert "Authorization: Bearer" in server.out
        assert "secret-key" not in server.out + server.err


def test_a_model_of_the_hub_is_downloaded_and_served(model: Path, tmp_path: Path) -> None:
    with stand_in() as hub:
        hub.files["some/one/m-Q4_K_M.gguf"] = model.read_bytes()
        environment = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "*",
        }
        with serving("hf:some/one:Q4_K_M", "--port", 0, environment=environment) as server:
            url = server.url()
            assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "some/one:Q4_K_M"
            server.signal(signal.SIGTERM)
            assert server.end() == 0
    assert list(tmp_path.rglob("m-Q4_K_M.gguf"))


def test_prompts_are_logged_only_where_that_is_asked_for(model: Path) -> None:
    for flags in ((), ("--log-prompts",), ("--log-prompts", "--log-level", "warning")):
        with serving(model, "--port", 0, *flags) as server:
            body = {"prompt": "say\nhello", "n_predict": 3}
            answer = httpx.post(f"{server.url()}/completion", json=body).json()["content"]
            server.signal(signal.SIGTERM)
            assert server.end() == 0
            logged = flags == ("--log-prompts",)
            assert (r"prompt: 'say\nhello'" in server.err) is logged
            assert (f"answer: {answer!r}" in server.err) is logged
            assert ("POST /completion 200" in server.err) is ("warning" not in flags)
            assert "say\n" not in server.err


# --- Ending


def test_a_signal_lets_an_answer_finish(model: Path) -> None:
    with serving(model, "--port", 0, "-c", 2000) as server, long_answer(server.url()) as events:
        server.signal(signal.SIGTERM)
        rest = "".join(events)
        assert '"stop":true' in rest.replace(" ", "")
        assert server.end() == 0
        assert "1 answer has 30 s to finish" in server.err
        assert server.err.endswith("stopped\n")


def test_an_answer_that_takes_too_long_is_cut_and_told(model: Path) -> None:
    settings = {"HEADLONG_SHUTDOWN_GRACE": "0"}
    with (
        serving(model, "--port", 0, "-c", 4096, environment=settings) as server,
        long_answer(server.url()) as events,
    ):
        server.signal(signal.SIGTERM)
        rest = "".join(events)
        assert server.end() == 0
        assert ("stopped; 1 unfinished" in server.err) == ('"error"' in rest)


def test_a_second_interrupt_ends_at_once(model: Path) -> None:
    with serving(model, "--port", 0, "-c", 4096) as server, long_answer(server.url()) as events:
        began = time.monotonic()
        server.signal(signal.SIGINT)
        time.sleep(0.02)
        server.signal(signal.SIGINT)
        rest = "".join(events)
        assert server.end() == (130 if "unfinished" in server.err else 0)
        assert ("unfinished" in server.err) == ('"error"' in rest)
        assert time.monotonic() - began < 10


def test_after_a_kill_the_same_port_can_be_taken_again(model: Path) -> None:
    with serving(model, "--port", 0, "-c", 4096) as server:
        url = server.url()
        with long_answer(url):
            server.signal(signal.SIGKILL)
            assert server.end() == -signal.SIGKILL
    with serving(model, "--port", port_of(url)) as server:
        assert server.url() == url
        assert httpx.get(f"{url}/health").status_code == 200
        server.signal(signal.SIGTERM)
        assert server.end() == 0


def test_an_interrupt_while_loading_ends_cleanly(model: Path) -> None:
    with serving(model, "--port", 0) as server:
        deadline = time.monotonic() + PATIENCE
        while "listening on" not in server.err:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        server.signal(signal.SIGINT)
        assert server.end() == 0


# --- Settings


def test_settings_are_printed_and_taken_again(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("serve", model, "-np", 3, "--fit", "off", "--api-key", "k", "--print-config")
    assert result.code == 0
    table = tomllib.loads(result.out)
    assert (table["model"], table["parallel"], table["fit"]) == (str(model), 3, False)
    assert "api-key" not in table and "# api-key" in result.out
    config = tmp_path / "own.toml"
    config.write_text(result.out)
    again = run("serve", "--config", config, "--print-config")
    assert tomllib.loads(again.out) == {**table, "api-key": []}  # it was masked
    assert f"parallel = 3  # {config}, line" in again.out


def test_a_server_from_a_file_and_variables(model: Path, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text(f'model = "{model}"\nport = 0\nparallel = 2\nalias = "mine"\n')
    variables = {"HEADLONG_CONFIG": str(config), "HEADLONG_PARALLEL": "3"}
    with serving(environment=variables) as server:
        url = server.url()
        assert "3 slots" in server.out
        assert f"settings from {config}" in server.err
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "mine"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--port", "x"), "--port: 'x' is not a whole number"),
        (("-np", "0"), "--parallel: 0 is not a whole number from 1"),
        (("--fit", "maybe"), "--fit: 'maybe' is neither on nor off"),
        (("-ctk", "f16", "-ctv", "q8_0"), "--cache-type is given as 'f16' and as 'q8_0'"),
        (("--spec-type", "none", "--spec-draft-n-max", "3"), "spec-draft-n-max = 3"),
        (("-c", "100000"), "ctx-size = 100000 is not a whole number from 2 to"),
        (("-m", "other.gguf"), "two models are given"),
        (("--config", "/nowhere/x.toml"), "/nowhere/x.toml: No such file"),
        (("--api-key-file", "/nowhere/keys"), "/nowhere/keys: No such file"),
        (("--host", "no.such.host.invalid"), "is no address of this machine"),
        (("--isa", "mmx"), "--isa: instruction set 'mmx'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    run: Run, model: Path, flags: tuple[str, ...], words: str
) -> None:
    result = run("serve", model, "--port", "0", *flags)
    assert result.code == 1
    assert words in result.err
    assert result.err.splitlines()[-1].startswith("error: ")


def test_other_mistakes(
    run: Run, headless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no model is given" in run("serve").err
    missing = run("serve", tmp_path / "none.gguf", "--port", 0)
    assert missing.code == 1 and "none.gguf" in missing.err
    asked = run("serve", headless, "--port", 0, "--spec-draft-n-max", 3)
    assert asked.code == 1 and "no MTP head to draft with" in asked.err
    assert run("serve", headless, "--prot", 1).code == 2
    monkeypatch.setenv("HEADLONG_PROT", "1")
    assert "the nearest is HEADLONG_PORT" in run("serve", headless).err


def test_a_template_is_looked_at_before_requests_come(
    run: Run, model: Path, tmp_path: Path
) -> None:
    template = tmp_path / "t.jinja"
    asked = ("serve", model, "--port", 0, "--chat-template-file", template)
    assert "t.jinja: No such file" in run(*asked).err
    template.write_bytes(b"\xff")
    assert "--chat-template-file: " in run(*asked).err
    template.write_text("{% if %}")
    result = run(*asked)
    assert result.code == 1 and "template" in result.err and "ready" not in result.out


def test_too_little_memory_is_told_before_loading(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headlong.tools.available_memory import AvailableMemory

    little = AvailableMemory(500 << 20, "left by a test")
    monkeypatch.setattr("headlong.tools.available_memory.available_memory", lambda: little)
    result = run("serve", model, "--port", 0, "--fit", "off", "-np", 256)
    assert result.code == 1
    assert "not enough memory" in result.err and "0.5 GiB left by a test" in result.err
    assert re.search(r"-c \d+", result.err)


def test_every_setting_is_among_the_flags(run: Run) -> None:
    shown = run("serve", "--help").out
    # Long names are cut on a narrow terminal.
    assert all(one.flag[:12] in shown for one in declared_settings())
