"""Text from the user: the prompt of a single run, and files that hold text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO, Final

from headlong.errors import ParameterError

__all__ = ["read_prompt", "read_text"]

# No context holds as much text: at 4 bytes a token this is 16 million tokens.
_MOST_BYTES: Final = 64 << 20


def read_prompt(text: str | None, file: Path | None) -> str:
    """The prompt as it was given.

    text: after ``-p``; file: after ``-f``, ``-`` for standard input, which is also read when
    neither is given and it is no terminal.  Raises `ParameterError` for both, none, an empty one,
    or one that is not UTF-8; `OSError` where a file cannot be read.
    """
    if text is not None and file is not None:
        raise ParameterError("both -p and -f give a prompt; use one of them.")
    if text is None and file is None:
        if sys.stdin.isatty():
            raise ParameterError(
                "no prompt is given; use -p TEXT, or -f FILE ('-': standard input)."
            )
        file = Path("-")
    if file is not None:
        text = read_text(file)
    if not text:
        raise ParameterError("the prompt is empty; give some text with -p TEXT or -f FILE.")
    return text


def read_text(file: Path) -> str:
    """A file's text; ``-`` is standard input.

    Raises `ParameterError` if it is not UTF-8 or too long, `OSError` where it cannot be read.
    """
    if str(file) == "-":
        return _decode(sys.stdin.buffer, "standard input")
    with file.open("rb") as stream:
        return _decode(stream, str(file))


def _decode(stream: BinaryIO, source: str) -> str:
    data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ParameterError(
            f"{source} holds more than {_MOST_BYTES >> 20} MiB of text, which no context can "
            "hold; give less."
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ParameterError(
            f"{source} is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02X}; "
            "convert it first."
        ) from None
