"""Grammars as requests carry them: forms, texts, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headlong.errors import ParameterError
from headlong.sampling import Grammar, SamplingParams
from headlong.sampling.grammar import MOST_GRAMMAR_BYTES
from headlong.sampling.lark import regex


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('root ::= "a"', "gbnf"),
        ('start ::= "a"\nroot ::= start', "gbnf"),
        ('start: "::="', "lark"),
        ("start: /a/", "lark"),
        ("%llguidance {}\nstart: /a/", "lark"),
    ],
)
def test_gbnf_and_lark_are_told_apart(text: str, form: str) -> None:
    assert Grammar.text(text) == Grammar(form, text)  # type: ignore[arg-type]


def test_a_schema_as_text_or_as_an_object_is_the_same() -> None:
    schema = {"type": "object", "properties": {"é": {"const": "\u2028"}}}
    assert Grammar.json_schema(schema) == Grammar.json_schema(json.dumps(schema))
    assert json.loads(Grammar.json_schema(schema).source) == schema
    assert Grammar.json_object().source == '{"type": "object"}'


def test_after_reasoning_is_another_grammar() -> None:
    grammar = Grammar.choice(["a"])
    assert grammar.after_reasoning() != grammar
    assert grammar.after_reasoning() == grammar.after_reasoning().after_reasoning()


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("a/b", r"/a\/b/"),
        (r"a\/b", r"/a\/b/"),
        ("a\nb", r"/a\nb/"),
        ("a\\\\/b", r"/a\\\/b/"),
        ("a\\\nb", r"/a\nb/"),
    ],
)
def test_a_pattern_cannot_leave_its_slashes(pattern: str, written: str) -> None:
    assert regex(pattern) == written


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Grammar.text("  \n"), "grammar is empty"),
        (lambda: Grammar.text(7), "no text"),  # type: ignore[arg-type]
        (lambda: Grammar.text("start: \ud800"), "lone surrogate"),
        (lambda: Grammar.text("#" * (MOST_GRAMMAR_BYTES + 1)), f"at most {MOST_GRAMMAR_BYTES}"),
        (lambda: Grammar.json_schema("{"), "is not JSON: "),
        (lambda: Grammar.json_schema("[" * 100_000), "is not JSON: "),
        (lambda: Grammar.json_schema("[1]"), "neither an object nor a boolean"),
        (lambda: Grammar.json_schema({"a": {1}}), "cannot be written as JSON"),
        (lambda: Grammar.json_schema({"a": float("nan")}), "cannot be written as JSON"),
        (lambda: Grammar.json_schema('{"const": "\\ud800"}'), "cannot be written as JSON"),
        (lambda: Grammar.regex(""), "regular expression is empty"),
        (lambda: Grammar.choice([]), "at least one"),
        (lambda: Grammar.choice(["a", ""]), "not empty"),
        (lambda: Grammar.choice([1]), "must be texts"),  # type: ignore[list-item]
    ],
)
def test_what_cannot_be_a_grammar_is_refused(make: Any, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        make()


def test_a_request_takes_nothing_else_for_a_grammar() -> None:
    with pytest.raises(ParameterError, match="grammar is 'start: /a/'; it must be a Grammar"):
        SamplingParams(grammar="start: /a/")  # type: ignore[arg-type]


def test_a_grammar_ends_the_answer_and_nothing_may_forbid_it() -> None:
    with pytest.raises(ParameterError, match="ignore_eos and grammar exclude each other"):
        SamplingParams(grammar=Grammar.json_object(), ignore_eos=True)


def test_calls_may_come_instead_of_a_form() -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    grammar = Grammar.json_object().or_tool_calls(tools, parallel=False)
    assert grammar.source == Grammar.json_object().source
    assert grammar.calls == Grammar.tool_calls(tools, parallel=False).source
    assert grammar.after_reasoning().calls == grammar.calls
    with pytest.raises(ParameterError, match="bytes"):
        Grammar.text("a" * MOST_GRAMMAR_BYTES).or_tool_calls(tools)
