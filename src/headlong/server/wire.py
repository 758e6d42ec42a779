"""JSON on its way out: compact, UTF-8, whatever a text holds."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

__all__ = ["json_bytes", "json_response"]


def json_bytes(data: object) -> bytes:
    """Compact JSON.  A lone surrogate, which UTF-8 has no form for, becomes a question mark.

    Raises `ValueError` for numbers that JSON does not have.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


def json_response(
    data: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response of JSON."""
    return Response(json_bytes(data), status, headers, "application/json")
