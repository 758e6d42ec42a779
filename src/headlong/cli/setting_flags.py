"""Flags of `headlong serve`, made from the declarations of its settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from headlong.errors import ParameterError
from headlong.server.setting_kinds import Switch, Texts
from headlong.server.settings import Declared, declared_settings

__all__ = ["SettingFlags", "with_setting_flags"]

_ALONE: Final = "Settings"


@dataclass(frozen=True, slots=True)
class SettingFlags:
    """What the command line says: settings by field, as text, and the flags that are none."""

    given: dict[str, str]
    config: Path | None
    print_config: bool


def with_setting_flags(command: Callable[[SettingFlags], None]) -> Callable[..., None]:
    """A command for typer with FILE and a flag for every setting."""
    settings = {one.name: one for one in declared_settings()}
    hints: dict[str, Any] = {
        "file": Annotated[
            str | None,
            typer.Argument(metavar="FILE", help=settings["model"].help, show_default=False),
        ],
        "config": Annotated[
            Path | None,
            typer.Option(
                "--config",
                metavar="FILE",
                help="Read settings from a TOML file; HEADLONG_CONFIG names it too.",
                rich_help_panel=_ALONE,
            ),
        ],
        "print_config": Annotated[
            bool,
            typer.Option(
                "--print-config",
                help="Print all settings, with where each came from, and end.",
                rich_help_panel=_ALONE,
            ),
        ],
        **{name: _hint(one) for name, one in settings.items()},
    }
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name == "print_config" else None,
            annotation=hint,
        )
        for name, hint in hints.items()
    ]

    @functools.wraps(command)
    def run(file: str | None, config: Path | None, print_config: bool, **values: Any) -> None:
        given = {}
        for name, one in settings.items():
            text = _text(one, values[name])
            if text is not None:
                given[name] = text
        if file is not None and "model" in given:
            raise ParameterError(
                f"two models are given, '{file}' and --model '{given['model']}'; give one."
            )
        if file is not None:
            given["model"] = file
        command(SettingFlags(given, config, print_config))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = hints
    return run


def _hint(one: Declared) -> object:
    """The annotation of one setting's parameter."""
    names = list(one.flags)
    kind: object = str | None
    if _is_pair(one):
        names = [f"{name}/--no-{one.key}" if name == one.flag else name for name in names]
        kind = bool | None
    elif isinstance(one.kind, Texts) or one.one_value:
        kind = list[str] | None
    default = one.shown_default
    if default is None and one.default is not None:
        default = _words(one.default)
    option = typer.Option(
        *names,
        metavar=None if _is_pair(one) else one.kind.metavar,
        help=one.help,
        show_default=default if default is not None else False,
        rich_help_panel=one.group,
    )
    return Annotated[kind, option]


def _is_pair(one: Declared) -> bool:
    """Whether there is a flag for on and one for off."""
    return isinstance(one.kind, Switch) and not one.kind.valued


def _words(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _text(one: Declared, value: str | bool | list[str] | None) -> str | None:
    """What was given, as the setting's kind reads it."""
    if value is None or value == []:
        return None
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    return _agreed(one, value) if one.one_value else ",".join(value)


def _agreed(one: Declared, values: Iterable[str]) -> str:
    different = list(dict.fromkeys(values))
    if len(different) > 1:
        raise ParameterError(
            f"{one.flag} is given as '{different[0]}' and as '{different[1]}', also under its "
            f"other names ({', '.join(one.flags)}), but there is one for all; give one value."
        )
    return different[0]
