"""A line in the log for every request, and a clear answer where a route fails.

A line says what was asked for and what it took, never what was said.  An exception that nobody
caught is logged in full under an incident number, which is all that the client gets to see.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headlong.engine.requests import Completion
from headlong.server.api_error import ApiError, error_response
from headlong.server.metrics import Metrics

__all__ = ["RequestLog", "RequestRecord", "record_of"]

_log: Final = logging.getLogger("headlong.server")
_KEY: Final = "headlong.record"
_CLIENT_GONE: Final = 499  # nginx's number for a client that closed the connection


@dataclass(slots=True)
class RequestRecord:
    """What a route lets the log know of a request."""

    began: float = field(default_factory=time.perf_counter)
    prompt: int = 0
    cached: int = 0
    predicted: int = 0
    drafted: int = 0
    accepted: int = 0
    gone: bool = False
    """The client left before it had its answer."""

    def completed(self, completion: Completion) -> None:
        """Add a finished answer."""
        self.prompt += len(completion.prompt_tokens)
        self.cached += completion.timings.cached
        self.predicted += len(completion.tokens)
        self.drafted += completion.stats.draft_n
        self.accepted += completion.stats.draft_n_accepted

    @property
    def figures(self) -> str:
        """The figures for the log; empty where nothing was generated."""
        if not self.prompt:
            return ""
        cached = f" ({self.cached} cached)" if self.cached else ""
        drafts = f", {self.accepted} of {self.drafted} drafts accepted" if self.drafted else ""
        return f", prompt {self.prompt}{cached}, answer {self.predicted} tokens{drafts}"


def record_of(request: Request) -> RequestRecord:
    """The record of a request; one that nobody reads where there is no log."""
    record = request.scope.get(_KEY)
    return record if isinstance(record, RequestRecord) else RequestRecord()


class RequestLog:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it when it is done."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[_KEY] = RequestRecord()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            incident = secrets.token_hex(4)
            _log.exception("incident %s: %s %s", incident, scope["method"], _path(scope))
            if status:
                raise  # too late for another status: the connection is cut
            status = 500
            why = f"something went wrong here (incident {incident} in the server's log)."
            await error_response(ApiError(500, why, code=incident))(scope, receive, send)
        finally:
            if record.gone or not status:
                status = _CLIENT_GONE
            milliseconds = 1000 * (time.perf_counter() - record.began)
            self._metrics.http(_route(scope), status)
            level = logging.DEBUG if _quiet(scope, status) else logging.INFO
            _log.log(
                level, "%s %s %d %.0f ms%s",
                scope["method"], _path(scope), status, milliseconds, record.figures,
            )  # fmt: skip


def _path(scope: Scope) -> str:
    """The path as one word: a client must not write lines of its own into the log."""
    return str(scope["path"][:200]).encode("unicode_escape").decode("ascii").replace(" ", "%20")


def _route(scope: Scope) -> str:
    """The route's own path, of which there are few; clients can ask for anything."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "other"


def _quiet(scope: Scope, status: int) -> bool:
    """Whether somebody asks this every few seconds."""
    return status < 400 and scope["path"] in ("/health", "/v1/health", "/metrics", "/slots")
