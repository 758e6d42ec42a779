"""Flags in groups: a frozen dataclass declares them once, commands take it as one parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints

__all__ = ["with_flag_groups"]


def with_flag_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer in which every dataclass parameter became its fields' flags.

    The fields are annotated as typer parameters are, and have defaults; called with their values,
    the dataclasses are made again.  A flag of two groups may not occur twice in one command.
    """
    groups: dict[str, tuple[type, tuple[str, ...]]] = {}
    parameters: dict[str, inspect.Parameter] = {}
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters[name] = parameter.replace(annotation=kind, kind=parameter.KEYWORD_ONLY)
            continue
        own = get_type_hints(kind, include_extras=True)
        groups[name] = (kind, tuple(field.name for field in fields(kind)))
        for field in fields(kind):
            assert field.name not in parameters, f"two groups have a flag {field.name}"
            parameters[field.name] = inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_default(field),
                annotation=own[field.name],
            )

    @functools.wraps(command)
    def run(**values: object) -> None:
        for name, (kind, names) in groups.items():
            values[name] = kind(**{field: values.pop(field) for field in names})
        command(**values)

    run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: p.annotation for name, p in parameters.items()}
    return run


def _default(field: Field[Any]) -> object:
    return inspect.Parameter.empty if field.default is MISSING else field.default
