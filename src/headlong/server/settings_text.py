"""The settings in effect as text: a configuration file, and JSON for `/props`; keys masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from headlong.server.settings import Declared, ServerSettings, declared_settings

__all__ = ["settings_json", "settings_toml"]

_MASK: Final = "********"


def settings_json(settings: ServerSettings) -> dict[str, dict[str, object]]:
    """Every setting by its key: ``value``, and ``from``, where it came from."""
    shown = {}
    for one in declared_settings():
        value = getattr(settings, one.name)
        if one.secret:
            value = [_MASK for _ in value]
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Path):
            value = str(value)
        shown[one.key] = {"value": value, "from": settings.origin(one.name)}
    return shown


def settings_toml(settings: ServerSettings) -> str:
    """A configuration file of the same effect, with where each value came from.

    Lines of keys and of what is not set are comments.
    """
    lines = ["# Settings of `headlong serve`, for its --config."]
    group = ""
    for one in declared_settings():
        if one.group != group:
            group = one.group
            lines += ["", f"# {group}"]
        lines.append(_line(settings, one))
    return "\n".join(lines) + "\n"


def _line(settings: ServerSettings, one: Declared) -> str:
    value = getattr(settings, one.name)
    origin = " ".join(settings.origin(one.name).split())  # a file's name may break lines
    if one.secret and value:
        masked = ", ".join(f'"{_MASK}"' for _ in value)
        return f"# {one.key} = [{masked}]  # {origin}; masked"
    if value is None:
        word = getattr(one.kind, "word", None)
        if word is None:
            return f"# {one.key} is not set  # {origin}"
        value = word
    return f"{one.key} = {_toml(value)}  # {origin}"


def _toml(value: object) -> str:
    """A value as TOML writes it: of our kinds, JSON's spelling, where paths are texts."""
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(part) for part in value)}]"
    if isinstance(value, Path):
        value = str(value.absolute())
    # JSON leaves DEL as it is, which TOML does not take.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
