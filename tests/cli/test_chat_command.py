"""`headlong chat` without a terminal, and its commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import Run

from headlong import LLM, SamplingParams

CHATML = "<|im_start|>{}\n{}<|im_end|>\n"


def answer(llm: LLM, messages: list[tuple[str, str]], tokens: int, seed: int) -> str:
    prompt = "".join(CHATML.format(*message) for message in messages) + "<|im_start|>assistant\n"
    return llm.generate(prompt, SamplingParams(max_tokens=tokens, seed=seed)).text


def test_a_conversation_goes_on_turn_by_turn(run: Run, model: Path) -> None:
    llm = LLM(model)
    result = run("chat", model, "-n", 8, "-s", 3, "-sys", "be kind", stdin="hi\nand the rest\n")
    messages = [("system", "be kind"), ("user", "hi")]
    first = answer(llm, messages, 8, 3)
    messages += [("assistant", first), ("user", "and the rest")]
    second = answer(llm, messages, 8, 3)
    assert result.code == 0
    assert result.out == f"{first}\n{second}\n"
    assert result.err.count("8 tokens · ") == 2
    assert "tok/s" in result.err


def test_acceptance_shows_after_an_answer(run: Run, model: Path) -> None:
    result = run("chat", model, "-n", 30, "--spec-draft-n-max", 2, "--temp", 0, stdin="hi\n")
    assert "drafts accepted" in result.err
    assert "tokens per round" in result.err


def test_set_changes_the_next_answer(run: Run, model: Path) -> None:
    plain = run("chat", model, "-n", 6, "-s", 3, "--temp", 0, stdin="hi\n")
    changed = run(
        *("chat", model, "-n", 30, "-s", 9),
        stdin="/set temp 0\n/set predict 6\n/set top_k 5\n/set seed 3\nhi\n/set\n",
    )
    assert changed.code == 0
    assert changed.out == plain.out
    assert "temp 0.0\n" in changed.err
    assert "predict 6\n" in changed.err
    assert "top-k 5\n" in changed.err


def test_system_clear_and_regen(run: Run, model: Path) -> None:
    llm = LLM(model)
    result = run(
        *("chat", model, "-n", 6, "-s", 4),
        stdin="hi\n/clear\n/system be kind\nhi\n/regen\n/system\n/regen\n",
    )
    bare = answer(llm, [("user", "hi")], 6, 4)
    told = answer(llm, [("system", "be kind"), ("user", "hi")], 6, 4)
    assert result.code == 0
    assert result.out == f"{bare}\n{told}\n{told}\n{bare}\n"
    assert "the seed is set" in result.err


def test_spec_changes_drafting_but_not_the_text(run: Run, model: Path) -> None:
    flags = ("-n", 20, "-s", 4, "--spec-draft-n-max", 4)
    drafted = run("chat", model, *flags, stdin="hi\n")
    plain = run("chat", model, *flags, stdin="/spec off\nhi\n")
    shorter = run("chat", model, *flags, stdin="/spec 1\nhi\n/stats\n")
    assert drafted.out == plain.out == shorter.out
    assert "drafts accepted" in drafted.err
    assert "drafts accepted" not in plain.err
    depths = [line for line in shorter.err.splitlines() if line.startswith("by depth")]
    assert len(depths) == 2
    assert all("1: " in line and "2: " not in line for line in depths)


def test_stats_before_any_answer(run: Run, model: Path) -> None:
    assert "nothing has been answered yet" in run("chat", model, stdin="/stats\n").err


def test_save_and_load(run: Run, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    flags = ("-n", 6, "-s", 4)
    saved = run(
        *("chat", model, "-sys", "be kind", *flags),
        stdin=f"hi\n/save {path}\nmore\n/save {path}\n",
    )
    assert saved.code == 0
    messages = json.loads(path.read_text())
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[2]["content"] == saved.out.splitlines()[0]
    loaded = run("chat", model, *flags, stdin=f"/load {path}\n/regen\n")
    assert loaded.code == 0
    assert "4 messages loaded" in loaded.err
    assert loaded.out.splitlines()[-1] == messages[-1]["content"]


def test_lines_can_go_on_and_begin_with_a_slash(run: Run, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    stdin = f"one\\\ntwo\n\n   \n//etc\n/save {path}\n"
    assert run("chat", model, "-n", 2, stdin=stdin).code == 0
    texts = [m["content"] for m in json.loads(path.read_text()) if m["role"] == "user"]
    assert texts == ["one\ntwo", "/etc"]


def test_exit_ends_at_once(run: Run, model: Path) -> None:
    result = run("chat", model, "-n", 2, stdin="/exit\nhi\n")
    assert (result.code, result.out) == (0, "")


def test_help_lists_every_command(run: Run, model: Path) -> None:
    result = run("chat", model, stdin="/help\n")
    assert result.code == 0
    for name in "help exit clear regen system set spec stats save load".split():  # noqa: SIM905
        assert f"/{name}" in result.err


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("/hlep", "there is no command /hlep; did you mean /help?"),
        ("/", "there is no command /; there are: /help"),
        ("/set tmep 1", "did you mean temp?"),
        ("/set temp", "'' is not a number"),
        ("/set temp warm", "temp: 'warm' is not a number"),
        ("/set temp nan", "temp: temperature is nan"),
        ("/set top-k 1.5", "top-k: '1.5' is not a whole number"),
        ("/set predict 0", "predict: max_tokens is 0"),
        ("/spec", "/spec takes off, auto or a number"),
        ("/spec -1", "/spec takes off, auto or a number"),
        ("/spec 99", "/spec: draft_n_max is 99"),
        ("/regen", "no message yet"),
        ("/exit now", "/exit takes no argument"),
        ("/save", "/save needs the name of a file"),
        ("/load /nowhere/talk.json", "No such file"),
        ("/load ~nobody-of-that-name/x", "~nobody"),
        ("caf\udce9", "surrogate"),
    ],
)
def test_mistakes_are_told_and_the_chat_goes_on(
    run: Run, model: Path, line: str, wanted: str
) -> None:
    stdin = f"{line}\nhi\n".encode(errors="surrogateescape")
    result = run("chat", model, "-n", 3, stdin=stdin)
    assert result.code == 1
    assert f"error: {wanted}" in result.err or wanted in result.err
    assert result.err.count("error: ") == 1
    assert result.out.count("\n") == 1


def test_drafts_as_the_chat_was_started_with(run: Run, model: Path, headless: Path) -> None:
    result = run("chat", model, "--spec-draft-n-max", 2, stdin="/spec auto\n/spec 3\n")
    assert result.err.count("drafts of 2 tokens") == 2
    assert "no MTP head" in run("chat", headless, stdin="/spec 2\n").err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "holds no list of messages"),
        ("[1]", "message 1 is no object"),
        ('[{"role": "user"}]', "message 1 has content that is not text"),
        ('[{"role": "robot", "content": "x"}]', "message 1 has the role 'robot'"),
        (
            '[{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]',
            "a system message stands after the first",
        ),
        ('[{"role": "user", "content": "x", "tool_calls": []}]', "the field 'tool_calls'"),
    ],
)
def test_files_that_hold_no_conversation(
    run: Run, model: Path, tmp_path: Path, text: str, wanted: str
) -> None:
    path = tmp_path / "talk.json"
    path.write_text(text)
    result = run("chat", model, stdin=f"/load {path}\n")
    assert result.code == 1
    assert wanted in result.err


def test_a_file_of_others_is_not_overwritten(run: Run, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "precious.json"
    path.write_text("precious")
    result = run("chat", model, "-n", 1, stdin=f"hi\n/save {path}\n")
    assert result.code == 1
    assert "exists already" in result.err
    assert path.read_text() == "precious"


def test_a_conversation_that_outgrows_the_context(run: Run, model: Path) -> None:
    stdin = "hi\n" + "a" * 100 + "\n/clear\nhi\n"
    result = run("chat", model, "-c", 64, "-n", 4, "-s", 1, stdin=stdin)
    assert result.code == 1
    assert "'/clear' starts a new conversation" in result.err
    lines = result.out.splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]


def test_a_template_that_fails_is_told_before_a_message_is_typed(
    run: Run, model: Path, tmp_path: Path
) -> None:
    template = tmp_path / "broken.jinja"
    template.write_text("{{ messages[0]['content']")
    result = run("chat", model, "--chat-template-file", template, stdin="hi\n")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: the chat template is not valid in line 1")
    result = run("chat", model, "--chat-template-kwargs", '{"mood": 1}', stdin="hi\n")
    assert (result.code, result.out) == (1, "")
    assert "'mood'" in result.err
