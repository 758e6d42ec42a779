"""Arguments of a tool call as JSON text, piece by piece while the model still writes them.

A reader takes over once a call's name is certain.  Of a sound call the pieces joined are the whole
arguments.  A call that breaks off leaves JSON that ends early, so that nobody can mistake it for
a whole one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, Protocol

from headlong.tokenizer.tool_arguments import JSONValue, is_plain_text, typed_argument

__all__ = ["CALL_CLOSE", "CALL_OPEN", "ArgumentStream", "JSONArguments", "XMLArguments"]

CALL_OPEN: Final = "<tool_call>"
CALL_CLOSE: Final = "</tool_call>"
_PARAMETER: Final = "<parameter="
_PARAMETER_END: Final = "</parameter>"
_FUNCTION_END: Final = "</function>"
_PARAMETER_HEAD: Final = re.compile(r"<parameter=([^>\n]+)>(\n?)")
# Group 1: the end of a value. Else the call is over although its value was never closed.
_VALUE_END: Final = re.compile(
    r"(\n?</parameter>\s*(?=<parameter=|</function>))|\n?</function>\s*</tool_call>"
)


class ArgumentStream(Protocol):
    """Reads the text of one call from where its arguments begin."""

    rest: str | None
    """None while the call goes on; then the text that follows it."""

    def feed(self, text: str, final: bool) -> str:
        """The JSON text that became certain; with ``final`` no more text comes."""


class XMLArguments:
    """Arguments in Qwen's form, each between ``<parameter=NAME>`` and ``</parameter>``.

    Strings come out as they are written, values of other types when they are whole.  A value ends
    where `ToolCallParser` ends it; whole calls that a string quotes belong to the string.

    Args:
        parameters: the function's schema.
    """

    def __init__(self, parameters: Mapping[str, object] | None) -> None:
        self.rest: str | None = None
        self._parameters = parameters
        self._held = ""
        self._keys: set[str] = set()
        self._key: str | None = None  # of the value that is being read
        self._plain = False  # whether that value is a string for certain
        self._value: list[str] = []  # its text where it is not
        self._depth = 0  # calls that it quotes and that are not closed yet
        self._closing = False  # after the end of the function

    def feed(self, text: str, final: bool) -> str:
        """See `ArgumentStream`."""
        self._held += text
        out: list[str] = []
        while self.rest is None:
            if self._closing:
                self.rest = _after_call(self._held, final)
                break
            more = self._between(out, final) if self._key is None else self._within(out, final)
            if not more:
                break
        return "".join(out)

    def _between(self, out: list[str], final: bool) -> bool:
        """Read up to the next value or the end; whether there is more to read."""
        held = self._held = self._held.lstrip()
        if held.startswith(_FUNCTION_END):
            out.append("}" if self._keys else "{}")
            self._held = held[len(_FUNCTION_END) :]
            self._closing = True
            return True
        head = _PARAMETER_HEAD.match(held)
        # A newline after the tag belongs to the tag: it has to be seen, or seen to be missing.
        if head and (final or head[2] or head.end() < len(held)):
            key = head[1].strip()
            if not key or key in self._keys:
                self.rest = held
                return False
            out.append(f"{', ' if self._keys else '{'}{_json(key)}: ")
            self._keys.add(key)
            self._key = key
            self._plain = is_plain_text(key, self._parameters)
            if self._plain:
                out.append('"')
            self._held = held[head.end() :]
            return True
        begun = head or any(tag.startswith(held) for tag in (_PARAMETER, _FUNCTION_END))
        named = held.startswith(_PARAMETER) and not re.search(r"[>\n]", held[len(_PARAMETER) :])
        if final or not (begun or named):
            self.rest = held
        return False

    def _within(self, out: list[str], final: bool) -> bool:
        """Read a value on; whether it ended."""
        held = self._held
        for end in _VALUE_END.finditer(held):
            if self._depth + _opened(held[: end.start()]) > 0:
                continue  # the end of a call that the value quotes
            self._add(held[: end.start()], out)
            if end[1] is None:
                self.rest = held[end.end() :]
                return False
            out.append('"' if self._plain else self._typed())
            self._key, self._value, self._depth = None, [], 0
            self._held = held[end.end() :]
            return True
        keep = len(held) if final else _safe(held)
        self._depth += _opened(held[:keep])
        self._add(held[:keep], out)
        self._held = held[keep:]
        if final:
            self.rest = ""
        return False

    def _add(self, text: str, out: list[str]) -> None:
        if self._plain:
            out.append(_json(text)[1:-1])
        else:
            self._value.append(text)

    def _typed(self) -> str:
        assert self._key is not None
        text = "".join(self._value)
        try:
            return _json(typed_argument(text, self._key, self._parameters))
        except RecursionError:  # what was just parsed is too deep to be written
            return _json(text)


class JSONArguments:
    """Arguments in the Hermes form, passed on as the model writes them.

    Reads from the brace that opens the arguments to the end of the call.
    """

    def __init__(self) -> None:
        self.rest: str | None = None
        self._held = ""
        self._depth = 0
        self._quoted = False  # inside a string
        self._escaped = False  # after a backslash in it
        self._outside = False  # after the arguments, in the object around them
        self._closing = False  # after that object

    def feed(self, text: str, final: bool) -> str:
        """See `ArgumentStream`."""
        self._held += text
        out = "" if self._closing else self._scan()
        if self._closing:
            self.rest = _after_call(self._held, final)
        elif final:
            self.rest = ""
        return out

    def _scan(self) -> str:
        """Take the held text up to the end of the object; what of it are arguments."""
        held, out = self._held, ""
        begin = 0
        for at, character in enumerate(held):
            self._read(character)
            if self._closing:  # this character is no part of the call any more
                out += "" if self._outside else held[begin:at]
                self._held = held[at:]
                return out
            if self._depth == 0 and not self._outside:
                out += held[begin : at + 1]
                self._outside, self._depth = True, 1
            elif self._depth == 0:
                self._closing = True
                self._held = held[at + 1 :]
                return out
        if not self._outside:
            out += held[begin:]
        self._held = ""
        return out

    def _read(self, character: str) -> None:
        """Keep account of strings and braces; `_closing` at what cannot stand in JSON."""
        if self._quoted:
            if character < " ":
                self._closing = True
            elif self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._quoted = False
        elif character == '"':
            self._quoted = True
        elif character in "{[":
            self._depth += 1
        elif character in "]}":
            self._depth -= 1
        elif character == "<":
            self._closing = True


def _json(value: JSONValue) -> str:
    """JSON text as `json.dumps` writes it, other scripts readable."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates, which no UTF-8 answer can carry, stay escaped
        return json.dumps(value)
    return text


