"""Ways to speculate that a request can ask for, by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headlong.errors import ParameterError

__all__ = ["AS_SERVED", "AUTO", "PLAIN", "Mode", "drafts", "parse_mode"]

_LONGEST: Final = 16


@dataclass(frozen=True, slots=True)
class Mode:
    """A mode of speculation.

    Args:
        name: as shown: ``plain``, ``n=2``, ``auto``, ``as served`` or the user's own.
        draft: the longest draft; 0 is off, None leaves the choice to the server.
        body: fields that are merged into a request's body to get it.  Empty for a server that was
            started in this mode.
    """

    name: str
    draft: int | None = None
    body: Mapping[str, object] = field(default_factory=dict)

    @property
    def switched(self) -> bool:
        """Whether the request itself asks for the mode."""
        return bool(self.body)


PLAIN: Final = Mode("plain", 0, {"speculative": {"n_max": 0}})
"""No drafts."""

AUTO: Final = Mode("auto", None)
"""Whatever the server chooses when it is not told."""

AS_SERVED: Final = Mode("as served", None)
"""As the server was started; nothing is sent."""


def drafts(n: int) -> Mode:
    """Drafts of up to ``n`` tokens; 0 is `PLAIN`."""
    return Mode(f"n={n}", n, {"speculative": {"n_max": n}}) if n else PLAIN


def parse_mode(text: str) -> Mode:
    """A mode from what a user writes.

    ``plain``, ``auto``, ``as served``, ``n=2`` or ``2``, or ``NAME={JSON}`` for a server with
    fields of its own.

    Raises:
        ParameterError: for anything else.
    """
    fixed = {mode.name: mode for mode in (PLAIN, AUTO, AS_SERVED)}
    if text in fixed:
        return fixed[text]
    name, equals, body = text.partition("=")
    if equals and body.startswith("{"):
        return _own(name, body)
    number = body if equals and name == "n" else text
    if number.isascii() and number.isdigit() and int(number) <= _LONGEST:
        return drafts(int(number))
    raise ParameterError(
        f"mode {text!r} is none of plain, auto, n=0 to n={_LONGEST}, or NAME={{JSON fields}}"
    )


def _own(name: str, body: str) -> Mode:
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise ParameterError(f"mode {name!r}: its fields are not JSON: {error}") from None
    if not isinstance(fields, dict) or not name:
        raise ParameterError(f"mode {name!r} needs a name and a JSON object of fields")
    return Mode(name, None, fields)
