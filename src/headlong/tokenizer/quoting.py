"""Keep control tokens that a conversation merely quotes from counting as such.

A rendered prompt mixes the template's control tokens with text from outside. Were `<|im_end|>` in
a message to become the control token, whoever wrote that message could speak as anybody. So each
control text in the conversation is marked before rendering, with a sign behind its first character
that the conversation does not use, and the marks are taken out of the prompt again, leaving their
offsets for the tokenizer. Behind the first character, because a template that splits or strips then
sees no token either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from headlong.errors import ParameterError
from headlong.tokenizer.tool_arguments import JSONValue

__all__ = ["choose_mark", "marked", "unmarked"]

# Hexagrams: 64 rare signs, neither letters nor white space, and printable, so that they survive
# filters and Python's way of writing lists.
_MARKS = [chr(code) for code in range(0x4DC0, 0x4E00)]
_ANY_MARK = re.compile("[\u4dc0-\u4dff]")


def choose_mark(data: JSONValue, controls: re.Pattern[str], source: str) -> str | None:
    """A sign that neither the data nor the template's source hold.

    None if the data quote no control token. Raises `ParameterError` if all signs are in use.
    """
    if not any(controls.search(text) for text in _strings(data)):
        return None
    used = {mark for text in (source, *_strings(data)) for mark in _ANY_MARK.findall(text)}
    for mark in _MARKS:
        if mark not in used:
            return mark
    raise ParameterError(
        "messages: the text quotes control tokens and holds all hexagrams from U+4DC0 to U+4DFF, "
        "of which one must be free; remove one"
    )


def marked(data: JSONValue, controls: re.Pattern[str], mark: str) -> JSONValue:
    """A copy of the data with every control text in it marked."""
    if isinstance(data, str):
        return _marked_text(data, controls, mark)
    if isinstance(data, list):
        return [marked(item, controls, mark) for item in data]
    if isinstance(data, dict):
        return {
            _marked_text(key, controls, mark): marked(item, controls, mark)
            for key, item in data.items()
        }
    return data


def unmarked(text: str, mark: str) -> tuple[str, frozenset[int]]:
    """The text without marks, and the offsets in it at which a quoted control text begins."""
    pieces = text.split(mark)
    offsets: list[int] = []
    length = 0
    for piece in pieces[:-1]:
        length += len(piece)
        offsets.append(length - 1)
    return "".join(pieces), frozenset(offsets)


def _marked_text(text: str, controls: re.Pattern[str], mark: str) -> str:
    pieces: list[str] = []
    start = at = 0
    # Control texts may overlap, so the search goes on one character further, not behind.
    while found := controls.search(text, at):
        at = found.start() + 1
        pieces.append(text[start:at])
        start = at
    return mark.join([*pieces, text[start:]])


def _strings(data: JSONValue) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, list):
        for item in data:
            yield from _strings(item)
    elif isinstance(data, dict):
        for key, item in data.items():
            yield key
            yield from _strings(item)
