"""What every JSON body has in common: no field is unknown, none is silently converted.

A body that does not fit is an error of status 400 that names the field, and for an unknown one the
nearest that there is.
"""

from __future__ import annotations

import difflib
import json
import reprlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from headlong.server.api_error import ApiError, invalid

__all__ = ["MAX_DEPTH", "JSONRoute", "RequestBody", "validation_error"]

MAX_DEPTH: Final = 64
"""Lists and objects inside each other.  Schemas of tools reach 20; parsers that follow them
recursively must not run out of stack."""

_UNKNOWN: Final = "unknown_field"


class RequestBody(BaseModel):
    """A JSON object of known fields.  Numbers are numbers, texts are texts, true is no 1."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)

    refused: ClassVar[Mapping[str, str]] = {}
    """Fields of other servers that this one does not have, and why or what to use instead."""

    @model_validator(mode="before")
    @classmethod
    def _know_every_field(cls, data: object) -> object:
        if isinstance(data, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for name in data:
                if name not in known:
                    raise _unknown(str(name), known, cls.refused)
        return data


def _unknown(name: str, known: Sequence[str], refused: Mapping[str, str]) -> PydanticCustomError:
    if name in refused:
        text = f"'{name}' is not supported here: {refused[name]}."
    else:
        shown = reprlib.repr(name)
        near = difflib.get_close_matches(name, known, 1)
        text = f"{shown} is not a field of this request" + (
            f"; did you mean '{near[0]}'?" if near else "."
        )
    # The text goes in as a value: braces in it would be taken for a place to fill.
    return PydanticCustomError(_UNKNOWN, "{text}", {"text": text, "name": name[:80]})


class JSONRoute(APIRoute):
    """A route whose body is JSON of bounded depth, and said to be JSON.

    The content type is what keeps other web pages out: a browser asks before it sends JSON to
    another origin, and is told no.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given a request that parses its body with care."""
        handler = super().get_route_handler()
        takes_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            if takes_body:
                request = _JSONRequest(request.scope, request.receive)
            return await handler(request)

        return handle


class _JSONRequest(Request):
    async def json(self) -> Any:  # the signature of the base class
        body = await self.body()
        try:
            value = json.loads(body)
        except RecursionError:
            raise _too_deep() from None
        except UnicodeDecodeError as error:
            raise invalid(None, f"the body is not UTF-8 (byte {error.start}).") from None
        except json.JSONDecodeError as error:
            raise invalid(
                None, f"the body is not JSON: {error.msg} (line {error.lineno}, column "
                f"{error.colno})."
            ) from None  # fmt: skip
        except ValueError:  # a number of thousands of digits
            raise invalid(None, "the body holds a number with too many digits.") from None
        # No deeper than it has brackets, so most bodies need not be walked through.
        if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
            _check_depth(value)
        return value


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)  # type: ignore[attr-defined]
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> ApiError:
    return invalid(
        None, f"the body holds lists or objects more than {MAX_DEPTH} levels inside each other."
    )


def validation_error(error: RequestValidationError) -> ApiError:
    """What is wrong with a body or a query, as an error that names the field."""
    errors = error.errors()
    # Of alternatives that all fail, the one that got furthest tells most.
    worst = max(errors, key=lambda e: (e["type"] == _UNKNOWN, len(e["loc"])))
    location = [part for part in worst["loc"] if part not in ("body", "query", "path")]
    names = [str(part) for part in location if _is_field(part)]
    context = worst.get("ctx", {})
    if worst["type"] == _UNKNOWN:
        return invalid(".".join([*names, str(context["name"])]), str(context["text"]))
    if not location:
        return invalid(None, _WHOLE_BODY.get(worst["type"], f"the body: {worst['msg']}."))
    param = ".".join(names)
    if worst["type"] == "missing":
        return invalid(param, f"'{param}' is missing.")
    reasons = {e["msg"] for e in errors if e["loc"][:2] == worst["loc"][:2]}
    reason = " or ".join(sorted(_lowered(reason) for reason in reasons))
    return invalid(param, f"'{param}' does not fit: {reason}.")


_WHOLE_BODY: Final[Mapping[str, str]] = {
    "missing": "the request has no body; send a JSON object.",
    "model_attributes_type": (
        "the body is not taken for a JSON object; send one, with the header "
        "'Content-Type: application/json'."
    ),
}


def _is_field(part: object) -> bool:
    """Whether a part of a location is a key or an index, not pydantic's name of an alternative."""
    return isinstance(part, int) or (
        isinstance(part, str)
        and part.replace(".", "_").isidentifier()
        and part == part.lower()
        and part not in ("str", "int", "float", "bool", "list", "dict", "none")
    )


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
