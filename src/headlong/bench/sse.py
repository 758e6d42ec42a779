"""Server-sent events out of stamped reads, by the rules of the HTML standard, section 9.2.

An event's time is that of the read which brought the end of its last ``data`` line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["DONE", "Read", "SentEvent", "Stream", "is_done", "split"]

DONE: Final = "[DONE]"
"""What OpenAI's streams end with."""

_BYTE_ORDER: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
# JSON holds no raw line ends, so that this is never inside an answer's text.
_DONE_LINE: Final = re.compile(rb"[\r\n]data: ?\[DONE\]")
_DONE_LENGTH: Final = len(b"\ndata: [DONE]")


@dataclass(frozen=True, slots=True)
class Read:
    """Bytes and the time at which they were read, in seconds."""

    t: float
    data: bytes


@dataclass(frozen=True, slots=True)
class SentEvent:
    """An event's data and when it was complete."""

    t: float
    data: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A whole stream.

    Args:
        events: in order, without ``[DONE]``.
        done: when ``[DONE]`` came; None where it did not.
        comments: how many comment lines there were; servers send them to keep a connection alive.
        rest: bytes after the last line end: a stream that broke off has some.
    """

    events: tuple[SentEvent, ...]
    done: float | None
    comments: int
    rest: bytes


def is_done(before: bytes, data: bytes) -> bool:
    """Whether ``data`` completes a ``[DONE]`` line, whose begin may stand at the end of ``before``.

    ``before`` may be cut to its last 32 bytes; at the start of a stream it is a line end.
    """
    return _DONE_LINE.search(before[-_DONE_LENGTH:] + data) is not None


def split(reads: Iterable[Read]) -> Stream:
    """The events of a stream."""
    events: list[SentEvent] = []
    comments, done = 0, None
    data: list[bytes] = []
    at = 0.0
    rest = bytearray()
    for number, read in enumerate(reads):
        rest += read.data.removeprefix(_BYTE_ORDER) if number == 0 else read.data
        lines = _whole_lines(rest)
        for line in lines:
            if not line:
                if data:
                    done = _add(events, at, data, done)
                    data = []
            elif line.startswith(b":"):
                comments += 1
            else:
                name, _, value = line.partition(b":")
                if name == b"data":
                    data.append(value.removeprefix(b" "))
                    at = read.t
    if data:  # no blank line at the end, but the line is whole
        done = _add(events, at, data, done)
    return Stream(tuple(events), done, comments, bytes(rest))


def _add(events: list[SentEvent], at: float, data: list[bytes], done: float | None) -> float | None:
    text = b"\n".join(data).decode("utf-8", "replace")
    if text == DONE:
        return at if done is None else done
    events.append(SentEvent(at, text))
    return done


def _whole_lines(rest: bytearray) -> list[bytes]:
    """Take whole lines off the front; a final CR stays, for its LF may follow."""
    end = len(rest) - 1 if rest.endswith(b"\r") else len(rest)
    lines = []
    begin = 0
    for found in _LINE_END.finditer(rest, 0, end):
        lines.append(bytes(rest[begin : found.start()]))
        begin = found.end()
    del rest[:begin]
    return lines
