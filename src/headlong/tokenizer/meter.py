"""What rendering a chat template may cost.

Every value that a template makes is weighed before it can be used again, and every operation looks
at the clock now and then. Limits grow with the conversation, so that any sound template can render
a long one, while a hostile template gets a small multiple of what it was given.
"""

from __future__ import annotations

import sys
import time
from collections.abc import ItemsView, KeysView, ValuesView
from typing import Final, TypeVar

from headlong.errors import TemplateError

__all__ = ["Meter"]

T = TypeVar("T")

# Bytes that one value may have, and that all values made in one rendering may have together:
# a base for what templates bring along, and a multiple of the conversation. Templates trim, split
# and join every message a few times; 64 leaves room for those that gather the prompt step by step.
_VALUE_BASE: Final = 1 << 20
_VALUE_FACTOR: Final = 4
_TOTAL_BASE: Final = 32 << 20
_TOTAL_FACTOR: Final = 64
# CPU seconds of this thread, so that a busy machine does not matter. Sound templates take 0.2 ms
# per message.
_SECONDS_BASE: Final = 2.0
_SECONDS_PER_BYTE: Final = 1e-6


class Meter:
    """What one rendering may still use. `conversation` is the weight of its input in bytes."""

    def __init__(self, conversation: int = 0) -> None:
        self.value_limit: Final = _VALUE_BASE + _VALUE_FACTOR * conversation
        self._left = _TOTAL_BASE + _TOTAL_FACTOR * conversation
        seconds = _SECONDS_BASE + _SECONDS_PER_BYTE * conversation
        self._deadline = time.thread_time() + seconds
        self._steps = 0
        # Values cannot be changed once made, so each container is weighed once. Keeping it here
        # keeps its id from being reused.
        self._weights: dict[int, tuple[object, int]] = {}

    def step(self) -> None:
        """Count one operation; raises `TemplateError` when time is up."""
        self._steps += 1
        if not self._steps % 16 and time.thread_time() > self._deadline:
            raise TemplateError("the chat template takes too long; it may be malicious or broken")

    def allow(self, size: int) -> None:
        """Account for a value of that many bytes that is about to be made."""
        self._left -= size
        if size > self.value_limit or self._left < 0:
            raise TemplateError(
                "the chat template makes far more text or data than the conversation holds; "
                "it may be malicious or broken"
            )

    def charge(self, value: T) -> T:
        """Account for a value that was made."""
        self.allow(self.weigh(value))
        return value

    def weigh(self, value: object) -> int:
        """Bytes of a value written out as a tree: what it holds twice counts twice."""
        if isinstance(value, list | tuple | dict | KeysView | ValuesView | ItemsView):
            known = self._weights.get(id(value))
            if known:
                return known[1]
            weight = 64 + 8 * len(value)
            for item in value:
                weight += self.weigh(item)
            if isinstance(value, dict):
                for item in value.values():
                    weight += self.weigh(item)
            self.remember(value, weight)
            return weight
        return sys.getsizeof(value) if isinstance(value, str | int) else 64

    def remember(self, value: object, weight: int) -> None:
        """Note the weight of a container that is known without looking into it."""
        self._weights[id(value)] = (value, weight)
