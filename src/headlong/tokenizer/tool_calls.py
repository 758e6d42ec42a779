"""Tool calls in generated text: Qwen3.5's XML form and the Hermes JSON form.

    <tool_call>                          <tool_call>
    <function=NAME>                      {"name": "NAME", "arguments": {"K": VALUE}}
    <parameter=K>                        </tool_call>
    VALUE
    </parameter>
    </function>
    </tool_call>

Both stand between the same tags, so one parser reads either. A call comes out whole, when its
closing tag has been seen, or on demand piece by piece. What looks like a call but is none is text
and comes out as text.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headlong.tokenizer.argument_stream import (
    CALL_CLOSE,
    CALL_OPEN,
    ArgumentStream,
    JSONArguments,
    XMLArguments,
)
from headlong.tokenizer.markers import unfinished
from headlong.tokenizer.tool_arguments import (
    JSONValue,
    function_names,
    parameter_schemas,
    parse_json,
    typed_argument,
)

__all__ = ["ToolCall", "ToolCallDelta", "ToolCallParser", "ToolCallPiece"]

_FUNCTION: Final = re.compile(r"\s*<function=([^>\n]+)>\s*")
# A value ends at the first closing tag that another parameter or the end of the function follows,
# so that a value may itself contain `</parameter>`.
_PARAMETER: Final = re.compile(
    r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>\s*(?=<parameter=|</function>)", re.DOTALL
)
# Where a call may be passed on before it is whole: the name and the start of the arguments.
_XML_HEAD: Final = re.compile(r"\s*<function=([^>\n]+)>\s*(?=<parameter=|</function>)")
_JSON_HEAD: Final = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]+)"\s*,\s*"arguments"\s*:\s*(?=\{)')
_FUNCTION_END: Final = re.compile(r"</function>\s*")
_QUOTE: Final = re.compile(r'\\.|(")', re.DOTALL)  # group 1: a quote that no backslash escapes
# A value may contain `</tool_call>` too: the call is then read on to the next one, so often at
# most, because each attempt reads the call anew.
_MAX_ATTEMPTS: Final = 16


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function, its arguments a JSON object as text."""

    name: str
    arguments_json: str
    id: str


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """A part of call number ``index``: ``name`` and ``id`` come with the first piece.

    The ``arguments_json`` of all pieces of a call joined are its arguments.
    """

    index: int
    arguments_json: str
    name: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """What became certain: text outside of calls, and after it whole calls, or pieces of calls."""

    content: str = ""
    calls: tuple[ToolCall, ...] = ()
    pieces: tuple[ToolCallPiece, ...] = ()


def _random_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


