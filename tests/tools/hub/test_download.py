"""Downloads from a stand-in for the hub: whole, interrupted, refused, damaged, offline."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from headlong.errors import DownloadError
from headlong.progress import Silent, Stage
from headlong.tools.hub import Hub, Reference, fetch
from hub_stand_in import COMMIT, StandIn, stand_in
from tiny import TinySpec, write_tiny

SIZE = 300_000


class Counting:
    """A `Progress` that adds up."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0
        self.names: list[str] = []
        self.notes: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        self.names.append(name)
        self.total += total
        yield self

    def advance(self, amount: int) -> None:
        self.done += amount

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def remote() -> Iterator[StandIn]:
    with stand_in() as hub:
        hub.files["some/one/m-Q4_K_M.gguf"] = bytes(i % 251 for i in range(SIZE))
        yield hub


@pytest.fixture
def hub(remote: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    return Hub(remote.endpoint, tmp_path / "cache")


def get(hub: Hub, text: str = "hf:some/one", progress: Counting | None = None) -> Path:
    return fetch(Reference.parse(text), hub, progress or Silent())


def refusal(hub: Hub, text: str = "hf:some/one") -> str:
    with pytest.raises(DownloadError) as caught:
        get(hub, text)
    return str(caught.value)


def partial(hub: Hub) -> Path:
    (found,) = hub.folder("some/one").glob("blobs/*.headlong")
    return found


def test_a_file_arrives_whole_and_once(hub: Hub, remote: StandIn) -> None:
    progress = Counting()
    path = get(hub, progress=progress)
    assert path.read_bytes() == remote.files["some/one/m-Q4_K_M.gguf"]
    assert path.name == "m-Q4_K_M.gguf"
    assert path.parts[-3:-1] == ("snapshots", COMMIT)
    assert progress.names == ["downloading m-Q4_K_M.gguf"]
    assert progress.done == progress.total == SIZE
    sent = remote.sent
    again = Counting()
    assert get(hub, progress=again) == path
    assert again.names == []
    assert remote.sent - sent < 1000
    assert not list(hub.cache.rglob("*.headlong"))


def test_what_other_programs_downloaded_is_used(hub: Hub, remote: StandIn) -> None:
    content = remote.files["some/one/m-Q4_K_M.gguf"]
    blob = hub.folder("some/one") / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    progress = Counting()
    assert get(hub, progress=progress).read_bytes() == content
    assert progress.done == progress.total
    assert not [line for line in remote.asked if line.startswith("GET /storage")]


def test_a_split_model_arrives_with_all_parts(hub: Hub, remote: StandIn) -> None:
    for n in (1, 2, 3):
        remote.files[f"some/one/big/x-Q8_0-{n:05}-of-00003.gguf"] = bytes([n]) * n * 1000
    progress = Counting()
    path = get(hub, "hf:some/one:q8_0", progress)
    assert path.name == "x-Q8_0-00001-of-00003.gguf"
    assert [p.stat().st_size for p in sorted(path.parent.iterdir())] == [1000, 2000, 3000]
    assert progress.total == progress.done == 6000
    assert progress.names == ["downloading x-Q8_0-00001-of-00003.gguf and 2 more"]


def test_an_interrupted_download_goes_on(hub: Hub, remote: StandIn) -> None:
    remote.dead_after = 50_000
    message = refusal(hub)
    assert "goes on from there" in message
    have = partial(hub).stat().st_size
    assert 0 < have < SIZE
    remote.dead_after = None
    sent, remote.ranges_asked = remote.sent, []
    progress = Counting()
    path = get(hub, progress=progress)
    assert path.read_bytes() == remote.files["some/one/m-Q4_K_M.gguf"]
    assert remote.ranges_asked == [f"bytes={have}-"]
    assert remote.sent - sent < SIZE - have + 1000
    assert progress.done == progress.total == SIZE


def test_a_connection_that_breaks_goes_on_by_itself(hub: Hub, remote: StandIn) -> None:
    remote.cut_after = 100_000
    assert get(hub).read_bytes() == remote.files["some/one/m-Q4_K_M.gguf"]
    assert remote.ranges_asked


def test_a_server_without_ranges_sends_everything_again(hub: Hub, remote: StandIn) -> None:
    remote.dead_after = 50_000
    refusal(hub)
    remote.dead_after, remote.ranges = None, False
    progress = Counting()
    assert get(hub, progress=progress).read_bytes() == remote.files["some/one/m-Q4_K_M.gguf"]
    assert progress.done == progress.total


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * (SIZE + 1), b"x" * SIZE])
def test_remains_of_something_else_are_thrown_away(hub: Hub, remote: StandIn, left: bytes) -> None:
    content = remote.files["some/one/m-Q4_K_M.gguf"]
    file = hub.folder("some/one") / "blobs" / f"{hashlib.sha256(content).hexdigest()}.headlong"
    file.parent.mkdir(parents=True)
    file.write_bytes(left)
    if len(left) <= SIZE:
        assert "arrived damaged" in refusal(hub)
    assert get(hub).read_bytes() == content


def test_damage_is_found(hub: Hub, remote: StandIn) -> None:
    remote.damage = True
    assert "arrived damaged" in refusal(hub)
    assert not list(hub.cache.rglob("*.gguf"))
    remote.damage = False
    assert get(hub).read_bytes() == remote.files["some/one/m-Q4_K_M.gguf"]


