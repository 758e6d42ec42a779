"""The form that a request wants its answer to have, whichever field asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from headlong.errors import ParameterError
from headlong.sampling import Grammar
from headlong.server.api_error import invalid
from headlong.server.openai.common_schema import CommonRequest

__all__ = ["Form", "form_of"]


@dataclass(frozen=True, slots=True)
class Form:
    """A grammar, and the field of the request that asks for it."""

    grammar: Grammar
    field: str


def form_of(request: CommonRequest) -> Form | None:
    """The form asked for, if one is.  Raises `ApiError` for several, and for what is no grammar."""
    wanted = [one for one in _wanted(request) if one[2] is not None]
    if len(wanted) > 1:
        names = " and ".join(f"'{field}'" for field, _, _ in wanted)
        raise invalid(wanted[1][0], f"an answer has one form, but {names} ask for one each.")
    for field, make, source in wanted:
        try:
            return Form(make(source), field)
        except ParameterError as error:
            raise invalid(field, str(error)) from None
    return None


_Wanted = tuple[str, Callable[[Any], Grammar], object]


def _wanted(request: CommonRequest) -> Iterator[_Wanted]:
    """Each field that may ask for a form, how its grammar is made, and what of; None: it does not.

    Sources were checked by the schema.
    """
    yield from _response_format(request)
    yield "grammar", Grammar.text, request.grammar or None
    yield "json_schema", Grammar.json_schema, request.json_schema
    if (wanted := request.structured_outputs) is not None:
        yield "structured_outputs.json", Grammar.json_schema, wanted.json_
        yield "structured_outputs.regex", Grammar.regex, wanted.regex
        yield "structured_outputs.choice", Grammar.choice, wanted.choice
        yield "structured_outputs.grammar", Grammar.text, wanted.grammar
        yield "structured_outputs.json_object", _json_object, wanted.json_object or None
    yield "guided_json", Grammar.json_schema, request.guided_json
    yield "guided_regex", Grammar.regex, request.guided_regex
    yield "guided_choice", Grammar.choice, request.guided_choice
    yield "guided_grammar", Grammar.text, request.guided_grammar


def _response_format(request: CommonRequest) -> Iterator[_Wanted]:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    field = "response_format"
    if wanted.json_schema is not None:
        yield f"{field}.json_schema.schema", Grammar.json_schema, wanted.json_schema.schema_
    elif wanted.schema_ is not None:
        yield f"{field}.schema", Grammar.json_schema, wanted.schema_
    else:
        yield field, _json_object, True


def _json_object(_: object) -> Grammar:
    return Grammar.json_object()
