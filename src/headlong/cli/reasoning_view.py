"""An answer on its way out, its reasoning set apart."""

from __future__ import annotations

from headlong.cli.terminal import Writer
from headlong.tokenizer import ReasoningDelta, ReasoningParser

__all__ = ["ReasoningView"]


class ReasoningView:
    """Splits generated text into reasoning and answer and writes them as they come.

    On a terminal reasoning is dimmed; elsewhere it stands between ``<think>`` and ``</think>``, so
    that a program can tell it from the answer.

    Args:
        writer: where the text goes.
        opened: the prompt ended inside a reasoning block.
        hide: leave the reasoning out.
    """

    def __init__(self, writer: Writer, *, opened: bool, hide: bool) -> None:
        self._parser = ReasoningParser(opened)
        self._writer = writer
        self._hide = hide
        self._reasoning: list[str] = []
        self._content: list[str] = []

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    @property
    def content(self) -> str:
        """The answer so far."""
        return "".join(self._content)

    def feed(self, text: str) -> None:
        """Write what became certain with this text."""
        self._take(self._parser.feed(text))

    def finish(self) -> None:
        """Write what was held back, and end the line."""
        self._take(self._parser.flush())
        if not self._content:
            self._close_reasoning()
        self._writer.end_line()

    def _take(self, delta: ReasoningDelta) -> None:
        if delta.reasoning:
            if not self._reasoning:
                self._mark("<think>\n")
            self._reasoning.append(delta.reasoning)
            if not self._hide:
                self._writer.write(delta.reasoning, dim=True)
        if delta.content:
            if not self._content:
                self._close_reasoning()
            self._content.append(delta.content)
            self._writer.write(delta.content)

    def _close_reasoning(self) -> None:
        if self._reasoning and not self._hide:
            self._writer.end_line()
            self._mark("</think>\n")
            self._writer.write("\n")

    def _mark(self, tag: str) -> None:
        if not self._hide and not self._writer.terminal:
            self._writer.write(tag)
