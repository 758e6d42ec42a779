"""Where settings come from: flags, then the environment, then a file, then defaults.

A name that nobody knows is an error wherever it stands, with the nearest one that is known.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headlong.errors import ParameterError
from headlong.server.settings import PREFIX, Declared, ServerSettings, declared_settings

__all__ = ["CONFIG_VARIABLE", "config_file", "read_settings"]

CONFIG_VARIABLE: Final = "HEADLONG_CONFIG"
"""Names the file where `--config` is not given."""

_OTHERS: Final = ("HEADLONG_BENCH_API_KEY", "HEADLONG_CACHE")
"""Variables of the rest of the program, which are no settings of the server."""

_MOST_BYTES: Final = 1 << 20


def config_file(config: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The file that is read, if any: by flag, or by variable."""
    if config is None and environment.get(CONFIG_VARIABLE, "").strip():
        return Path(environment[CONFIG_VARIABLE])
    return config


def read_settings(
    flags: Mapping[str, str], environment: Mapping[str, str], config: Path | None = None
) -> ServerSettings:
    """Settings from flags (by field, as text), variables and a file, in this order.

    ``config`` is the file that was asked for by flag; else `CONFIG_VARIABLE` may name one.

    Raises:
        ParameterError: a name that is not known, or a value that is not of its kind; says where.
        OSError: the file cannot be read.
    """
    settings = {one.name: one for one in declared_settings()}
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    variables = dict(_variables(environment, settings.values()))
    file = config_file(config, environment)
    if file is not None:
        for name, value, place in _file(file, settings.values()):
            values[name], origins[name] = value, place
    for name, text in variables.items():
        one = settings[name]
        with _place(one.variable):
            values[name], origins[name] = one.kind.parse(text), one.variable
    for name, text in flags.items():
        one = settings[name]
        with _place(one.flag):
            values[name], origins[name] = one.kind.parse(text), f"flag {one.flag}"
    made = ServerSettings(**values, origins=origins)  # type: ignore[arg-type]
    made.check()
    return made


def _variables(
    environment: Mapping[str, str], settings: Iterable[Declared]
) -> Iterator[tuple[str, str]]:
    """Fields and texts of the variables that are set; an empty one counts as not set."""
    known = {one.variable: one.name for one in settings}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in (*_OTHERS, CONFIG_VARIABLE):
            continue
        if variable not in known:
            names = (*known, *_OTHERS, CONFIG_VARIABLE)
            raise ParameterError(
                f"the environment variable {variable} is none that is known; "
                f"{_nearest(variable, names)}"
            )
        if text.strip():
            yield known[variable], text


def _file(path: Path, settings: Iterable[Declared]) -> Iterator[tuple[str, object, str]]:
    """Fields, values and places of what a file sets."""
    known = {one.key: one for one in settings}
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ParameterError(f"{path}: holds more than {_MOST_BYTES >> 20} MiB; no settings do.")
    try:
        text = data.decode()
        table = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ParameterError(f"{path}: not TOML: {error}.") from None
    for key, value in table.items():
        place = _line_of(path, text, key)
        if key not in known:
            raise ParameterError(f"{place}: '{key}' is no setting; {_nearest(key, known)}")
        with _place(f"{place}: {key}"):
            yield known[key].name, known[key].kind.check(value, path.parent), place


def _line_of(path: Path, text: str, key: str) -> str:
    """File and line of a key at the top level; the parser does not tell lines."""
    quoted = re.escape(key)
    pattern = re.compile(
        rf"""^[ \t]*\[*[ \t]*(?:{quoted}|"{quoted}"|'{quoted}')[ \t]*[=.\]]""", re.M
    )
    found = pattern.search(text)
    if found is None:
        return str(path)
    return f"{path}, line {text.count(chr(10), 0, found.start()) + 1}"


@contextmanager
def _place(name: str) -> Iterator[None]:
    """Puts a place in front of what a kind refuses."""
    try:
        yield
    except ParameterError as error:
        raise ParameterError(f"{name}: {error}") from None


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"the nearest is {near[0]}. 'headlong serve --help' lists all."
