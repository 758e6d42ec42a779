"""Asks a server and notes when its bytes came.

While an answer streams, reads are only stamped and kept; they are taken apart after the last one,
so that parsing delays no stamp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from headlong.bench.events import RequestRecord
from headlong.bench.modes import Mode
from headlong.bench.workloads import Workload

__all__ = ["Endpoint", "RequestOptions", "connect", "open_http", "run_request"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that answered: where it is and what it said of itself.

    Args:
        url: base URL without ``/v1`` and without a slash at its end.
        model: id of the model that is asked.
        kind: ``headlong``, ``llama.cpp``, ``vllm``, ``sglang``, ``lmstudio``, ``ollama``, ``mlx-lm``
            or ``unknown``.
        version: the server's build, as it says; empty where it does not.
        api_key: sent as a bearer token.
        about: what ``/props``, ``/version`` or ``/v1/models`` said, for the record.
    """

    url: str
    model: str
    kind: str = "unknown"
    version: str = ""
    api_key: str | None = field(default=None, repr=False)
    about: Mapping[str, object] = field(default_factory=dict)

    @property
    def switches(self) -> bool:
        """Whether speculation can be switched by a request."""
        return self.kind == "headlong"


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How requests are sent.

    Args:
        warm: let the server use its prefix cache.  Cold requests begin with a salt of their own.
        token_ids: ask for the ids of tokens.
        logprobs: alternatives per token that are asked for; None: no logprobs.
        connect_timeout: seconds to connect.
        silence_timeout: seconds without a byte after which a request is given up; a long prompt is
            silent on servers that send no keep-alives.
        total_timeout: seconds for the whole answer.
        extra: more fields of the body, which win over ours.
    """

    warm: bool = False
    token_ids: bool = True
    logprobs: int | None = None
    connect_timeout: float = 10.0
    silence_timeout: float = 600.0
    total_timeout: float = 3600.0
    extra: Mapping[str, object] = field(default_factory=dict)


def open_http(url: str) -> httpx.AsyncClient:
    """A client with a pool of its own for the server at ``url``; close it after use.

    Proxies of the environment are used unless the server is on this machine.
    """
    raise NotImplementedError


async def connect(
    http: httpx.AsyncClient, url: str, *, model: str | None = None, api_key: str | None = None
) -> Endpoint:
    """Find out what answers at ``url``.

    Raises:
        ParameterError: the URL is none, or the server has not the model.
        ServerError: nobody answers there, or not as an OpenAI-compatible server would.
    """
    raise NotImplementedError


async def run_request(
    http: httpx.AsyncClient,
    server: Endpoint,
    workload: Workload,
    mode: Mode,
    *,
    salt: str = "",
    options: RequestOptions | None = None,
) -> RequestRecord:
    """Ask once, streaming, and note everything.

    Whatever the server does ends as a record: a refusal, a broken connection or a timeout is its
    ``error``.  Only cancellation passes through.

    Args:
        salt: put before the first message's text, so that no prefix cache knows the prompt.  It is
            the same length for all requests of a run and is not part of the prompt's hash.

    Raises:
        ParameterError: ``mode`` is switched by requests and the server cannot do that.
    """
    raise NotImplementedError
