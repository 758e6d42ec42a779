"""``/health`` and the list of models: what can be asked before the model is loaded."""

from __future__ import annotations

from fastapi import APIRouter, Response

from headlong.server.api_error import ApiError
from headlong.server.service import Service
from headlong.server.wire import json_response
from headlong.server.worker import State

__all__ = ["health_routes"]


def health_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    async def health() -> Response:
        """200 once requests are taken; 503 with the progress of loading before."""
        worker = service.worker
        if worker.state is State.READY:
            return json_response({"status": "ok"})
        body: dict[str, object] = {"status": worker.state.value}
        if worker.state is State.LOADING:
            body["progress"] = round(worker.loading.fraction, 3)
            body["stage"] = worker.loading.stage_name
        why = f"the server is not ready: {worker.state.value}."
        return json_response(body | ApiError(503, why, code=worker.state.value).body, 503)

    async def models() -> Response:
        """The one model, with its sizes once they are known."""
        one: dict[str, object] = {
            "id": service.names[0],
            "object": "model",
            "created": service.started,
            "owned_by": "headlong",
            "root": service.names[0],
            "aliases": list(service.names),
            "meta": _meta(service) if service.worker.state is State.READY else None,
        }
        return json_response({"object": "list", "data": [one]})

    async def model(name: str) -> Response:
        """One model by name."""
        if name not in service.names:
            why = f"there is no model {name[:200]!r} here; this server has '{service.names[0]}'."
            raise ApiError(404, why, param="model", code="model_not_found")
        one = {"id": name, "object": "model", "created": service.started, "owned_by": "headlong"}
        return json_response(one)

    for path in ("/health", "/v1/health"):
        router.add_api_route(path, health, methods=["GET"], tags=["status"])
    for path in ("/v1/models", "/models"):
        router.add_api_route(path, models, methods=["GET"], tags=["OpenAI"])
    router.add_api_route("/v1/models/{name:path}", model, methods=["GET"], tags=["OpenAI"])
    return router


def _meta(service: Service) -> dict[str, object]:
    model = service.llm.model
    return {
        "n_ctx": service.llm.context,
        "n_ctx_train": model.config.context,
        "n_vocab": model.config.vocab,
        "n_embd": model.config.hidden,
        "n_params": model.parameters,
        "size": model.size,
        "has_mtp": service.llm.has_mtp,
        "rehearsal": service.llm.rehearsal is not None,
    }
