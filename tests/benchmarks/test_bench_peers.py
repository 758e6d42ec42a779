"""Peers: servers of both dialects, commands, the wheel; and what is said when they fail."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import pytest
from benchmarks.peers import Command, has_wheel, llama_arm
from benchmarks.session import Answer, PeerError, Piece, Setup

from benchmarks import peers
from tiny import Chain, TinySpec, write_tiny

ENGINE = Path(__file__).with_name("fake_engine.py")
TOKENS = list(range(100, 120))


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    (tmp_path / "answer.json").write_text(json.dumps(TOKENS))
    return Setup(tmp_path / "answer.json", context=256, threads=1)


def serving(dialect: str) -> Command:
    words = [sys.executable, str(ENGINE), "serve", "{port}", dialect, "{model}"]
    return Command.parse(f"fake:{dialect}={shlex.join(words)}")


@pytest.mark.parametrize("dialect", ["llama", "openai"])
def test_tokens_and_their_moments(setup: Setup, dialect: str) -> None:
    with serving(dialect).arm().open(setup) as session:
        answer = session.generate([1, 2, 3], 10)
    assert answer.tokens == tuple(TOKENS[:10])
    assert answer.text == "".join(chr(ord("a") + token % 26) for token in TOKENS[:10])
    assert answer.count == 10
    # One token with the prompt, then three rounds of three.
    assert answer.pieces[0].count == 1
    assert answer.first_seconds >= 0.05
    # The first may be read late, on a busy machine, but no round before it was sent.
    assert answer.pieces[-1].seconds >= 0.05 + 3 * 0.02
    assert answer.per_second == pytest.approx(
        9 / (answer.pieces[-1].seconds - answer.first_seconds)
    )
    assert (answer.drafted, answer.accepted) == ((9, 6) if dialect == "llama" else (0, 0))


@pytest.mark.parametrize("dialect", ["llama-without-ids", "openai-without-ids"])
def test_engines_that_tell_no_ids_are_known_by_text(setup: Setup, dialect: str) -> None:
    with serving(dialect).arm().open(setup) as session:
        answer = session.generate([1], 10)
        again = session.generate([1], 7)
    assert answer.tokens is None
    assert answer.count == 10
    assert len(answer.text) == 10
    assert again.count == 7


def test_a_server_that_answers_too_little(setup: Setup) -> None:
    with (
        serving("llama").arm().open(setup) as session,
        pytest.raises(PeerError, match="20 tokens were answered where 30 were asked for"),
    ):
        session.generate([1], 30)


def test_a_server_that_refuses(setup: Setup) -> None:
    with (
        serving("broken").arm().open(setup) as session,
        pytest.raises(PeerError, match=r"the server answered 500: .*out of luck"),
    ):
        session.generate([1], 3)


def test_a_server_that_ends_at_once(setup: Setup) -> None:
    words = f"{sys.executable} -c 'import sys; sys.exit(\"no such model {{port}}\")'"
    with (
        pytest.raises(PeerError, match="ended with code 1\nno such model"),
        Command.parse(f"x={words}").arm().open(setup),
    ):
        pass


def test_a_server_that_never_gets_ready(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "START_SECONDS", 0.3)
    command = Command.parse(f"x={sys.executable} -c 'import time; time.sleep(60)' {{port}}")
    began = time.monotonic()
    with pytest.raises(PeerError, match="x was not ready in time"), command.arm().open(setup):
        pass
    assert time.monotonic() - began < 30


def test_a_server_is_gone_after_its_turn(setup: Setup) -> None:
    with serving("llama").arm().open(setup) as session:
        session.generate([1], 2)
    with pytest.raises(PeerError, match="gave no answer"):
        session.generate([1], 2)


def test_a_script_that_starts_a_server_ends_with_it(setup: Setup, tmp_path: Path) -> None:
    script = tmp_path / "start.sh"
    script.write_text(f'{shlex.quote(sys.executable)} {shlex.quote(str(ENGINE))} "$@"\nexit\n')
    command = Command.parse(f"x=sh {script} serve {{port}} llama {{model}}")
    with command.arm().open(setup) as session:
        assert session.generate([1], 4).count == 4
    with pytest.raises(PeerError, match="gave no answer"):
        session.generate([1], 2)


def test_a_command_that_prints(setup: Setup) -> None:
    words = [sys.executable, str(ENGINE), "print", "{prompt}", "{tokens}", "{model}"]
    arm = Command.parse(f"x={shlex.join(words)}").arm()
    assert (arm.engine, arm.mode, arm.draft) == ("x", "as given", None)
    with arm.open(setup) as session:
        answer = session.generate([5, 6], 11)
    assert answer.tokens == tuple(TOKENS[:11])
    assert answer.first_seconds == 0.5
    assert answer.per_second == pytest.approx(10 / 2.0)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("print(1)", "is no JSON object with first_seconds"),
        ("pass", "is no JSON object with first_seconds"),
        ("import sys; sys.exit(3)", "ended with code 3"),
        (
            'print(\'{"first_seconds": 1, "seconds": 1, "tokens": [1]}\')',
            "answered 1 tokens where 4 were asked for",
        ),
    ],
)
def test_a_command_that_prints_nonsense(setup: Setup, code: str, wanted: str) -> None:
    words = [sys.executable, "-c", code, "{prompt}", "{tokens}"]
    with (
        Command.parse(f"x={shlex.join(words)}").arm().open(setup) as session,
        pytest.raises(PeerError, match=wanted),
    ):
        session.generate([1], 4)


def test_a_command_that_is_not_there(setup: Setup) -> None:
    with (
        pytest.raises(PeerError, match="'/nowhere/server' cannot be started"),
        Command.parse("x=/nowhere/server {port}").arm().open(setup),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("server --port {port}", "given as NAME=COMMAND"),
        ("=server {port}", "given as NAME=COMMAND"),
        ("x=", "given as NAME=COMMAND"),
        ("x=server -m {model}", "needs {port}"),
        ("x=server {prompt}", "needs {port}"),
    ],
)
def test_what_is_no_peer(text: str, wanted: str) -> None:
    with pytest.raises(PeerError, match=wanted):
        Command.parse(text)


def test_the_words_of_a_command_are_filled_in(setup: Setup) -> None:
    command = Command.parse(
        "ik:mtp 2=/opt/serve -m {model} -t {threads} -c {context} -p{port} 'a b' {}"
    )
    assert command.arm().engine == "ik"
    assert command.arm().mode == "mtp 2"
    filled = command.filled(setup, port=4)
    assert command.arm().flags.startswith("serve -m ")
    assert filled == [
        "/opt/serve",
        "-m",
        str(setup.model),
        "-t",
        "1",
        "-c",
        "256",
        "-p4",
        "a b",
        "{}",
    ]


def test_answers_without_a_speed() -> None:
    with pytest.raises(PeerError, match="held no tokens"):
        Answer(())
    with pytest.raises(PeerError, match="held no tokens"):
        Answer((Piece(0.1, 0, (), ""),))
    with pytest.raises(PeerError, match="which tells no speed"):
        _ = Answer((Piece(0.1, 3, (1, 2, 3), ""),)).per_second


@pytest.mark.oracle
@pytest.mark.skipif(not has_wheel(), reason="xllamacpp is not installed")
def test_the_wheel(tmp_path: Path) -> None:
    path = tmp_path / "chain.gguf"
    write_tiny(path, TinySpec(chain=Chain(), printable=True))
    setup = Setup(path, context=256, threads=1)
    answers = []
    for arm in (llama_arm(0), llama_arm(2)):
        assert arm.engine == "llama.cpp"
        assert arm.version.startswith("xllamacpp 20")
        with arm.open(setup) as session:
            answers.append(session.generate([40, 41, 42], 16))
    plain, drafted = answers
    assert plain.tokens is not None and len(plain.tokens) == 16
    assert plain.drafted == 0
    assert drafted.drafted >= drafted.accepted > 0
    assert plain.per_second > 0 and drafted.per_second > 0


@pytest.mark.oracle
@pytest.mark.skipif(not has_wheel(), reason="xllamacpp is not installed")
def test_a_file_that_the_wheel_refuses(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with (
        pytest.raises(PeerError, match=r"llama\.cpp cannot run .*model\.gguf"),
        llama_arm(0).open(Setup(path, 256, 1)),
    ):
        pass


def test_a_name_may_hold_an_equals_sign_between_spaces() -> None:
    command = Command.parse("llama.cpp native:n = 2=server --port {port} --rate=3")
    assert command.name == "llama.cpp native:n = 2"
    assert command.words == ("server", "--port", "{port}", "--rate=3")


@pytest.mark.parametrize(
    ("mode", "draft"), [(":plain", 0), (":n = 2", 2), (":n = 15", 15), (":mtp 2", None), ("", None)]
)
def test_a_mode_may_say_how_much_it_drafts(mode: str, draft: int | None) -> None:
    assert Command.parse(f"x{mode}=server {{port}}").arm().draft == draft
