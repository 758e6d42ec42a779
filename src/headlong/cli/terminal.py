"""Text of a model on its way to the user: nothing in it may command the terminal."""

from __future__ import annotations

import sys
from typing import Final, TextIO

__all__ = ["Writer", "printable"]

# C0 and C1 control characters and DEL, except newline and tab: an escape sequence in generated
# text could retitle the window, move the cursor or paste into the clipboard.
_CONTROLS: Final = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if chr(code) not in "\n\t"
}
_DIM: Final = "\x1b[2m"
_RESET: Final = "\x1b[22m"


def printable(text: str) -> str:
    """The text with control characters, except newline and tab, as U+FFFD."""
    return text.translate(_CONTROLS)


class Writer:
    """Writes generated text at once: printable and dimmed on a terminal, exact bytes elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._at_line_start = True

    @property
    def terminal(self) -> bool:
        """Whether it writes to a terminal."""
        return self._terminal

    def write(self, text: str, *, dim: bool = False) -> None:
        """Write and flush; `dim` marks what is not the answer itself."""
        if not text:
            return
        self._at_line_start = text.endswith("\n")
        if self._terminal:
            text = printable(text)
            if dim:
                text = f"{_DIM}{text}{_RESET}"
        self._stream.write(text)
        self._stream.flush()

    def end_line(self) -> None:
        """Start a new line unless the last one is complete."""
        if not self._at_line_start:
            self.write("\n")