class ToolCallParser:
    """Feeds on chunks of an answer (without its reasoning) and separates calls from text.

    White space next to a call belongs to the format and is dropped. How the text is cut makes no
    difference to the whole.

    Args:
        tools: the tools offered, in OpenAI's form; their schemas type the arguments.
        new_id: makes the id of a call.
        piecewise: calls come as pieces. A call of an offered tool is certain when its arguments
            begin: it stays a call if it breaks off later, with arguments that end early.
    """

    def __init__(
        self,
        tools: Sequence[Mapping[str, object]] = (),
        new_id: Callable[[], str] = _random_id,
        *,
        piecewise: bool = False,
    ) -> None:
        self._schemas = parameter_schemas(tools)
        self._new_id = new_id
        self._piecewise = piecewise
        self._offered = function_names(tools) if piecewise else frozenset()
        self._arguments: ArgumentStream | None = None  # of the call that is being passed on
        self._calls = 0  # so far
        self._pieces: list[ToolCallPiece] = []  # since the last delta
        self._held = ""
        self._space = ""  # white space in front of the opening tag
        self._inside = False  # the held text follows an opening tag
        self._searched = 0  # of the held text: no untried closing tag begins before
        self._attempts = 0
        self._after_call = False  # white space is dropped

    def feed(self, text: str) -> ToolCallDelta:
        """The text and the calls that became certain with this chunk."""
        self._held += text
        return self._read(final=False)

    def flush(self) -> ToolCallDelta:
        """What was held back when generation ended.

        A call that is whole but for its closing tag counts; any other becomes text, but for
        what pieces have already said.
        """
        return self._read(final=True)

    def _read(self, final: bool) -> ToolCallDelta:
        content: list[str] = []
        calls: list[ToolCall] = []
        progress = True
        while progress:
            if self._arguments is not None:
                progress = self._pass_on(self._arguments, final)
            elif self._inside:
                progress = self._read_call(final, content, calls)
            else:
                progress = self._read_text(final, content)
        pieces, self._pieces = self._pieces, []
        return ToolCallDelta("".join(content), tuple(calls), tuple(pieces))

    def _read_text(self, final: bool, content: list[str]) -> bool:
        """Pass text on up to an opening tag; whether there is more to read."""
        if self._after_call:
            self._held = self._held.lstrip()
            self._after_call = not self._held
        begin = self._held.find(CALL_OPEN)
        if begin >= 0:
            # The white space in front is kept with the tag until the call proves to be one.
            keep = len(self._held[:begin].rstrip())
            content.append(self._held[:keep])
            self._space = self._held[keep:begin]
            self._held = self._held[begin + len(CALL_OPEN) :]
            self._inside, self._searched, self._attempts = True, 0, 0
            return True
        keep = len(self._held)
        if not final:
            keep -= unfinished(self._held, CALL_OPEN)
            keep = len(self._held[:keep].rstrip())
        content.append(self._held[:keep])
        self._held = self._held[keep:]
        return False

    def _read_call(self, final: bool, content: list[str], calls: list[ToolCall]) -> bool:
        """Read a call to its end; whether there is more to read."""
        if self._begins():
            return True
        while (end := self._held.find(CALL_CLOSE, self._searched)) >= 0:
            body = self._held[:end]
            self._attempts += 1
            self._searched = end + len(CALL_CLOSE)
            call = self._parse(body)
            if call:
                self._accept(call, self._searched, calls)
                return True
            goes_on = _quotes_a_call(body) or _ends_inside_value(body)
            if self._attempts == _MAX_ATTEMPTS or not goes_on:
                self._reject(content)
                return True
        if final:
            call = self._parse(self._held)
            if call:
                self._accept(call, len(self._held), calls)
            else:
                self._reject(content)
            return True
        self._searched = max(self._searched, len(self._held) - len(CALL_CLOSE) + 1)
        return False

    def _begins(self) -> bool:
        """Whether the call can be passed on from here; its name then has been."""
        if not self._offered:
            return False
        xml = _XML_HEAD.match(self._held)
        head = xml or _JSON_HEAD.match(self._held)
        if head is None or (name := head[1].strip()) not in self._offered:
            return False
        self._arguments = XMLArguments(self._schemas.get(name)) if xml else JSONArguments()
        self._held = self._held[head.end() :]
        self._pieces.append(ToolCallPiece(self._calls, "", name, self._new_id()))
        return True

    def _pass_on(self, arguments: ArgumentStream, final: bool) -> bool:
        """Pass a call's arguments on; whether it ended."""
        text = arguments.feed(self._held, final)
        self._held = ""
        if text:
            self._pieces.append(ToolCallPiece(self._calls, text))
        if arguments.rest is None:
            return False
        self._held = arguments.rest
        self._calls += 1
        self._arguments = None
        self._inside, self._after_call = False, True
        return True

    def _accept(self, call: ToolCall, end: int, calls: list[ToolCall]) -> None:
        if self._piecewise:
            piece = ToolCallPiece(self._calls, call.arguments_json, call.name, call.id)
            self._pieces.append(piece)
        else:
            calls.append(call)
        self._calls += 1
        self._held = self._held[end:]
        self._inside, self._after_call = False, True

    def _reject(self, content: list[str]) -> None:
        """The opening tag was text; what follows it is read anew."""
        content.append(self._space + CALL_OPEN)
        self._inside = False

    def _parse(self, body: str) -> ToolCall | None:
        if _quotes_a_call(body):
            return None
        stripped = body.strip()
        named = _json_call(stripped) if stripped.startswith("{") else self._xml_call(stripped)
        if named is None:
            return None
        name, arguments = named
        try:
            # Sound JSON may hold lone surrogates (escaped), which no UTF-8 answer can carry.
            text = json.dumps(arguments, ensure_ascii=False)
            f"{name}{text}".encode()
        except (ValueError, RecursionError):
            return None
        return ToolCall(name, text, self._new_id())

    def _xml_call(self, body: str) -> tuple[str, dict[str, JSONValue]] | None:
        head = _FUNCTION.match(body)
        if not head or not (name := head[1].strip()):
            return None
        schema = self._schemas.get(name)
        arguments: dict[str, JSONValue] = {}
        at = head.end()
        while parameter := _PARAMETER.match(body, at):
            key = parameter[1].strip()
            if not key or key in arguments:
                return None
            arguments[key] = typed_argument(parameter[2], key, schema)
            at = parameter.end()
        return (name, arguments) if _FUNCTION_END.fullmatch(body, at) else None


def _json_call(body: str) -> tuple[str, dict[str, JSONValue]] | None:
    try:
        call = parse_json(body)
        arguments = call.get("arguments", {}) if isinstance(call, dict) else None
        if isinstance(arguments, str):  # some models quote the object once more
            arguments = parse_json(arguments)
    except ValueError:
        return None
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return name, arguments


def _quotes_a_call(body: str) -> bool:
    """Whether a value shows how a call is written: its opening tag is there, its end is not."""
    return body.count(CALL_OPEN) > body.count(CALL_CLOSE)


def _ends_inside_value(body: str) -> bool:
    """Whether a body that is no call yet ends inside a value, where a closing tag is text."""
    if body.lstrip().startswith("{"):
        quotes = sum(1 for match in _QUOTE.finditer(body) if match[1])
        return quotes % 2 == 1
    if body.rstrip().endswith("</function>"):
        return False  # the function is over, its parameter was never closed
    return body.rfind("<parameter=") > body.rfind("</parameter>")
