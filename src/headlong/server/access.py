"""Who may ask: keys, and names under which a server on loopback may be called.

A page from anywhere can make a browser resolve a name of its own to 127.0.0.1 and then ask this
server as if it were the page's own (DNS rebinding).  The ``Host`` header still has that name, so
without a key only names that mean this machine are taken.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from headlong.server.api_error import ApiError, error_response

__all__ = ["HostCheck", "KeyCheck"]

# The page holds nothing worth a key; what it asks for carries one.
_OPEN: Final = frozenset({("GET", "/"), ("HEAD", "/")})
_OPEN_PATHS: Final = frozenset({"/health", "/v1/health"})


class KeyCheck:
    """Lets requests through that carry one of the keys; everybody, where there are none."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] != "http" or not self._digests or _is_open(scope):
            await self._app(scope, receive, send)
            return
        key = _key(Headers(scope=scope))
        if key is not None and self._known(key):
            await self._app(scope, receive, send)
            return
        why = (
            "the API key is not one of this server's."
            if key is not None
            else "this server asks for an API key; send it as 'Authorization: Bearer KEY'."
        )
        refusal = ApiError(401, why, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        await error_response(refusal)(scope, receive, send)

    def _known(self, key: str) -> bool:
        """Compared by digest and with all of them, so that time tells nothing of either."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        equal = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(equal)


class HostCheck:
    """Refuses requests to this machine under a foreign name; 403."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._allowed = {urlsplit(origin).hostname for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = host
        if name in self._allowed or _means_this_machine(name):
            await self._app(scope, receive, send)
            return
        why = (
            f"this server is not reached as {name[:100]!r}; use localhost or an address, or give "
            "the server an --api-key."
        )
        await error_response(ApiError(403, why, code="foreign_host"))(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    return scope["path"] in _OPEN_PATHS or (scope["method"], scope["path"]) in _OPEN


def _key(headers: Headers) -> str | None:
    """The key a request carries, in OpenAI's header or in Anthropic's."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key")


def _means_this_machine(name: str) -> bool:
    """An address, which no foreign page can have as its name, or a name for this machine."""
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
