"""The user's setting for draft length: a number, or chosen from costs and acceptance."""

import reprlib
from dataclasses import dataclass
from typing import Final

from headlong.errors import ParameterError
from headlong.sampling import MAX_DRAFT

__all__ = ["Auto", "DraftLength", "Fixed"]

LONGEST_CHOSEN: Final = 7
"""With the token before it a draft then has as many rows as the kernels multiply in one go: a ninth
row costs most of another pass."""


@dataclass(frozen=True, slots=True)
class DraftLength:
    """Longest draft of a round, 0 to MAX_DRAFT; `Fixed` or `Auto` says how it is used."""

    n_max: int

    def __post_init__(self) -> None:
        """Refuses a length that no round could have."""
        if isinstance(self.n_max, bool) or not isinstance(self.n_max, int):
            raise _refusal(self.n_max)
        if not 0 <= self.n_max <= MAX_DRAFT:
            raise _refusal(self.n_max)

    @staticmethod
    def parse(value: str | int) -> "DraftLength":
        """Reads "auto" or a number. Raises ParameterError naming --spec-draft-n-max."""
        if isinstance(value, str):
            text = value.strip().lower()
            if text == "auto":
                return Auto()
            if not (text.isascii() and text.isdigit() and len(text) <= 4):
                raise _refusal(value)
            return Fixed(int(text))
        return Fixed(value)

    def cap(self, draft_n_max: int | None, room: int) -> int:
        """Longest draft for a request.

        draft_n_max: the request's own limit, None for none; it can shorten drafts, not lengthen
        them. room: tokens that the request may still generate; one of them comes without a draft.
        """
        own = self.n_max if draft_n_max is None else min(draft_n_max, self.n_max)
        return max(0, min(own, room - 1))


@dataclass(frozen=True, slots=True)
class Fixed(DraftLength):
    """Every draft has this length, where the request leaves room for it."""


@dataclass(frozen=True, slots=True)
class Auto(DraftLength):
    """Each round's length is chosen by expected tokens per second, from 0 to n_max."""

    n_max: int = LONGEST_CHOSEN


def _refusal(value: object) -> ParameterError:
    return ParameterError(
        f"--spec-draft-n-max (draft_n_max) is {reprlib.repr(value)}; "
        f'it must be "auto" or a whole number from 0 to {MAX_DRAFT}'
    )
