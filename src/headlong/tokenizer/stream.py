"""Decode ids one by one without ever splitting a character.

A token may end in the middle of a UTF-8 sequence. The bytes of an unfinished character are held
back (at most three); bytes that cannot become a character any more turn into U+FFFD at once. The
work per token does not depend on what came before.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

__all__ = ["StreamDecoder"]

_utf8 = codecs.getincrementaldecoder("utf-8")


class StreamDecoder:
    """Text of a growing sequence of ids. All pieces joined equal decoding all ids at once."""

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._decoder = _utf8(errors="replace")

    def feed(self, token: int) -> str:
        """The text that became certain with this id, possibly none."""
        return self._decoder.decode(self._bytes_of(token))

    def flush(self) -> str:
        """U+FFFD for a character that was never finished. The decoder can be used anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
