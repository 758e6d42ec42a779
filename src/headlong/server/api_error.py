"""Errors as clients see them: OpenAI's shape and a status, whatever went wrong.

`ApiError` is raised by routes; what the library raises is translated by `error_of`.  No message
here holds a path, a traceback or text of somebody's prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headlong.errors import (
    ContextError,
    HeadlongError,
    ParameterError,
    TemplateError,
    TokenizerError,
    UnsupportedError,
)
from headlong.sampling import SamplingParams
from headlong.server.refusals import Broken, Expired, NotReady, QueueFull, ShuttingDown
from headlong.server.wire import json_response

__all__ = ["ApiError", "error_of", "error_response", "invalid"]

# Types by status, in OpenAI's words where it has one, else in llama-server's.
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
    504: "timeout_error",
}
_THE_REQUEST: Final = (
    ContextError,
    ParameterError,
    TemplateError,
    TokenizerError,
    UnsupportedError,
)
_FIELDS: Final = frozenset(
    ("messages", "tools", "chat_template_kwargs", *(f.name for f in fields(SamplingParams)))
)
_NAME: Final = re.compile("[a-z_]+")


class ApiError(HTTPException):
    """An answer of OpenAI's error shape.

    ``param`` names the field at fault; ``code`` says in a word what is wrong, for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.message = message
        self.param = param
        self.code = code

    @property
    def body(self) -> dict[str, object]:
        """The error as JSON."""
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status_code, "invalid_request_error"),
                "param": self.param,
                "code": self.code,
            }
        }


def invalid(param: str | None, message: str, code: str | None = None) -> ApiError:
    """A request that cannot be taken as it is: 400, naming the field."""
    return ApiError(400, message, param=param, code=code)


def error_of(error: HeadlongError, param: str | None = None) -> ApiError:
    """What a client is told of an error of the library; ``param``: the field it comes from."""
    text = str(error)
    match error:
        case QueueFull():
            return ApiError(429, text, code="queue_full", headers=_retry(error.retry_after))
        case ShuttingDown():
            return ApiError(503, text, code="shutting_down")
        case NotReady():
            return ApiError(503, text, code="loading", headers=_retry(5))
        case Expired(queued=True):
            return ApiError(503, text, code="queue_timeout", headers=_retry(5))
        case Expired():
            return ApiError(504, text, code="timeout")
        case Broken():
            return ApiError(500, text, code=error.incident)
        case ContextError():
            return invalid(param, text, "context_length_exceeded")
        case _ if isinstance(error, _THE_REQUEST):
            # Errors about a field that the library knows too begin with its name.
            first = _NAME.match(text)
            if first and first[0] in _FIELDS and not (param or "").startswith(first[0]):
                param = first[0]
            return invalid(param, text)
        case _:
            return ApiError(500, text)


def error_response(error: ApiError) -> Response:
    """The error as a response."""
    return json_response(error.body, error.status_code, error.headers)


def _retry(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
