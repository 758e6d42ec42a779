import pytest

from headlong.tokenizer.tool_arguments import (
    JSONValue,
    parameter_schemas,
    parse_json,
    typed_argument,
)

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        "s": {"type": "string"},
        "i": {"type": "integer"},
        "n": {"type": "number"},
        "b": {"type": "boolean"},
        "o": {"type": "object"},
        "a": {"type": "array"},
        "maybe": {"type": ["integer", "null"]},
        "text_or_null": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "boolean"}, {"type": "array"}]},
        "choice": {"enum": [1, 2]},
        "fixed": {"const": 2.5},
        "free": {},
        "point": {"$ref": "#/$defs/Point"},
        "loop": {"$ref": "#/$defs/Loop"},
        "far": {"$ref": "https://example.org/schema"},
    },
    "$defs": {"Point": {"type": "object"}, "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}]}},
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("s", "5", "5"),
        ("s", "null", "null"),
        ("s", " kept \n", " kept \n"),
        ("i", "5", 5),
        ("i", " -7\n", -7),
        ("i", "5.0", 5),
        ("i", "5.5", "5.5"),
        ("i", "five", "five"),
        ("i", "true", "true"),
        ("i", "9" * 5000, "9" * 5000),
        ("n", "5", 5),
        ("n", "2.5e3", 2500.0),
        ("n", "NaN", "NaN"),
        ("n", "1e999", "1e999"),
        ("b", "true", True),
        ("b", "False", False),
        ("b", "1", "1"),
        ("o", '{"k": [1]}', {"k": [1]}),
        ("o", "[1]", "[1]"),
        ("a", "[1, null]", [1, None]),
        ("a", "[" * 100_000, "[" * 100_000),
        ("maybe", "null", None),
        ("maybe", "None", None),
        ("maybe", "3", 3),
        ("text_or_null", "null", None),
        ("text_or_null", "3", "3"),
        ("either", "true", True),
        ("either", "[]", []),
        ("either", "3", "3"),
        ("choice", "2", 2),
        ("fixed", "2.5", 2.5),
        ("free", "3", "3"),
        ("unknown", "3", "3"),
        ("point", '{"x": 1}', {"x": 1}),
        ("loop", "3", "3"),
        ("far", "3", "3"),
    ],
)
def test_a_value_takes_the_type_of_its_schema(name: str, text: str, value: JSONValue) -> None:
    got = typed_argument(text, name, SCHEMA)
    assert got == value
    assert type(got) is type(value)


def test_without_a_schema_values_stay_text() -> None:
    assert typed_argument("3", "i", None) == "3"
    assert typed_argument("3", "i", {"type": "object"}) == "3"


@pytest.mark.parametrize("text", ["", "NaN", "[1,]", "-Infinity", "{'a': 1}", "[" * 100_000])
def test_json_is_read_by_the_letter(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_schemas_by_function_name() -> None:
    tools: list[dict[str, object]] = [
        {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "bare"}},
        {"name": "flat", "parameters": {}},
        {"function": 3},
    ]
    assert parameter_schemas(tools) == {"f": SCHEMA, "flat": {}}
