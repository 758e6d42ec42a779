"""Grammars on a vocabulary: what they let through, how they are followed, how they fail."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from grammar_cases import SCHEMAS, TOOLS
from headlong.engine import grammar as grammar_module
from headlong.engine.grammar import GrammarCompiler, GrammarState
from headlong.errors import HeadlongError, ParameterError
from headlong.gguf import open_gguf
from headlong.sampling import Grammar
from headlong.tokenizer import Tokenizer, ToolCallParser, Vocabulary
from tiny import TinySpec, write_tiny

SIZE = 400  # columns of logits: more than the vocabulary has


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("grammar") / "tiny.gguf"
    write_tiny(path, TinySpec(vocab=SIZE))
    with open_gguf(Path(path)) as file:
        return Tokenizer(Vocabulary.from_metadata(file.metadata))


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(tokenizer, SIZE)


def allowed(state: GrammarState) -> set[int]:
    row = np.zeros(SIZE, np.float32)
    kept, subset = state.mask().restrict(row)
    return set((np.flatnonzero(kept == 0) if subset is None else subset.ids).tolist())


def follow(state: GrammarState, tokens: list[int]) -> int:
    """How many of the tokens the grammar lets through, one after the other."""
    for count, token in enumerate(tokens):
        if token not in allowed(state):
            return count
        state.append(token)
    return len(tokens)


def matches(state: GrammarState, tokenizer: Tokenizer, text: str) -> bool:
    tokens = tokenizer.encode(text)
    return follow(state, tokens) == len(tokens) and bool(allowed(state) & tokenizer.eog_ids)


@pytest.mark.parametrize(
    ("grammar", "texts", "others"),
    [
        (Grammar.json_object(), ["{}", '{"a": [1, null, "\\né"]}'], ["[]", "{a: 1}", "{} "]),
        (Grammar.json_schema(SCHEMAS["constant"]), ['{"a": [1, "ü", null]}'], ['{"a": []}']),
        (Grammar.json_schema(True), ["7", '"x"', "[]"], ["", "x"]),
        (Grammar.json_object(), ['{\n  "a" : 1\n}'], ['{  "a": 1}', '{\n\n"a": 1}']),
        (Grammar.regex("[a-c]+/é?"), ["abc/", "c/é"], ["/", "abc", "abc/éé"]),
        (Grammar.choice(["a", 'b"\n\\', "日本"]), ["a", 'b"\n\\', "日本"], ["b", "日"]),
        (Grammar.text('start: "a" | "b" start'), ["a", "bba"], ["b", "aa"]),
        (
            Grammar.text('root ::= item+ # items\r\nitem ::= "- " [^\\n"\\\\]+ "\\n"\r\n'),
            ["- x\n", "- x\n- é/y\n"],
            ["- \n", "x\n", '- "\n'],
        ),
        (
            Grammar.text('root ::= "\\u00e9" [\\u3041-\\u309f]{2} "\\x41"'),
            ["éひらA"],
            ["eひらA", "éひA"],
        ),
        (Grammar.choice(["a"]).after_reasoning(), ["x </thin\n</think>\n\na", "</think>a"], ["a"]),
        (
            Grammar.json_object().after_reasoning(),
            ["if { then }</think>{}"],
            ["</think>\n\n\n{}", "</think> {}"],
        ),
    ],
)
def test_what_matches(
    compiler: GrammarCompiler,
    tokenizer: Tokenizer,
    grammar: Grammar,
    texts: list[str],
    others: list[str],
) -> None:
    for text in texts:
        assert matches(compiler.start(grammar), tokenizer, text), text
    for text in others:
        assert not matches(compiler.start(grammar), tokenizer, text), text


def test_the_end_may_come_exactly_where_the_grammar_may_end(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    state = compiler.start(Grammar.regex("ab?"))
    assert not allowed(state) & tokenizer.eog_ids
    assert not state.complete
    follow(state, tokenizer.encode("a"))
    assert tokenizer.eog_ids <= allowed(state)
    assert not state.complete
    follow(state, tokenizer.encode("b"))
    assert state.complete


def test_no_free_text_holds_control_or_unused_tokens(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    state = compiler.start(Grammar.json_schema({"type": "string"}))
    follow(state, tokenizer.encode('"'))
    through = allowed(state)
    controls = {tokenizer.special_id(text) for text in tokenizer.control_texts}
    assert not through & (controls | set(tokenizer.unused_ids) | set(range(tokenizer.size, SIZE)))
    assert set(tokenizer.encode("the")) <= through
    assert tokenizer.special_id("<think>") in through  # a text like any other


def test_there_may_be_thousands_of_choices(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    grammar = Grammar.choice(f"choice {n}" for n in range(5000))
    assert matches(compiler.start(grammar), tokenizer, "choice 4321")
    assert not matches(compiler.start(grammar), tokenizer, "choice 5000")


def test_characters_may_be_cut_between_tokens(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    state = compiler.start(Grammar.choice(["é", "è"]))
    first, last = tokenizer.encode("é")
    assert allowed(state) == {first}
    state.append(first)
    assert allowed(state) == {last, tokenizer.encode("è")[1]}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_state_that_went_astray_is_as_good_as_new(
    compiler: GrammarCompiler, tokenizer: Tokenizer, name: str
) -> None:
    grammar = Grammar.json_schema(SCHEMAS[name])
    fresh, used = compiler.start(grammar), compiler.start(grammar)
    rng = random.Random(name)
    for _ in range(60):
        mark = len(used)
        for _ in range(rng.randrange(4)):
            choices = sorted(allowed(used) - tokenizer.eog_ids)
            if used.complete or not choices:
                break
            used.append(rng.choice(choices))
        used.truncate(mark)
        assert allowed(fresh) == allowed(used)
        assert fresh.complete == used.complete
        choices = sorted(allowed(fresh) - tokenizer.eog_ids)
        if fresh.complete or not choices:
            return
        token = rng.choice(choices)
        fresh.append(token)
        used.append(token)
        assert len(fresh) == len(used)


def test_a_matcher_that_broke_is_made_anew(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    state = compiler.start(Grammar.choice(["abc", "abd"]))
    a, b, c, d = (tokenizer.encode(letter)[0] for letter in "abcd")
    state.append(a)
    expected = allowed(state)
    with pytest.raises(HeadlongError, match="cannot be followed"):
        state.append(c)  # no mask let it through
    assert len(state) == 1
    assert allowed(state) == expected
    assert follow(state, [b, d]) == 2


def test_tool_calls_are_those_that_the_parser_reads(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    call = (
        "<tool_call>\n<function=look_up>\n<parameter=word>\n\nzwei\n</x>\n\n</parameter>\n"
        "<parameter=language>\nde\n</parameter>\n<parameter=limit>\n3\n</parameter>\n"
        '<parameter=point>\n{"x": 4}\n</parameter>\n<parameter=exact>\ntrue\n</parameter>\n'
        "</function>\n</tool_call>"
    )
    now = "<tool_call>\n<function=now>\n</function>\n</tool_call>"
    many, one = Grammar.tool_calls(TOOLS), Grammar.tool_calls(TOOLS, parallel=False)
    assert matches(compiler.start(many), tokenizer, f"{call}\n{now}")
    assert matches(compiler.start(one), tokenizer, call)
    assert not matches(compiler.start(one), tokenizer, f"{call}\n{now}")
    assert matches(compiler.start(many.after_reasoning()), tokenizer, f"hm</think>\n\n{now}")
    only = Grammar.tool_calls(TOOLS, names=["now"])
    assert matches(compiler.start(only), tokenizer, now)
    assert not matches(compiler.start(only), tokenizer, call)
    for wrong in (
        call.replace("zwei", "</parameter>"),
        call.replace("zwei", "<tool_call>"),
        call.replace("de\n", "en\n"),
        call.replace('{"x": 4}', '{"x": 400}'),
        call.replace("true", "True"),
        call.replace('<parameter=point>\n{"x": 4}\n</parameter>\n', ""),
    ):
        assert not matches(compiler.start(many), tokenizer, wrong), wrong
    parser = ToolCallParser(TOOLS)
    parsed = [*parser.feed(f"{call}\n{now}").calls, *parser.flush().calls]
    assert [c.name for c in parsed] == ["look_up", "now"]
    assert json.loads(parsed[0].arguments_json) == {
        "word": "\nzwei\n</x>\n", "language": "de", "limit": 3, "point": {"x": 4}, "exact": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tools", "names", "reason"),
    [
        ([], None, "no tool is offered"),
        (TOOLS, ["then"], "'then' is not among"),
        ([{"type": "function"}], None, "no function with a name"),
        ([*TOOLS, *TOOLS], None, "offered twice"),
        ([{"name": "a>b"}], None, "has a name that no call can hold"),
        ([{"name": "a", "parameters": {"required": ["\n"]}}], None, "the parameter"),
        ([{"name": "a", "parameters": 7}], None, "no JSON schema"),
    ],
)
def test_tools_that_cannot_be_called_are_refused(
    tools: list[dict[str, object]], names: list[str] | None, reason: str
) -> None:
    with pytest.raises(ParameterError, match=reason):
        Grammar.tool_calls(tools, names)


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (Grammar.text("start: x"), "grammar: .*x"),
        (Grammar.text("start: start"), "no text leads to an end"),
        (Grammar.text("root ::= nothing"), "Rule 'nothing' not found"),
        (Grammar.text("root ::= " + "(" * 50_000), "nested too deeply"),
        (Grammar.text('start: "a'), "grammar: "),
        (Grammar.regex("a{"), "grammar: "),
        (Grammar.regex("(" * 2000 + ")" * 2000), "grammar: "),
        (Grammar.json_schema({"type": "nonsense"}), "grammar: .*nonsense"),
        (Grammar.json_schema({"uniqueItems": True, "type": "array"}), "grammar: .*uniqueItems"),
        (Grammar.json_schema({"$ref": "http://example.com/a.json"}), "grammar: .*example.com"),
        (Grammar.json_schema({"$ref": "#"}), "no text leads to an end"),
        (Grammar.json_schema(json.loads('{"items":' * 300 + "{}" + "}" * 300)), "grammar: "),
        (
            Grammar.json_schema({"allOf": [{"pattern": f"a{i}"} for i in range(50)]}),
            "50 branches of allOf and 50 patterns",
        ),
        (
            Grammar.text("start: A\nA: " + " & ".join(f"/.*{i}.*/" for i in range(50))),
            "more than 10 intersections",
        ),
        (Grammar.choice(map(str, range(11_000))), "more than 10000 texts"),
        (Grammar.regex("(a|b)?" * 30_000), "a regular expression of 180002 characters"),
        (
            Grammar.json_schema({"items": {"pattern": "(a|b)?" * 30_000}}),
            "a regular expression of 180000 characters",
        ),
        (
            Grammar.text(
                "root ::= a0\n"
                + "".join(f"a{i} ::= a{i + 1}\n" for i in range(1200))
                + 'a1200 ::= "x"'
            ),
            "more than 1000 definitions",
        ),
        (
            Grammar.text("start: A0\n" + "".join(f"A{i}: A{i + 1} A{i + 1}\n" for i in range(40))),
            "grammar: ",
        ),
    ],
)
def test_what_is_wrong_with_a_grammar(
    compiler: GrammarCompiler, grammar: Grammar, reason: str
) -> None:
    with pytest.raises(ParameterError, match=reason):
        compiler.check(grammar)
    with pytest.raises(ParameterError, match=reason):
        compiler.start(grammar.after_reasoning() if "end" not in reason else grammar)


def test_rules_may_follow_each_other_very_far(compiler: GrammarCompiler) -> None:
    rules = "".join(f"a{i}: a{i + 1}\n" for i in range(900))
    compiler.check(Grammar.text(f'start: a0\n{rules}a900: "x"'))
    # An ordinary stack is used up by 3,000.
    schema: dict[str, object] = {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(6000)}
    schema["a6000"] = {"type": "string"}
    compiler.check(Grammar.json_schema({"$defs": schema, "$ref": "#/$defs/a0"}))


def test_compiling_does_not_take_for_ever(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "start: A\nA: /" + "(a|b)?" * 1300 + "/"
    monkeypatch.setattr(grammar_module, "_COMPILE_SECONDS", 0.01)
    with pytest.raises(ParameterError, match="takes more than"):
        compiler.check(Grammar.text(slow))
    for thread in threading.enumerate():
        if thread.name == "grammar":
            thread.join(20)
    monkeypatch.undo()
    compiler.check(Grammar.choice(["its place is free again"]))


def test_a_grammar_may_become_too_complex_for_its_own_request(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    state = compiler.start(Grammar.text("start: /((a{1,1000}){1,1000}){1,1000}/"))
    with pytest.raises(HeadlongError, match=r"the grammar cannot be followed any further: .*too"):
        follow(state, tokenizer.encode("a") * 500)
    compiler.check(Grammar.choice(["others go on"]))


def test_many_threads_may_check(compiler: GrammarCompiler) -> None:
    errors: list[BaseException] = []

    def check(number: int) -> None:
        try:
            compiler.check(Grammar.choice([f"{number % 5}"]))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=check, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
