"""`headlong run`: what it prints, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_runs import Run

from headlong import LLM, SamplingParams


def test_text_goes_to_standard_output_and_figures_to_standard_error(run: Run, model: Path) -> None:
    result = run("run", model, "-p", "hello", "-n", 24, "--temp", 0, "--spec-draft-n-max", 3)
    expected = LLM(model).generate("hello", SamplingParams(max_tokens=24, temperature=0))
    assert result.code == 0
    assert result.out == f"hello{expected.text}\n"
    assert "prompt     3 tokens" in result.err
    assert "generated  24 tokens" in result.err
    assert "ended: length" in result.err
    assert "by depth   1: " in result.err
    assert "tok/s" in result.err


def test_no_display_prompt(run: Run, model: Path) -> None:
    shown = run("run", model, "-p", "hello", "-n", 4, "-s", 1)
    hidden = run("run", "-m", model, "-p", "hello", "-n", 4, "-s", 1, "--no-display-prompt")
    assert shown.out == f"hello{hidden.out}"


def test_the_seed_fixes_the_text_whatever_is_drafted(run: Run, model: Path) -> None:
    texts = {
        run("run", model, "-p", "a", "-n", 20, "-s", 7, "--temp", 1.2, *flags).out
        for flags in (
            (),
            ("--spec-type", "none"),
            ("--spec-draft-n-max", 5),
            ("--spec-draft-n-max", "0"),
            ("-t", 1, "-ub", 1),
        )
    }
    assert len(texts) == 1


def test_json(run: Run, model: Path) -> None:
    result = run("run", model, "-p", "hello", "-n", 16, "--json", "-s", 5, "--spec-draft-n-max", 2)
    fields = json.loads(result.out)
    expected = LLM(model).generate("hello", SamplingParams(max_tokens=16, seed=5))
    assert result.code == 0
    assert fields["prompt"] == "hello"
    assert tuple(fields["prompt_tokens"]) == expected.prompt_tokens
    assert tuple(fields["tokens"]) == expected.tokens
    assert fields["text"] == expected.text
    assert fields["finish_reason"] == "length"
    assert fields["stop"] is None
    assert fields["seed"] == 5
    assert fields["timings"]["predicted_n"] == 16
    assert fields["timings"]["prompt_seconds"] > 0
    assert len(fields["speculation"]["draft_n_by_depth"]) == 2
    assert "content" not in fields


def test_every_sampling_flag_reaches_the_sampler(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[SamplingParams] = []
    stream = LLM.stream

    def spy(self: LLM, prompt: list[int], params: SamplingParams) -> object:
        seen.append(params)
        return stream(self, prompt, params)

    monkeypatch.setattr(LLM, "stream", spy)
    result = run(
        *("run", model, "-p", "hello", "-n", "9", "--min-tokens", "2", "-s", "3"),
        *("--temp", "0.5", "--top-k", "7", "--top-p", "0.8", "--min-p", "0.1", "--typical", "0.9"),
        *("--repeat-penalty", "1.2", "--repeat-last-n", "-1", "--presence-penalty", "0.25"),
        *("--frequency-penalty", "0.125", "--logit-bias", "40+1.5", "--logit-bias", "41-inf"),
        *("--stop", "zz", "-r", "yy", "--ignore-eos"),
    )
    assert result.code == 0
    assert seen == [
        SamplingParams(
            max_tokens=9,
            min_tokens=2,
            seed=3,
            temperature=0.5,
            top_k=7,
            top_p=0.8,
            min_p=0.1,
            typical_p=0.9,
            repeat_penalty=1.2,
            repeat_last_n=-1,
            presence_penalty=0.25,
            frequency_penalty=0.125,
            logit_bias={40: 1.5, 41: float("-inf")},
            stop=("zz", "yy"),
            ignore_eos=True,
        )
    ]


def test_every_model_flag_reaches_the_model(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, object]] = []
    init = LLM.__init__

    def spy(self: LLM, path: Path, **options: object) -> None:
        seen.append(options)
        init(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LLM, "__init__", spy)
    result = run(
        *("run", model, "-p", "hello", "-n", "1", "-c", "100", "-t", "1", "-ctk", "q8_0"),
        *("-ctv", "q8_0", "-ub", "16", "--spec-type", "draft-mtp", "--spec-draft-n-max", "2"),
    )
    assert result.code == 0
    (options,) = seen
    progress = options.pop("progress")
    assert progress is not None
    assert options == {
        "context": 100,
        "sequences": 1,
        "threads": 1,
        "cache_ram": 0,
        "spec_type": "draft-mtp",
        "draft_n_max": "2",
        "kv_type": "q8_0",
        "isa": None,
        "prefill_rows": 16,
    }


def test_prompt_from_a_file_and_from_standard_input(run: Run, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("hello the\n")
    flags = ("-n", 4, "-s", 1)
    expected = run("run", model, "-p", "hello the\n", *flags).out
    assert run("run", model, "-f", path, *flags).out == expected
    assert run("run", model, "-f", "-", *flags, stdin="hello the\n").out == expected
    assert run("run", model, *flags, stdin="hello the\n").out == expected


def test_stop_string_ends_the_text(run: Run, model: Path) -> None:
    flags = ("-p", "hello", "-n", 30, "--temp", 0, "--no-display-prompt")
    text = run("run", model, *flags).out
    stop = text[10:12]
    result = run("run", model, *flags, "--stop", stop)
    assert result.out.rstrip("\n") == text[: text.index(stop)]
    assert f"ended: stop at {stop!r}" in result.err


def test_chat_applies_the_template(run: Run, model: Path) -> None:
    result = run(
        *("run", model, "--chat", "-sys", "be brief", "-p", "hi", "-n", 4, "-s", 1),
        "--display-prompt",
    )
    rendered = (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert result.out.startswith(rendered)
    answer = run("run", model, "--chat", "-sys", "be brief", "-p", "hi", "-n", 4, "-s", 1).out
    assert result.out == rendered + answer


def test_chat_as_json_sets_the_answer_apart(run: Run, model: Path) -> None:
    result = run("run", model, "--chat", "-p", "hi", "-n", 6, "--json")
    fields = json.loads(result.out)
    assert fields["content"] == fields["text"]
    assert fields["reasoning_content"] == ""


def test_template_of_the_users(run: Run, model: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ tone }}: {{ messages[0]['content'] }} =")
    flags = ("--chat-template-file", template, "--display-prompt", "-p", "hi", "-n", 1)
    result = run("run", model, "--chat", *flags, "--chat-template-kwargs", '{"tone": "warm"}')
    assert result.code == 0
    assert result.out.startswith("warm: hi =")
    result = run("run", model, "--chat", *flags, "--chat-template-kwargs", '{"tune": "warm"}')
    assert result.code == 1
    assert "tune" in result.err


def test_a_file_without_a_head_is_run_and_said_to_be_one(run: Run, headless: Path) -> None:
    result = run("run", headless, "-p", "hello", "-n", 3)
    assert result.code == 0
    assert "has no MTP head" in result.err
    assert "nothing drafted" in result.err
    assert run("run", headless, "-p", "hello", "-n", 3, "--spec-type", "none").err.count("MTP") == 0


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("--temp", "nan"), "--temp: temperature is nan"),
        (("--temp", "inf"), "--temp: temperature is inf"),
        (("--top-p", "1.5"), "--top-p: top_p is 1.5"),
        (("--top-p", "-1"), "--top-p: top_p is -1"),
        (("--min-p", "nan"), "--min-p"),
        (("--typical", "2"), "--typical"),
        (("--repeat-penalty", "0"), "--repeat-penalty"),
        (("--repeat-last-n", "-2"), "--repeat-last-n"),
        (("--presence-penalty", "1e9"), "--presence-penalty"),
        (("--frequency-penalty", "nan"), "--frequency-penalty"),
        (("--logit-bias", "word+1"), "--logit-bias: 'word+1' is not a token id"),
        (("--logit-bias", "5+inf"), "--logit-bias"),
        (("--logit-bias", "5+nan"), "--logit-bias"),
        (("--logit-bias", "5"), "--logit-bias"),
        (("--logit-bias", "99999+1"), "99999"),
        (("-n", "0"), "--predict: max_tokens is 0"),
        (("-n", "-2"), "--predict"),
        (("--min-tokens", "-1"), "--min-tokens"),
        (("-n", "2", "--min-tokens", "3"), "min_tokens"),
        (("-s", "-2"), "--seed"),
        (("-s", str(2**64)), "--seed"),
        (("--stop", ""), "--stop"),
        (("-c", "0"), "--ctx-size: context = 0"),
        (("-c", "-5"), "--ctx-size"),
        (("-c", "999999999"), "--ctx-size"),
        (("-t", "0"), "--threads"),
        (("-t", "100000"), "--threads"),
        (("-ub", "0"), "--ubatch-size"),
        (("--isa", "abacus"), "--isa"),
        (("--cache-type", "q3"), "--cache-type"),
        (("-ctk", "q8_0"), "--cache-type q8_0"),
        (("--cache-type", "f16", "-ctk", "q8_0", "-ctv", "q8_0"), "--cache-type"),
        (("--spec-type", "psychic"), "--spec-type"),
        (("--spec-type", ""), "--spec-type"),
        (("--spec-draft-n-max", "16"), "--spec-draft-n-max"),
        (("--spec-draft-n-max", "many"), "--spec-draft-n-max"),
        (("--spec-type", "none", "--spec-draft-n-max", "3"), "--spec-draft-n-max 3"),
        (("-sys", "be brief"), "--system-prompt needs --chat"),
        (("--hide-reasoning",), "--hide-reasoning needs --chat"),
        (("--chat", "--hide-reasoning", "--json"), "--hide-reasoning"),
        (("--chat", "--chat-template-kwargs", "{"), "--chat-template-kwargs: not JSON"),
        (("--chat", "--chat-template-kwargs", "[]"), "--chat-template-kwargs: must be"),
        (("--json", "--display-prompt"), "--json"),
        (("-f", "x.txt"), "both -p and -f"),
        (("-m", "other.gguf"), "two models"),
    ],
)
def test_bad_values_are_named(run: Run, model: Path, flags: tuple[str, ...], wanted: str) -> None:
    result = run("run", model, "-p", "hello", "--predict", "1", *flags)
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert wanted in result.err
    assert result.out == ""


@pytest.mark.parametrize(
    "arguments", [("--temp", "warm"), ("-n", "2.5"), ("--no-such-flag",), ("extra",)]
)
def test_what_cannot_be_parsed_is_a_usage_error(
    run: Run, model: Path, arguments: tuple[str, ...]
) -> None:
    result = run("run", model, "-p", "hello", *arguments)
    assert result.code == 2
    assert "Usage" in result.err


def test_flags_of_drafts_need_a_head(run: Run, headless: Path) -> None:
    for flags in (("--spec-type", "draft-mtp"), ("--spec-draft-n-max", "3")):
        result = run("run", headless, "-p", "hello", "-n", 1, *flags)
        assert result.code == 1
        assert f"leave {' '.join(flags)} out" in result.err


@pytest.mark.parametrize(
    ("arguments", "stdin", "wanted"),
    [
        ((), b"", "the prompt is empty"),
        (("-p", ""), b"", "the prompt is empty"),
        (("-f", "/nowhere/prompt.txt"), b"", "/nowhere/prompt.txt: No such file"),
        (("-f", "-"), b"caf\xe9", "standard input is not UTF-8 text: byte 3 is 0xE9"),
        (("-p", "a" * 300, "-c", "64"), b"", "the prompt has 300 tokens"),
        (("-p", "caf\udce9"), b"", "surrogate"),
    ],
)
def test_prompts_that_cannot_be_answered(
    run: Run, model: Path, arguments: tuple[str, ...], stdin: bytes, wanted: str
) -> None:
    result = run("run", model, *arguments, stdin=stdin)
    assert result.code == 1
    assert wanted in result.err
    assert result.out == ""


def test_files_that_are_no_models(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a model")
    for path, wanted in (
        (tmp_path / "missing.gguf", "missing.gguf"),
        (text, "not a GGUF file"),
        (tmp_path, "is a folder"),
    ):
        result = run("run", path, "-p", "hello")
        assert result.code == 1
        assert result.err.startswith("error: ")
        assert wanted in result.err
    assert "no model is given" in run("run", "-p", "hello").err


def test_a_long_prompt_is_read_in_passes(run: Run, model: Path) -> None:
    long = run("run", model, "-p", "ab " * 60, "-n", 4, "--temp", 0, "-ub", 16)
    short = run("run", model, "-p", "ab " * 60, "-n", 4, "--temp", 0)
    assert long.code == 0
    assert long.out == short.out


SCHEMA = '{"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}'


def test_the_answer_follows_a_grammar(run: Run, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "form"
    common = ("run", model, "-p", "hello", "-s", 3, "--no-display-prompt", "-n", 100)
    for flag, text, pattern in (
        ("grammar", 'root ::= ("yes" | "no")', "yes|no"),
        ("grammar", 'start: "a" /[0-9]{3}/', r"a\d{3}"),
        (
            "json-schema",
            SCHEMA.replace("}}, ", '}}, "additionalProperties": false, '),
            r"\{[^{}]*\}",
        ),
    ):
        file.write_text(text)
        shown = run(*common, f"--{flag}", text)
        assert shown.code == 0
        assert re.fullmatch(pattern, shown.out.removesuffix("\n"))
        assert "ended: stop" in shown.err
        assert run(*common, f"--{flag}-file", file).out == shown.out
        plain = run(*common, f"--{flag}", text, "--spec-type", "none")
        assert plain.out == shown.out
    assert run(*common, "-j", SCHEMA).out == run(*common, "-jf", schema_file(tmp_path)).out
    assert run(*common, "-j", "{}").out.startswith("{")


def schema_file(folder: Path) -> Path:
    path = folder / "schema.json"
    path.write_text(SCHEMA)
    return path


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("--grammar", "start: x"), "--grammar: grammar: "),
        (("--grammar", " "), "--grammar: the grammar is empty"),
        (("--json-schema", "{"), "--json-schema: the JSON schema is not JSON"),
        (("-j", '{"type": "nonsense"}'), "--json-schema: grammar: "),
        (("-j", "{}", "--grammar", "start: /a/"), "--grammar and --json-schema exclude each other"),
        (("-j", "{}", "--ignore-eos"), "--json-schema: ignore_eos and grammar exclude each other"),
        (("-jf", "nowhere.json"), "nowhere.json"),
    ],
)
def test_what_is_wrong_with_a_form_is_told(
    run: Run, model: Path, flags: tuple[str, ...], wanted: str
) -> None:
    result = run("run", model, "-p", "hello", "-n", 5, *flags)
    assert result.code == 1
    assert wanted in result.err
    assert "Traceback" not in result.err


def test_with_chat_a_grammar_begins_after_the_reasoning(
    run: Run, model: Path, tmp_path: Path
) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}<think>\n")
    flags = ("-p", "hello", "--chat", "--chat-template-file", template, "-n", 30, "--json")
    result = run("run", model, *flags, "--grammar", 'start: "a"')
    fields = json.loads(result.out)
    assert fields["finish_reason"] == "length"  # random weights do not close their reasoning
    assert len(fields["tokens"]) == 30
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    fields = json.loads(run("run", model, *flags, "--grammar", 'start: "a"').out)
    assert fields["content"] == "a"
