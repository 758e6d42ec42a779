"""Pieces of Lark notation: texts, patterns and JSON schemas as a grammar can hold them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from headlong.errors import ParameterError

__all__ = ["WHITE_SPACE", "json_text", "literal", "regex"]

WHITE_SPACE: Final = r" |\n[ \t]{0,20}"
"""What may stand between two tokens of JSON: enough for indented output, too little for a model
that has lost its way to go on with white space for ever."""

_PART: Final = re.compile(r"\\.|/|\n", re.DOTALL)


def literal(text: str) -> str:
    """A text, in quotes.  Raises `ParameterError` for lone surrogates."""
    return json_text(text, "a text of the grammar")


def regex(pattern: str) -> str:
    """A pattern between slashes, its own slashes and line breaks escaped."""
    escapes = {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}
    return "/" + _PART.sub(lambda part: escapes.get(part[0], part[0]), pattern) + "/"


def json_text(value: Mapping[str, object] | bool | str, name: str) -> str:
    """JSON in one line.  Raises `ParameterError` for a value that JSON or UTF-8 cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(f"{name} cannot be written as JSON: {error}") from None
    return text
