"""The filters chat templates may use.

Jinja's own where they cannot make much out of little; otherwise written here, with a look at the
size before the work. Left out are filters for web pages and those that pad to a width, choose at
random or format: no chat template needs them, and several can be made to take all memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from jinja2 import pass_environment
from jinja2.environment import Environment
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.filters import do_indent, make_attrgetter
from markupsafe import escape

from headlong.tokenizer.meter import Meter

__all__ = ["FILTERS", "joined", "replaced"]

_MAX_WIDTH: Final = 64  # of an indentation or a separator, in characters

_PLAIN: Final = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby"),
    *("int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject"),
    *("rejectattr", "reverse", "select", "selectattr", "sort", "string", "sum", "title", "trim"),
    *("unique", "upper", "wordcount"),
)


class MeteredEnvironment(Protocol):
    """What the filters need of the environment they run in."""

    meter: Meter

    def text(self, value: object) -> str:
        """A value as text, accounted for."""
        ...


def joined(environment: MeteredEnvironment, separator: str, parts: Iterable[object]) -> str:
    """`separator.join(parts)`; `TypeError` where a part is not text."""
    pieces: list[str] = []
    for part in parts:
        if not isinstance(part, str):
            raise TypeError(f"join: only text can be joined, not {type(part).__name__}")
        pieces.append(part)
    environment.meter.allow(sum(map(len, pieces)) + len(separator) * len(pieces))
    return separator.join(pieces)


def replaced(
    environment: MeteredEnvironment, text: str, old: object, new: object, count: object = None
) -> str:
    """`text.replace(old, new, count)`."""
    old, new = environment.text(old), environment.text(new)
    times = text.count(old)
    if isinstance(count, int) and count >= 0:
        times = min(times, count)
    environment.meter.allow(len(text) + times * len(new))
    return text.replace(old, new, times)


@pass_environment
def _join(
    environment: Environment, value: Iterable[object], d: object = "", attribute: object = None
) -> str:
    metered = _metered(environment)
    if attribute is not None:
        if not isinstance(attribute, str | int):
            raise TypeError("join: attribute must be a name or a number")
        value = map(make_attrgetter(environment, attribute), value)
    return joined(metered, metered.text(d), map(metered.text, value))


@pass_environment
def _replace(
    environment: Environment, s: object, old: object, new: object, count: object = None
) -> str:
    metered = _metered(environment)
    return replaced(metered, metered.text(s), old, new, count)


def _metered(environment: Environment) -> MeteredEnvironment:
    # Jinja hands filters the environment they are registered in.
    return environment  # type: ignore[return-value]


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers writes JSON: nothing escaped for HTML, other scripts readable."""
    for width in (indent, *(separators or ())):
        _check_width(width)
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _indent(s: object, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    _check_width(width)
    return do_indent(str(s), width, first, blank)


def _check_width(width: object) -> None:
    size = width if isinstance(width, int) else len(width) if isinstance(width, str) else 0
    if size > _MAX_WIDTH:
        raise ValueError(f"an indentation or separator is wider than {_MAX_WIDTH} characters")


def _safe(value: object) -> str:
    """Prompts are not HTML: nothing is escaped, so nothing needs to be marked as safe."""
    return str(value)


def _escape(value: object) -> str:
    return str(escape(str(value)))


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {name: JINJA_FILTERS[name] for name in _PLAIN}
    | {
        "e": _escape,
        "escape": _escape,
        "indent": _indent,
        "join": _join,
        "replace": _replace,
        "safe": _safe,
        "tojson": _to_json,
    }
)