def _opened(text: str) -> int:
    """How many more calls are opened than closed in a text."""
    return text.count(CALL_OPEN) - text.count(CALL_CLOSE)


def _after_call(held: str, final: bool) -> str | None:
    """What follows the closing tag, or the call that lacks one; None: it may still come."""
    text = held.lstrip()
    if text.startswith(CALL_CLOSE):
        return text[len(CALL_CLOSE) :]
    if CALL_CLOSE.startswith(text):
        return "" if final else None
    return text


def _safe(held: str) -> int:
    """How much of a value's text cannot be, or be part of, a tag that matters."""
    for bracket in re.finditer(r"\n?<", held):
        if _may_matter(held[bracket.start() :]):
            return bracket.start()
    return len(held) - held.endswith("\n")  # a newline in front of the closing tag is dropped


def _may_matter(text: str) -> bool:
    """Whether more text could make this the end of a value, or the tag of a quoted call."""
    text = text.removeprefix("\n")
    tags = (_PARAMETER_END, _FUNCTION_END, CALL_OPEN, CALL_CLOSE)
    return (
        any(tag.startswith(text) and tag != text for tag in tags)
        or _awaits(text, _PARAMETER_END, (_PARAMETER, _FUNCTION_END))
        or _awaits(text, _FUNCTION_END, (CALL_CLOSE,))
    )


def _awaits(text: str, tag: str, followers: tuple[str, ...]) -> bool:
    """Whether the text is the tag, and what follows it may still become one of the followers."""
    if not text.startswith(tag):
        return False
    tail = text[len(tag) :].lstrip()
    return any(follower.startswith(tail) and follower != tail for follower in followers)