def test_a_file_that_is_too_short_is_damaged(hub: Hub, remote: StandIn) -> None:
    remote.short = True
    message = refusal(hub)
    assert "arrived damaged" in message and "force_download" not in message


@pytest.mark.parametrize(
    "page",
    [b"<html>Log in</html>", b"[]", b"{}", b'{"id": "a/b", "sha": "../x", "siblings": []}'],
)
def test_answers_of_something_else(hub: Hub, remote: StandIn, page: bytes) -> None:
    remote.garbage = page
    assert remote.endpoint in refusal(hub)


def test_names_that_leave_the_folder_or_command_a_terminal_are_no_files(
    hub: Hub, remote: StandIn
) -> None:
    for name in ("../../m-Q8_0.gguf", "\x1b[2Jm-Q8_0.gguf", "a\\b-Q8_0.gguf", "/x-Q8_0.gguf"):
        remote.files[f"some/one/{name}"] = b"x"
    message = refusal(hub, "hf:some/one:Q8_0")
    assert "no file is of quantisation" in message and message.isprintable()


def test_a_full_disk_is_told_before(
    hub: Hub, remote: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1 << 28))
    message = refusal(hub)
    assert "0.2 GiB free" in message and "HF_HOME" in message
    assert not [line for line in remote.asked if line.startswith("GET /storage")]


def test_a_token_is_sent_to_the_hub_alone(hub: Hub, remote: StandIn) -> None:
    remote.token = "hf_secret"
    message = refusal(hub)
    assert "it is private" in message and "HF_TOKEN" in message
    message = refusal(replace(hub, token="hf_wrong"))
    assert "the token that is set" in message and "hf_wrong" not in message
    assert get(replace(hub, token="hf_secret")).exists()
    assert remote.tokens_at_storage == [""]


def test_refusals(hub: Hub, remote: StandIn) -> None:
    assert "there is no repository" in refusal(hub, "hf:some/other")
    assert "no such file" in refusal(hub, "hf:some/one/x.gguf")
    remote.gated = True
    assert "consent" in refusal(hub)
    remote.gated = False
    for status in (401, 403, 404, 418):
        remote.status = status
        assert "hf:some/one: " in refusal(hub)
    for status in (500, 503):
        remote.status = status
        message = refusal(hub)
        assert f"answers {status}" in message and "Nothing that suits" in message


def test_without_a_connection_the_cache_is_used(hub: Hub, remote: StandIn) -> None:
    path = get(hub)
    gone = replace(hub, endpoint="http://127.0.0.1:9")
    progress = Counting()
    assert get(gone, progress=progress) == path
    assert "cannot be reached" in progress.notes[0]
    message = refusal(gone, "hf:some/one:Q8_0")
    assert "cannot be reached" in message and str(hub.cache) in message
    remote.asked.clear()
    offline = Counting()
    assert get(replace(hub, offline=True), progress=offline) == path
    assert offline.notes == [] and remote.asked == []
    message = refusal(replace(hub, offline=True), "hf:some/two")
    assert "HF_HUB_OFFLINE" in message


def test_two_downloads_of_one_file_do_not_meet(hub: Hub, remote: StandIn) -> None:
    fcntl = pytest.importorskip("fcntl")
    content = remote.files["some/one/m-Q4_K_M.gguf"]
    file = hub.folder("some/one") / "blobs" / f"{hashlib.sha256(content).hexdigest()}.headlong"
    file.parent.mkdir(parents=True)
    with file.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process" in refusal(hub)
    assert get(hub).exists()


# --- As a command


def environment(remote: StandIn, tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    home = {"HF_ENDPOINT": remote.endpoint, "HF_HOME": str(tmp_path / "home")}
    return {**kept, **home, "NO_PROXY": "*", "no_proxy": "*"}


def test_commands_take_a_model_of_the_hub(remote: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_tiny(file, TinySpec())
    remote.files["some/two/t-Q8_0.gguf"] = file.read_bytes()
    command = (sys.executable, "-m", "headlong.cli")

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {**environment(remote, tmp_path), **more}
        return subprocess.run([*command, *arguments], env=env, capture_output=True, text=True)

    done = run("run", "hf:some/two:q8_0", "-p", "a", "-n", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a")
    done = run("inspect", "hf:some/two", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert "t-Q8_0.gguf" in done.stdout.replace("\n", "").replace(" ", "")
    for reference, words in (("hf:some", "names no repository"), ("hf:a/b", "no repository")):
        done = run("chat", reference)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and words in done.stderr
        assert "Traceback" not in done.stderr


def test_an_interrupt_keeps_what_has_come(remote: StandIn, tmp_path: Path) -> None:
    remote.files["some/big/b.gguf"] = bytes(40 << 20)
    remote.dead_after = 15 << 20
    command = (sys.executable, "-m", "headlong.cli", "inspect", "hf:some/big")
    process = subprocess.Popen(
        command, env=environment(remote, tmp_path), stderr=subprocess.PIPE, text=True
    )
    with process:
        deadline = time.monotonic() + 30
        while not [p for p in tmp_path.rglob("*.headlong") if p.stat().st_size > 8 << 20]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on from here" in err and "Traceback" not in err
    assert [p for p in tmp_path.rglob("*.headlong") if p.stat().st_size]
