"""Check a conversation and copy it into the plain data that chat templates read.

Messages come from requests in OpenAI's form. Fields that this file does not know are passed on, for
a template may read them; what a model of text cannot take (images, audio) is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from headlong.errors import ParameterError, UnsupportedError
from headlong.tokenizer.tool_arguments import JSONValue, parse_json

__all__ = ["JSONObject", "copied_json", "copied_messages", "copied_tools"]

JSONObject = dict[str, JSONValue]

# A conversation nests to about ten levels, a tool's schema to some twenty.
_MAX_DEPTH = 64


def copied_json(value: object, path: str, depth: int = 0) -> JSONValue:
    """A deep copy of JSON-like data: the template gets nothing that it could change or call.

    `path` names the place in error messages. Raises `ParameterError` for other types, lone
    surrogates and nesting of more than 64 levels.
    """
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ParameterError(
                    f"{path}: a lone surrogate (U+{ord(value[error.start]):04X}) at offset "
                    f"{error.start} is not a character; remove it or send the whole pair"
                ) from None
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth == _MAX_DEPTH:
        raise ParameterError(f"{path}: nested more than {_MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        result: JSONObject = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise ParameterError(f"{path}: the key {key!r:.40} is not a string")
            copied_json(key, path)  # for its characters
            result[key] = copied_json(item, f"{path}.{key:.40}", depth + 1)
        return result
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [copied_json(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise ParameterError(f"{path}: {type(value).__name__} is not JSON data")


def copied_messages(messages: object, *, arguments_as_text: bool = False) -> list[JSONObject]:
    """The messages as templates expect them.

    Text parts of a content become one string, in order and with nothing in between. Arguments of
    tool calls become objects, or with `arguments_as_text` JSON text, whichever way they came.
    Raises `ParameterError` naming the place, `UnsupportedError` for parts that are not text.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise ParameterError("messages: must be a list of messages")
    result: list[JSONObject] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise ParameterError(f"{path}: must be an object with a role and content")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise ParameterError(f"{path}.role: must be a string such as 'user'")
        copy: JSONObject = {}
        for key, value in message.items():
            if key == "content":
                copy[key] = _content(value, f"{path}.content")
            elif key == "tool_calls" and value is not None:
                copy[key] = _tool_calls(value, f"{path}.tool_calls", arguments_as_text)
            else:
                copy |= _object({key: value}, path)
        result.append(copy)
    return result


def copied_tools(tools: object) -> list[JSONObject]:
    """The tools offered to the model, each `{"type": "function", "function": {"name": ...}}`.

    Raises `ParameterError` naming the place.
    """
    if not isinstance(tools, Sequence) or isinstance(tools, str | bytes):
        raise ParameterError("tools: must be a list of tools")
    result: list[JSONObject] = []
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if not isinstance(tool, Mapping):
            raise ParameterError(f"{path}: must be an object")
        kind = tool.get("type", "function")
        if kind != "function":
            raise UnsupportedError(f"{path}.type: {kind!r:.40} is not supported, only 'function'")
        function = tool.get("function")
        if not isinstance(function, Mapping) or not _is_name(function.get("name")):
            raise ParameterError(f"{path}.function: must be an object with a name")
        result.append(_object(tool, path))
    return result


def _object(value: Mapping[str, object], path: str) -> JSONObject:
    copy = copied_json(value, path)
    assert isinstance(copy, dict)
    return copy


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _content(content: object, path: str) -> JSONValue:
    if content is None or isinstance(content, str):
        return copied_json(content, path)
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        raise ParameterError(f"{path}: must be a string or a list of parts")
    texts: list[str] = []
    for index, part in enumerate(content):
        place = f"{path}[{index}]"
        if not isinstance(part, Mapping):
            raise ParameterError(f"{place}: must be an object with a type")
        kind = part.get("type")
        if kind != "text":
            raise UnsupportedError(
                f"{place}: parts of type {kind!r:.40} are not supported; "
                'this engine reads text, as {"type": "text", "text": "..."}'
            )
        text = part.get("text")
        if not isinstance(text, str):
            raise ParameterError(f"{place}.text: must be a string")
        copied_json(text, f"{place}.text")
        texts.append(text)
    return "".join(texts)


def _tool_calls(calls: object, path: str, as_text: bool) -> list[JSONValue]:
    if not isinstance(calls, Sequence) or isinstance(calls, str | bytes):
        raise ParameterError(f"{path}: must be a list of calls")
    result: list[JSONValue] = []
    for index, call in enumerate(calls):
        place = f"{path}[{index}]"
        copy = copied_json(call, place)
        function = copy.get("function") if isinstance(copy, dict) else None
        if not isinstance(function, dict) or not _is_name(function.get("name")):
            raise ParameterError(f"{place}.function: must be an object with a name and arguments")
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = parse_json(arguments or "{}")
            except ValueError as error:
                raise ParameterError(f"{place}.function.arguments: not JSON: {error}") from None
        if not isinstance(arguments, dict):
            raise ParameterError(
                f"{place}.function.arguments: must be an object, or one written as JSON"
            )
        arguments = copied_json(arguments, f"{place}.function.arguments")
        function["arguments"] = json.dumps(arguments, ensure_ascii=False) if as_text else arguments
        result.append(copy)
    return result
