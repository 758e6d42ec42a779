"""Requests of bounded size, whether or not they say how large they are."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headlong.server.api_error import ApiError, error_response

__all__ = ["BodyLimit"]


class BodyLimit:
    """Answers 413 to a body of more than ``most`` bytes; no more than that is ever held."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting what it sends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        # h11 has refused what is not a number.
        if int(announced) > self._most:
            await error_response(self._refusal())(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._most:
                    raise self._refusal()
            return message

        await self._app(scope, counted, send)

    def _refusal(self) -> ApiError:
        # The rest is not read, so nothing more can come on this connection.
        return ApiError(
            413,
            f"the body is larger than {self._most / (1 << 20):g} MiB, the most that this server "
            "takes.",
            code="body_too_large",
            headers={"Connection": "close"},
        )
