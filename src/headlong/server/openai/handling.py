"""What becomes of each field of a request, said where the field is declared.

Validation, the OpenAPI document and the table in the documentation all read it from there, so that
no field can be ignored without being listed as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from headlong.server.request_body import RequestBody

__all__ = [
    "HandledField",
    "Handling",
    "RequestPart",
    "accepted",
    "handled_fields",
    "honoured",
    "refused",
]

_HANDLING: Final = "x-handling"


class Handling(StrEnum):
    """What becomes of a field that a request holds."""

    HONOURED = "honoured"
    ACCEPTED = "accepted"
    REFUSED = "refused"


def honoured(note: str, **limits: Any) -> Any:
    """A field that does what it says; ``note`` adds what a reader has to know."""
    return _field(Handling.HONOURED, note, **limits)


def accepted(note: str, **limits: Any) -> Any:
    """A field that is checked and has no effect here; ``note`` says why none is missed."""
    return _field(Handling.ACCEPTED, note, **limits)


def refused(note: str, *neutral: object) -> Any:
    """A field that is an error, but for ``neutral`` values, which ask for nothing.

    ``note`` says why, or what to do instead.
    """
    return _field(Handling.REFUSED, note, neutral)


def _field(handling: Handling, note: str, neutral: Sequence[object] = (), **limits: Any) -> Any:
    extra: dict[str, Any] = {_HANDLING: handling.value}
    if handling is Handling.REFUSED:
        extra["enum"] = [None, *neutral]
    limits.setdefault("default", None)
    return Field(description=note, json_schema_extra=extra, **limits)


@dataclass(frozen=True, slots=True)
class HandledField:
    """A field of a request and what becomes of it; ``neutral`` values of refused ones pass."""

    name: str
    handling: Handling
    note: str
    neutral: tuple[object, ...] = ()


class RequestPart(RequestBody):
    """A part of a request.  Null means left out; refused fields are errors."""

    model_config = ConfigDict(allow_inf_nan=False)

    inherited: ClassVar[Mapping[str, HandledField]] = {}
    """Fields that were declared elsewhere, without saying what becomes of them."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        needed = {f.alias or name for name, f in cls.model_fields.items() if f.is_required()}
        return {name: value for name, value in data.items() if value is not None or name in needed}

    @field_validator("*", mode="before")
    @classmethod
    def _refuse(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        field = cls.model_fields[info.field_name]
        extra = field.json_schema_extra
        if not isinstance(extra, dict) or extra.get(_HANDLING) != Handling.REFUSED:
            return value
        neutral = extra["enum"]
        assert isinstance(neutral, list)
        if any(_same(value, one) for one in neutral):
            return value
        raise PydanticCustomError(
            "refused_field", "not supported; {why}", {"why": field.description}
        )


def _same(value: object, other: object) -> bool:
    """Equality in which true is no 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def handled_fields(model: type[BaseModel]) -> Iterator[HandledField]:
    """The fields of a request model, by the names that requests use."""
    inherited = model.inherited if issubclass(model, RequestPart) else {}
    for name, info in model.model_fields.items():
        extra = info.json_schema_extra
        if not isinstance(extra, dict) or _HANDLING not in extra:
            yield inherited[info.alias or name]
            continue
        handling = Handling(str(extra[_HANDLING]))
        passes = extra["enum"] if handling is Handling.REFUSED else [None]
        assert isinstance(passes, list)
        yield HandledField(info.alias or name, handling, info.description or "", tuple(passes[1:]))
