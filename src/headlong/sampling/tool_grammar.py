"""The grammar of tool calls: exactly the XML form that the tool-call parser reads back.

    <tool_call>
    <function=NAME>
    <parameter=K>
    VALUE
    </parameter>
    </function>
    </tool_call>

A value that may be a string is bare text up to the closing tag (of an enumeration, one of its
texts), any other is JSON of its schema: `typed_argument` then gives it the type the schema asks
for.  Bare text never holds the tags that would end it early for a parser.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from headlong.errors import ParameterError
from headlong.sampling.lark import WHITE_SPACE, json_text, literal
from headlong.tokenizer.tool_arguments import allowed_types

__all__ = ["tool_call_rules"]

_CLOSE: Final = "\n</parameter>\n"
_COMMON: Final = r"""
text[suffix="\n</parameter>\n"]: TEXT
TEXT: /(?s:.*)/ & ~/(?s:.*)<(\/parameter|\/?tool_call)>(?s:.*)/
"""


def tool_call_rules(
    tools: Sequence[Mapping[str, object]], names: Collection[str] | None, parallel: bool
) -> str:
    """Lark text.  Raises `ParameterError` for tools or names that no call could be written of."""
    functions = _functions(tools)
    unknown = sorted(set(names or ()) - functions.keys())
    if unknown:
        raise ParameterError(f"the tool '{unknown[0]:.80}' is not among those offered")
    called = [name for name in functions if names is None or name in names]
    if not called:
        raise ParameterError("a tool call is required, but no tool is offered")
    rules = ['start: call ("\\n" call)*' if parallel else "start: call"]
    heads = " | ".join(f"function_{i}" for i in range(len(called)))
    rules.append(f'call: "<tool_call>\\n<function=" ({heads}) "</function>\\n</tool_call>"')
    for i, name in enumerate(called):
        parts = [literal(f"{name}>\n")]
        parameters = functions[name]
        for key, required in _arguments(parameters):
            value = f"{literal(f'<parameter={key}>' + chr(10))} {_value(key, parameters)}"
            parts.append(value if required else f"({value})?")
        rules.append(f"function_{i}: " + " ".join(parts))
    return "\n".join(rules) + _COMMON


def _functions(tools: Sequence[Mapping[str, object]]) -> dict[str, Mapping[str, object]]:
    """The schema of each function's parameters, by its name."""
    found: dict[str, Mapping[str, object]] = {}
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str):
            raise ParameterError("a tool has no function with a name")
        _check_word(name, "the tool")
        if name in found:
            raise ParameterError(f"the tool '{name:.80}' is offered twice")
        schema = function.get("parameters")
        if schema is not None and not isinstance(schema, Mapping):
            raise ParameterError(f"the parameters of the tool '{name:.80}' are no JSON schema")
        found[name] = schema or {}
    return found


def _arguments(parameters: Mapping[str, object]) -> list[tuple[str, bool]]:
    """Names of the parameters in the order of the schema, and whether each is required."""
    properties = _properties(parameters)
    wanted = parameters.get("required")
    required = [key for key in wanted if isinstance(key, str)] if isinstance(wanted, list) else []
    keys = [*properties, *(key for key in required if key not in properties)]
    for key in keys:
        _check_word(key, "the parameter")
    return [(key, key in required) for key in dict.fromkeys(keys)]


def _properties(parameters: Mapping[str, object]) -> Mapping[str, object]:
    properties = parameters.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _value(key: str, parameters: Mapping[str, object]) -> str:
    """A value and its closing tag."""
    schema = _properties(parameters).get(key)
    allowed = allowed_types(key, parameters)
    if not isinstance(schema, Mapping) or not allowed:
        return "text"
    if "string" not in allowed:
        value = dict(schema)
        if _refers(schema):
            step = key.replace("~", "~0").replace("/", "~1")
            root = _moved(parameters)
            value = {"$defs": {"all": root}, "$ref": f"#/$defs/all/properties/{step}"}
        value["x-guidance"] = {"whitespace_pattern": WHITE_SPACE}
        return f"%json {json_text(value, f'the schema of {key!r:.80}')} {literal(_CLOSE)}"
    texts = _texts(schema)
    if texts:
        return "(" + " | ".join(map(literal, texts)) + f") {literal(_CLOSE)}"
    return "text"


def _texts(schema: Mapping[str, object]) -> list[str]:
    """The texts of an enumeration; none where any text will do."""
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if not isinstance(choices, list):
        return []
    return ["null" if choice is None else choice for choice in choices
            if choice is None or isinstance(choice, str)]  # fmt: skip


def _refers(schema: object) -> bool:
    if isinstance(schema, Mapping):
        return "$ref" in schema or any(map(_refers, schema.values()))
    return isinstance(schema, list) and any(map(_refers, schema))


def _moved(schema: object) -> object:
    """The schema with its local references pointing to where it stands now."""
    if isinstance(schema, Mapping):
        return {
            key: value.replace("#", "#/$defs/all", 1)
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value)
            for key, value in schema.items()
        }
    return [_moved(item) for item in schema] if isinstance(schema, list) else schema


def _check_word(word: str, what: str) -> None:
    """Raise `ParameterError` for a name that cannot stand in a tag."""
    if not word or word != word.strip() or ">" in word or "\n" in word:
        raise ParameterError(
            f"{what} {word!r:.80} has a name that no call can hold: it must not be empty, begin or "
            "end with white space, or contain '>' or a line break"
        )
