from __future__ import annotations

from typing import Any

import pytest

from headlong.sampling import Grammar
from headlong.server.api_error import ApiError
from headlong.server.openai.completion_schema import CompletionRequest
from headlong.server.openai.form import Form, form_of

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
JSON = Grammar.json_schema(SCHEMA)
GBNF = 'root ::= "a"'


def form(**fields: Any) -> Form | None:
    return form_of(CompletionRequest.model_validate({"prompt": "x", **fields}))


@pytest.mark.parametrize(
    ("fields", "grammar", "field"),
    [
        ({"response_format": {"type": "json_object"}}, Grammar.json_object(), "response_format"),
        (
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
            JSON,
            "response_format.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            JSON,
            "response_format.json_schema.schema",
        ),
        ({"json_schema": SCHEMA}, JSON, "json_schema"),
        ({"grammar": GBNF}, Grammar.text(GBNF), "grammar"),
        ({"structured_outputs": {"json": SCHEMA}}, JSON, "structured_outputs.json"),
        (
            {"structured_outputs": {"json_object": True}},
            Grammar.json_object(),
            "structured_outputs.json_object",
        ),
        ({"structured_outputs": {"regex": "a+"}}, Grammar.regex("a+"), "structured_outputs.regex"),
        (
            {"structured_outputs": {"choice": ["a", "b"]}},
            Grammar.choice(["a", "b"]),
            "structured_outputs.choice",
        ),
        (
            {"structured_outputs": {"grammar": GBNF}},
            Grammar.text(GBNF),
            "structured_outputs.grammar",
        ),
        ({"guided_json": '{"type": "null"}'}, Grammar.json_schema({"type": "null"}), "guided_json"),
        ({"guided_regex": "a+"}, Grammar.regex("a+"), "guided_regex"),
        ({"guided_choice": ["a"]}, Grammar.choice(["a"]), "guided_choice"),
        ({"guided_grammar": GBNF}, Grammar.text(GBNF), "guided_grammar"),
    ],
)
def test_every_way_to_ask(fields: dict[str, Any], grammar: Grammar, field: str) -> None:
    assert form(**fields) == Form(grammar, field)


def test_no_form() -> None:
    assert form() is None
    assert form(response_format={"type": "text"}) is None
    assert form(grammar="") is None


def test_two_forms_are_an_error_that_names_both() -> None:
    with pytest.raises(ApiError) as caught:
        form(response_format={"type": "json_object"}, guided_regex="a")
    assert caught.value.param == "guided_regex"
    assert "'response_format' and 'guided_regex'" in caught.value.message


@pytest.mark.parametrize("schema", ["{", 3, [], "3"])
def test_what_is_no_schema(schema: object) -> None:
    with pytest.raises(ApiError) as caught:
        form(json_schema=schema)
    assert (caught.value.status_code, caught.value.param) == (400, "json_schema")
    assert "schema" in caught.value.message
