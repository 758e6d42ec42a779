"""The body of a request: what every server understands, and what some are known to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headlong.bench.modes import Mode
from headlong.bench.workloads import Workload
from headlong.errors import ParameterError

__all__ = ["OPTIONAL", "Endpoint", "RequestOptions", "request_body", "without"]

OPTIONAL: Final = (
    "stream_options",
    "return_token_ids",
    "seed",
    "ignore_eos",
    "min_tokens",
    "cache_prompt",
    "cache_salt",
    "logprobs",
    "top_logprobs",
)
"""Fields that a server may refuse: the request is then sent again without them."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that answered: where it is and what it said of itself.

    Args:
        url: base URL without ``/v1`` and without a slash at its end.
        model: id of the model that is asked.
        kind: ``headlong``, ``llama.cpp``, ``vllm``, ``sglang``, ``lmstudio``, ``ollama`` or
            ``unknown``.
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

    @property
    def described(self) -> str:
        """Kind, version and address in one line."""
        version = self.version if self.version.startswith(self.kind) else ""
        return f"{version or f'{self.kind} {self.version}'.strip()}  {self.url}"


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How requests are sent.

    Args:
        warm: let the server use its prefix cache.  Cold requests are not to be found in it.
        token_ids: ask for the ids of tokens.
        logprobs: alternatives per token that are asked for; None: no logprobs.
        silence_timeout: seconds without a byte after which a request is given up; a long prompt is
            silent on servers that send no keep-alives.
        total_timeout: seconds for the whole answer.
        extra: more fields of the body, which win over ours.
    """

    warm: bool = False
    token_ids: bool = True
    logprobs: int | None = None
    silence_timeout: float = 600.0
    total_timeout: float = 3600.0
    extra: Mapping[str, object] = field(default_factory=dict)


def request_body(
    server: Endpoint, workload: Workload, mode: Mode, options: RequestOptions, salt: str
) -> dict[str, object]:
    """The JSON of a streamed chat completion.

    A cold request is kept from the prefix cache as the server allows: ``cache_prompt`` false for
    Headlong and llama-server, ``cache_salt`` for vLLM, and otherwise a salt before the first
    message, which changes the prompt.

    Raises:
        ParameterError: ``mode`` is Headlong's own switch and the server is another.
    """
    if "speculative" in mode.body and not server.switches:
        raise ParameterError(
            f"{server.url} ({server.kind}) cannot switch speculation by a request, as mode "
            f"'{mode.name}' needs: start it once with speculation, once without, and compare both"
        )
    messages = [{"role": m.role, "content": m.content} for m in workload.messages]
    body: dict[str, object] = {
        "model": server.model,
        "messages": messages,
        "max_tokens": workload.max_tokens,
        "temperature": workload.temperature,
        "seed": workload.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if workload.exact_length:
        body |= {"ignore_eos": True, "min_tokens": workload.max_tokens}
        if server.kind == "llama.cpp":
            del body["min_tokens"]  # it has no such field, and with ignore_eos needs none
    if not options.warm and salt:
        body |= _cold(server.kind, salt, messages)
    if options.token_ids and server.kind in ("headlong", "vllm"):
        body["return_token_ids"] = True
    if options.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": options.logprobs}
    return body | dict(mode.body) | dict(options.extra)


def without(body: Mapping[str, object], refusal: str) -> str | None:
    """The optional field of ``body`` that a refusal names; None where it names none."""
    named = (name for name in OPTIONAL if name in body and name in refusal)
    return next(named, None)


def _cold(kind: str, salt: str, messages: list[dict[str, str]]) -> dict[str, object]:
    if kind in ("headlong", "llama.cpp"):
        return {"cache_prompt": False}
    if kind == "vllm":
        return {"cache_salt": salt}
    first = messages[0]
    salted = {**first, "content": f"[{salt}] {first['content']}"}
    return {"messages": [salted, *messages[1:]]}
