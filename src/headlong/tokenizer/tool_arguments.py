"""Give tool-call arguments written as text the types that the tool's JSON schema asks for.

Qwen3.5 writes each argument as bare text between tags, so `5` may be a number or a string. The
schema decides; a value that does not fit its schema stays the string the model wrote.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

__all__ = [
    "JSONValue",
    "allowed_types",
    "function_names",
    "is_plain_text",
    "parameter_schemas",
    "parse_json",
    "typed_argument",
]

# Schemas nest through anyOf and $ref, which may be circular.
_MAX_DEPTH = 16

JSONValue = None | bool | int | float | str | list["JSONValue"] | dict[str, "JSONValue"]


def parse_json(text: str) -> JSONValue:
    """A JSON value by the letter of the standard; `ValueError` if the text is none.

    NaN, infinities and numbers too large for a float are refused, for they could not be written
    as JSON again. Nesting too deep for the parser counts as malformed.
    """
    try:
        value: JSONValue = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def function_names(tools: Sequence[Mapping[str, object]]) -> frozenset[str]:
    """The names of the functions of tools in OpenAI's form."""
    functions = [tool.get("function", tool) for tool in tools]
    names = [f.get("name") for f in functions if isinstance(f, Mapping)]
    return frozenset(name for name in names if isinstance(name, str) and name)


def parameter_schemas(tools: Sequence[Mapping[str, object]]) -> dict[str, Mapping[str, object]]:
    """The `parameters` schema of each function, by name, from tools in OpenAI's form.

    Tools without one are left out: their arguments stay strings.
    """
    schemas: dict[str, Mapping[str, object]] = {}
    for tool in tools:
        function = tool.get("function", tool)
        if isinstance(function, Mapping):
            name, schema = function.get("name"), function.get("parameters")
            if isinstance(name, str) and isinstance(schema, Mapping):
                schemas[name] = schema
    return schemas


def is_plain_text(name: str, parameters: Mapping[str, object] | None) -> bool:
    """Whether argument `name` is a string, whatever the model writes."""
    allowed = allowed_types(name, parameters)
    return not allowed or ("string" in allowed and "null" not in allowed)


def typed_argument(text: str, name: str, parameters: Mapping[str, object] | None) -> JSONValue:
    """The value of argument `name`, by the function's `parameters` schema.

    A parameter that may be a string is one, except for `null` where null is allowed too. For the
    other types the text is read as JSON, with Python's True, False and None understood since
    templates print them. What fits no allowed type, or has no schema, is returned as it is.
    """
    allowed = allowed_types(name, parameters)
    word = text.strip()
    if "null" in allowed and word in ("null", "None"):
        return None
    if "string" in allowed or not allowed:
        return text
    if "boolean" in allowed and word in ("true", "True", "false", "False"):
        return word in ("true", "True")
    try:
        value = parse_json(word)
    except ValueError:
        return text
    if isinstance(value, bool) or value is None:
        return text  # allowed ones were returned above
    if isinstance(value, float) and "number" not in allowed:
        if "integer" in allowed and value.is_integer():
            return int(value)
        return text
    if isinstance(value, int | float):
        return value if "number" in allowed or "integer" in allowed else text
    if isinstance(value, dict):
        return value if "object" in allowed else text
    if isinstance(value, list):
        return value if "array" in allowed else text
    return text


def allowed_types(name: str, parameters: Mapping[str, object] | None) -> frozenset[str]:
    """The types that an argument may have; empty where the schema does not say."""
    properties = parameters.get("properties") if parameters is not None else None
    if parameters is None or not isinstance(properties, Mapping):
        return frozenset()
    return _types_let_through(properties.get(name), parameters, 0)


def _types_let_through(schema: object, root: Mapping[str, object], depth: int) -> frozenset[str]:
    """Every type the schema lets through; empty where it does not say."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return frozenset()
    found: set[str] = set()
    declared = schema.get("type")
    if isinstance(declared, str):
        found.add(declared)
    elif isinstance(declared, list):
        found.update(name for name in declared if isinstance(name, str))
    elif isinstance(choices := schema.get("enum"), list):
        found.update(map(_type_of, choices))
    elif "const" in schema:
        found.add(_type_of(schema["const"]))
    else:
        for key in ("anyOf", "oneOf", "allOf"):
            branches = schema.get(key)
            if isinstance(branches, list):
                for branch in branches:
                    found |= _types_let_through(branch, root, depth + 1)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            found |= _types_let_through(_resolve(reference, root), root, depth + 1)
    return frozenset(found)


def _resolve(reference: str, root: Mapping[str, object]) -> object:
    """The part of the schema that a local reference such as `#/$defs/Point` names."""
    target: object = root
    if not reference.startswith("#"):
        return None
    for step in reference.lstrip("#/").split("/"):
        if not isinstance(target, Mapping):
            return None
        target = target.get(step.replace("~1", "/").replace("~0", "~"))
    return target


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"
