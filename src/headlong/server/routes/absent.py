"""Places that other servers have: what is not here is said to be so, and where to go instead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fastapi import APIRouter, Response

from headlong.server.api_error import ApiError

__all__ = ["absent_routes"]

_EMBEDDINGS: Final = "embeddings are not offered: the models that this server runs generate text"
_RERANKING: Final = "reranking is not offered: the models that this server runs generate text"
_AUDIO: Final = "models here read and write text only"
_CHAT: Final = "send conversations to /v1/chat/completions"
_INFILL: Final = "fill-in-the-middle is not offered; send the whole prompt to /completion"
_ADAPTERS: Final = "LoRA adapters are not offered"
_ONE_MODEL: Final = "this server has one model, chosen when it is started"

_ABSENT: Final[Mapping[str, str]] = {
    "/v1/responses": f"the Responses API is not offered; {_CHAT}",
    "/v1/messages": f"the Messages API is not offered; {_CHAT}",
    "/v1/messages/count_tokens": f"the Messages API is not offered; {_CHAT}",
    "/v1/embeddings": _EMBEDDINGS,
    "/embeddings": _EMBEDDINGS,
    "/embedding": _EMBEDDINGS,
    "/v1/rerank": _RERANKING,
    "/v1/reranking": _RERANKING,
    "/rerank": _RERANKING,
    "/reranking": _RERANKING,
    "/v1/audio/speech": _AUDIO,
    "/v1/audio/transcriptions": _AUDIO,
    "/v1/audio/translations": _AUDIO,
    "/v1/images/generations": _AUDIO,
    "/v1/moderations": "moderation is not offered",
    "/v1/files": "files are not kept here",
    "/v1/batches": "batches are not offered; send the requests, they are batched as they come",
    "/v1/fine_tuning/jobs": "training is not offered",
    "/infill": _INFILL,
    "/lora-adapters": _ADAPTERS,
    "/models/load": _ONE_MODEL,
    "/models/unload": _ONE_MODEL,
    "/api/generate": "Ollama's API is not offered; use /v1/completions",
    "/api/chat": f"Ollama's API is not offered; {_CHAT}",
    "/api/tags": "Ollama's API is not offered; the model is listed at /v1/models",
}


def absent_routes() -> APIRouter:
    """The routes; each answers 404, which clients do not try again."""
    router = APIRouter(include_in_schema=False)
    for path, why in _ABSENT.items():
        router.add_api_route(path, _refusing(why), methods=["GET", "POST", "DELETE", "PUT"])
    return router


def _refusing(why: str) -> Callable[[], Awaitable[Response]]:
    async def refuse() -> Response:
        raise ApiError(404, f"{why}.", code="not_supported")

    return refuse
