"""What answers at a URL: which server, which build, which model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from headlong.bench.answers import error_text
from headlong.bench.body import Endpoint
from headlong.bench.transport import LeanTransport
from headlong.errors import ParameterError, ServerError

__all__ = ["base_url", "connect", "is_loopback", "open_http"]

_SHOWN: Final = 12
_KEPT: Final = 4096  # characters of one answer about the server that a record keeps
_OWNERS: Final = {
    "headlong": "headlong",
    "llamacpp": "llama.cpp",
    "vllm": "vllm",
    "sglang": "sglang",
    "library": "ollama",
    "organization_owner": "lmstudio",
}
"""``owned_by`` of ``/v1/models`` by server."""
_TELLS: Final = {
    "headlong": ("/props", "build_info"),
    "llama.cpp": ("/props", "build_info"),
    "vllm": ("/version", "version"),
    "sglang": ("/get_server_info", "version"),
    "ollama": ("/api/version", "version"),
}
"""Where a server tells its build, and in which field."""
_LONG: Final = ("chat_template", "tools_template")


def base_url(text: str) -> str:
    """The URL of a server without ``/v1`` at its end; ``http://`` may be left out.

    Raises:
        ParameterError: it is no HTTP URL.
    """
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong or parts.query or parts.fragment:
        raise ParameterError(
            f"{text!r} is not the address of a server; write for example http://127.0.0.1:8080"
        )
    path = parts.path.rstrip("/")
    for end in ("/chat/completions", "/completions", "/v1"):
        path = path.removesuffix(end)
    return f"{parts.scheme}://{parts.netloc}{path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether the URL is of this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def open_http(url: str, *, connect_timeout: float = 10.0) -> httpx.AsyncClient:
    """A client with a pool of its own for the server at ``url``; close it after use.

    Proxies of the environment are used unless the server is on this machine.  Reading has no limit
    here: each request sets its own.
    """
    timeout = httpx.Timeout(30.0, connect=connect_timeout)
    direct = is_loopback(url) or not getproxies()
    if direct and url.startswith("http://"):
        return httpx.AsyncClient(transport=LeanTransport(), timeout=timeout, trust_env=False)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    return httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=not direct)


async def connect(
    http: httpx.AsyncClient, url: str, *, model: str | None = None, api_key: str | None = None
) -> Endpoint:
    """Find out what answers at ``url``.

    Args:
        model: the id to ask for; by default the server's first.

    Raises:
        ParameterError: the URL is none, or the server has not the model.
        ServerError: nobody answers there, or not as an OpenAI-compatible server would.
    """
    base = base_url(url)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    models = await _models(http, base, headers)
    ids = [str(one["id"]) for one in models]
    if model is not None and model not in ids and not _knows(models, model):
        have = ", ".join(ids[:_SHOWN]) or "none"
        raise ParameterError(f"{base} has no model {model!r}; it has: {have}")
    chosen = model or ids[0]
    kind = _OWNERS.get(str(models[0].get("owned_by")), "unknown")
    about: dict[str, object] = {"models": [_short(one) for one in models[:_SHOWN]]}
    version = ""
    if kind in _TELLS:
        path, name = _TELLS[kind]
        told = await _optional(http, base + path, headers)
        version = str(told.get(name) or "")
        about[path.rpartition("/")[2]] = _short(told)
    return Endpoint(base, chosen, kind, version, api_key, about)


async def _models(
    http: httpx.AsyncClient, base: str, headers: Mapping[str, str]
) -> list[Mapping[str, object]]:
    try:
        response = await http.get(f"{base}/v1/models", headers=dict(headers))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise ServerError(f"{base} does not answer: {reason}; is a server running there?") from None
    try:
        data = response.json()
    except ValueError:
        data = None
    if response.status_code in (401, 403):
        raise ServerError(f"{base} wants a key ({response.status_code}); give it with --api-key")
    if response.status_code != 200:
        words = error_text(data) if data is not None else response.reason_phrase
        raise ServerError(f"{base}/v1/models: {response.status_code}: {words}")
    listed = data.get("data") if isinstance(data, dict) else None
    models: list[Mapping[str, object]]
    models = [m for m in listed if isinstance(m, dict) and "id" in m] if listed else []
    if not models:
        raise ServerError(f"{base}/v1/models lists no model: no OpenAI-compatible server, or empty")
    return models


def _knows(models: list[Mapping[str, object]], model: str) -> bool:
    aliases = (one.get("aliases") for one in models)
    return any(isinstance(names, list) and model in names for names in aliases)


async def _optional(
    http: httpx.AsyncClient, url: str, headers: Mapping[str, str]
) -> Mapping[str, object]:
    """What is there; nothing where there is nothing."""
    try:
        response = await http.get(url, headers=dict(headers))
        data = response.json() if response.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _short(data: Mapping[str, object]) -> dict[str, object]:
    """Without what is long, such as a chat template."""
    return {
        key: value for key, value in data.items() if key not in _LONG and len(str(value)) <= _KEPT
    }
