"""Stop strings in text that arrives in chunks.

A stop string may be spread over many tokens and begin inside one. Text is passed on as soon as it
cannot belong to a stop string, never later. How the text is cut into chunks makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence

from headlong.errors import ParameterError

__all__ = ["StopMatcher"]

# Each character costs one step per stop string, and each stop string a table of its length.
_MAX_STOPS = 64
_MAX_LENGTH = 4096


class StopMatcher:
    """Passes text through up to the first stop string.

    The stop string that is complete first wins; of several complete at the same character, the
    one that began first. Neither it nor anything after it comes out.

    Raises `ParameterError` for an empty stop string, one of more than 4096 characters, or more
    than 64 of them.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if len(stops) > _MAX_STOPS:
            raise ParameterError(f"stop: {len(stops)} stop strings; at most {_MAX_STOPS}")
        for stop in stops:
            if not stop:
                raise ParameterError("stop: a stop string is empty; leave it out")
            if len(stop) > _MAX_LENGTH:
                raise ParameterError(
                    f"stop: a stop string has {len(stop)} characters; at most {_MAX_LENGTH}"
                )
        # Knuth-Morris-Pratt, one automaton per stop string: a state is the number of its
        # characters that the text ends with.
        self._stops = sorted(set(stops), key=len, reverse=True)
        self._fallbacks = [_fallbacks(stop) for stop in self._stops]
        self._states = [0] * len(self._stops)
        self._held = ""
        self._hit: str | None = None

    @property
    def hit(self) -> str | None:
        """The stop string that was met."""
        return self._hit

    def feed(self, text: str) -> str:
        """The text that is now certain not to belong to a stop string. After a hit: nothing."""
        if self._hit is not None:
            return ""
        if not self._stops:
            return text
        pending = self._held + text
        for index, character in enumerate(text, start=len(self._held) + 1):
            for which, stop in enumerate(self._stops):
                state = self._advance(which, stop, character)
                if state == len(stop):
                    self._hit = stop
                    self._held = ""
                    return pending[: index - state]
        keep = len(pending) - max(self._states)
        self._held = pending[keep:]
        return pending[:keep]

    def flush(self) -> str:
        """The text still held back when generation ends without a stop string."""
        rest, self._held = self._held, ""
        self._states = [0] * len(self._stops)
        return rest

    def _advance(self, which: int, stop: str, character: str) -> int:
        fallbacks = self._fallbacks[which]
        state = self._states[which]
        while state and stop[state] != character:
            state = fallbacks[state]
        state += stop[state] == character
        self._states[which] = state
        return state


def _fallbacks(stop: str) -> list[int]:
    """For each matched length, the next shorter one that the same text may also be."""
    table = [0] * (len(stop) + 1)
    length = 0
    for position in range(1, len(stop)):
        while length and stop[length] != stop[position]:
            length = table[length]
        length += stop[length] == stop[position]
        table[position + 1] = length
    return table
