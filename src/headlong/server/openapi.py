"""The OpenAPI document: what FastAPI finds out by itself, and how errors look here."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

__all__ = ["EVENTS", "describe"]

EVENTS: Final = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "An event of a streamed answer; its data is JSON.",
            "required": ["data"],
            "properties": {"data": {"type": "string"}},
        }
    }
}
"""The content of an answer that is streamed where the request says so."""

_ERROR: Final = {
    "type": "object",
    "description": "What went wrong: OpenAI's shape.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field at fault."},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_REFERENCE: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
# Of FastAPI's own errors, which are answered in another shape.
_FOREIGN: Final = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of an app's routes, kept in the app."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    for path in document["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            responses.pop("422", None)
            responses["4XX"] = {"description": "The request was refused.", "content": _REFERENCE}
            responses["5XX"] = {"description": "The server could not.", "content": _REFERENCE}
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _FOREIGN:
        schemas.pop(name, None)
    schemas["Error"] = _ERROR
    app.openapi_schema = document
    return document
