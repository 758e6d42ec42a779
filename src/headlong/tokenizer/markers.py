"""Find a marker in text that arrives in chunks.

The parsers of generated text look for tags such as `</think>`. A chunk may end inside one; how
much of its end may still turn out to be a tag is the one thing they all need to know.
"""

from __future__ import annotations

__all__ = ["unfinished"]


def unfinished(text: str, marker: str) -> int:
    """Length of the longest end of `text` that is a beginning of `marker`, but not all of it."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:length]):
            return length
    return 0
