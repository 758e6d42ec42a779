"""``/props``, ``/slots`` and ``/metrics``: how the server is set and what it is doing."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from headlong import __version__
from headlong.errors import HeadlongError
from headlong.llm import LLM
from headlong.sampling import SamplingParams
from headlong.server.answer import Answer
from headlong.server.api_error import ApiError
from headlong.server.metrics import engine_figures
from headlong.server.native_answers import generation_settings
from headlong.server.refusals import NotReady
from headlong.server.service import Service
from headlong.server.settings_text import settings_json
from headlong.server.timings import running_timings
from headlong.server.wire import json_response

__all__ = ["status_routes"]


def status_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["status"])

    async def props() -> Response:
        """Settings in effect, defaults of sampling, the chat template."""
        llm = service.llm
        vocabulary = llm.tokenizer.vocabulary
        return json_response(
            {
                "default_generation_settings": {
                    "n_ctx": llm.context,
                    "speculative": llm.max_draft > 0,
                    "params": generation_settings(SamplingParams(), None),
                },
                "total_slots": llm.sequences,
                "model_alias": service.names[0],
                "model_path": llm.model.path.name,
                "chat_template": await _template_source(service),
                "modalities": {"vision": False, "audio": False},
                "bos_token": _text(llm, vocabulary.bos_id),
                "eos_token": _text(llm, vocabulary.eos_id),
                "build_info": f"headlong {__version__}",
                "is_sleeping": False,
                "speculative": {
                    "has_mtp": llm.has_mtp,
                    "n_max": service.settings.draft_n_max if llm.max_draft else 0,
                    "longest": llm.max_draft,
                },
                "settings": settings_json(service.settings),
            }
        )

    async def slots(fail_on_no_slot: bool = False) -> Response:
        """What every slot does; with ``fail_on_no_slot``, 503 while none is free."""
        slots = service.llm.sequences
        running = {a.slot: a for a in service.worker.answers if a.started and a.slot >= 0}
        if fail_on_no_slot and len(running) >= slots:
            raise ApiError(503, "no slot is free.", code="no_slot")
        return json_response([_slot(service, i, running.get(i)) for i in range(slots)])

    async def metrics() -> Response:
        """Figures in Prometheus' text format."""
        try:
            engine = await service.worker.ask(engine_figures)
        except NotReady:
            engine = None
        return Response(service.metrics.text(engine), media_type=CONTENT_TYPE_LATEST)

    for path, route in (("/props", props), ("/slots", slots)):
        router.add_api_route(path, route, methods=["GET"])
    router.add_api_route("/metrics", metrics, methods=["GET"], response_class=PlainTextResponse)
    return router


async def _template_source(service: Service) -> str | None:
    try:
        return (await service.template()).source
    except HeadlongError:
        return None  # the file has none, or one that cannot be used; chat says why


def _text(llm: LLM, token: int | None) -> str | None:
    return None if token is None else llm.tokenizer.vocabulary.tokens[token]


def _slot(service: Service, place: int, answer: Answer | None) -> dict[str, object]:
    """One slot; nothing of what anybody wrote."""
    idle: dict[str, object] = {
        "id": place,
        "n_ctx": service.llm.context,
        "speculative": service.llm.max_draft > 0,
        "is_processing": answer is not None,
    }
    if answer is None or answer.request is None:
        return idle
    sequence = answer.request.sequence
    decoded = answer.request.kept
    return idle | {
        "id_task": sequence.id,
        "n_prompt_tokens": sequence.prompt_length,
        "n_prompt_tokens_processed": min(sequence.computed, sequence.prompt_length),
        "n_prompt_tokens_cache": sequence.cached,
        "params": generation_settings(answer.params, sequence.seed),
        "next_token": {
            "has_next_token": not answer.ended,
            "n_decoded": decoded,
            "n_remain": sequence.limit - sequence.prompt_length - decoded,
        },
        "timings": running_timings(answer.request),
    }
