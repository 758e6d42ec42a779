"""Split generated text into reasoning and answer at `<think>` ... `</think>`.

A reasoning block can only stand at the start of an answer. Most templates open it themselves, at
the end of the prompt, so that the model begins in the middle of it; `opens_reasoning` tells. The
newlines that set the tags apart belong to the format, not to the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from headlong.tokenizer.markers import unfinished

__all__ = ["ReasoningDelta", "ReasoningParser", "opens_reasoning"]


def opens_reasoning(prompt: str, open_tag: str = "<think>") -> bool:
    """Whether a rendered prompt ends inside a reasoning block that the template opened.

    A tag quoted by the user does not count: text of a message is always followed by more.
    """
    return prompt.rstrip().endswith(open_tag)


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Text that became certain: either part may be empty."""

    reasoning: str = ""
    content: str = ""


class _State(Enum):
    START = auto()  # nothing but white space so far
    REASONING_START = auto()  # after the opening tag, newlines are dropped
    REASONING = auto()
    CONTENT_START = auto()  # after the closing tag, newlines are dropped
    CONTENT = auto()


class ReasoningParser:
    """Feeds on chunks of generated text; how it is cut makes no difference to the whole.

    Args:
        opened: the prompt ended inside the block (see `opens_reasoning`). Models that repeat the
            opening tag are understood.
        open_tag, close_tag: the model's tags.
    """

    def __init__(
        self, opened: bool, open_tag: str = "<think>", close_tag: str = "</think>"
    ) -> None:
        self._opened = opened
        self._open = open_tag
        self._close = close_tag
        self._state = _State.START
        self._held = ""

    @property
    def reasoning(self) -> bool:
        """Whether the text read so far ends inside a reasoning block."""
        if self._state is _State.START:
            return self._opened
        return self._state in (_State.REASONING_START, _State.REASONING)

    def feed(self, text: str) -> ReasoningDelta:
        """The parts of the answer that became certain with this text."""
        return self._read(text, final=False)

    def flush(self) -> ReasoningDelta:
        """What was held back when generation ended: an unfinished tag is text."""
        return self._read("", final=True)

    def _read(self, text: str, final: bool) -> ReasoningDelta:
        rest = self._held + text
        if self._state is _State.START:
            body = rest.lstrip()
            if body.startswith(self._open):
                self._state = _State.REASONING_START
                rest = body[len(self._open) :]
            elif not final and self._open.startswith(body):
                self._held = rest
                return ReasoningDelta()
            else:
                self._state = _State.REASONING_START if self._opened else _State.CONTENT
        reasoning = ""
        if self._state is _State.REASONING_START:
            rest = rest.lstrip("\n")
            if rest:
                self._state = _State.REASONING
        if self._state is _State.REASONING:
            end = rest.find(self._close)
            if end >= 0:
                reasoning = rest[:end].rstrip("\n")
                rest = rest[end + len(self._close) :]
                self._state = _State.CONTENT_START
            else:
                keep = len(rest)
                if not final:
                    keep -= unfinished(rest, self._close)
                    # Newlines in front of a closing tag would be dropped.
                    keep = len(rest[:keep].rstrip("\n"))
                self._held = rest[keep:]
                return ReasoningDelta(reasoning=rest[:keep])
        if self._state is _State.CONTENT_START:
            rest = rest.lstrip("\n")
            if rest:
                self._state = _State.CONTENT
        self._held = ""
        return ReasoningDelta(reasoning, rest)
