"""The tokens before the one to sample, with counts over the window that penalties look at.

Drafting and verifying append tokens that may be rejected, so the history can be cut back; counts
are kept in step by single tokens, never recounted.
"""

from collections.abc import Iterable
from typing import overload

from headlong import _native
from headlong.errors import HeadlongError

__all__ = ["TokenHistory"]


class TokenHistory:
    """Tokens of one sequence, prompt and output, and how often each occurs in the last `window`.

    window: -1 counts all tokens, 0 counts none. `append` and each token that `truncate` drops
    cost O(1).
    """

    __slots__ = ("_tokens", "_window", "counts")

    def __init__(self, tokens: Iterable[int] = (), window: int = 0) -> None:
        if window < -1:
            raise HeadlongError(f"a history window of {window} tokens; it must be -1 or more")
        self._window = window
        self._tokens: list[int] = []
        self.counts = _native.WindowCounts()
        self.extend(tokens)

    counts: _native.WindowCounts
    """How often each token occurs in the window."""

    @property
    def window(self) -> int:
        """How many of the last tokens are counted; -1: all."""
        return self._window

    def __len__(self) -> int:
        return len(self._tokens)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        return self._tokens[index]

    def append(self, token: int) -> None:
        """Adds one token at the end."""
        tokens = self._tokens
        tokens.append(token)
        if self._window == 0:
            return
        self.counts.add(token)
        if 0 < self._window < len(tokens):
            self.counts.drop(tokens[-1 - self._window])

    def extend(self, tokens: Iterable[int]) -> None:
        """Adds tokens at the end, in order."""
        for token in tokens:
            self.append(token)

    def truncate(self, length: int) -> None:
        """Keeps the first `length` tokens: as if the others had never been appended."""
        tokens = self._tokens
        if not 0 <= length <= len(tokens):
            raise HeadlongError(f"a history of {len(tokens)} tokens cannot be cut to {length}")
        if self._window == 0:
            del tokens[length:]
            return
        while len(tokens) > length:
            if 0 < self._window < len(tokens):
                self.counts.add(tokens[-1 - self._window])
            self.counts.drop(tokens.pop())
