"""``POST /completion``: llama-server's own way to ask for text."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request, Response

from headlong.errors import HeadlongError
from headlong.server.answer import Answers
from headlong.server.api_error import error_of
from headlong.server.completion_request import CompletionRequest
from headlong.server.native_answers import NativeAnswers
from headlong.server.openapi import EVENTS
from headlong.server.request_body import JSONRoute
from headlong.server.request_log import RequestRecord, record_of
from headlong.server.service import Service
from headlong.server.sse import EventStream, event, while_connected
from headlong.server.wire import json_response

__all__ = ["completion_routes"]


def completion_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(route_class=JSONRoute)

    async def completion(body: CompletionRequest, request: Request) -> Response:
        """Complete a prompt."""
        service.check_model(body.model)
        try:
            pairs = await body.pairs(service)
            answers = service.worker.submit_all(pairs)
        except HeadlongError as error:
            raise error_of(error, "prompt") from None
        form = NativeAnswers(
            model=service.names[0],
            context=service.llm.context,
            tokenizer=service.llm.tokenizer,
            return_tokens=bool(body.return_tokens),
            return_progress=bool(body.return_progress),
            return_drafts=bool(body.return_drafts),
            timings_per_token=bool(body.timings_per_token),
            response_fields=None if body.response_fields is None else tuple(body.response_fields),
        )
        record = record_of(request)
        if body.stream:
            keep_alive = _keep_alive(service, body)
            return EventStream(_events(answers, form, record), keep_alive=keep_alive, record=record)
        done = await while_connected(request.receive, _collected(answers, form, record))
        return json_response(done[0] if body.single else done)

    for path in ("/completion", "/completions"):
        router.add_api_route(
            path, completion, methods=["POST"], tags=["llama-server"],
            responses={200: {"content": EVENTS}},
        )  # fmt: skip
    return router


async def _events(
    answers: Answers, form: NativeAnswers, record: RequestRecord
) -> AsyncGenerator[bytes, None]:
    async with answers:
        async for index, chunk in answers:
            if chunk.completion is not None:
                record.completed(chunk.completion)
            told = form.event(index, answers.each[index], chunk)
            if told is not None:
                yield event(told)


async def _collected(
    answers: Answers, form: NativeAnswers, record: RequestRecord
) -> list[dict[str, object]]:
    done: dict[int, dict[str, object]] = {}
    async with answers:
        async for index, chunk in answers:
            if chunk.completion is not None:
                record.completed(chunk.completion)
                done[index] = form.completion(index, answers.each[index], chunk.completion)
    return [done[index] for index in sorted(done)]


def _keep_alive(service: Service, body: CompletionRequest) -> float | None:
    if body.sse_ping_interval is None:
        return service.keep_alive
    return body.sse_ping_interval if body.sse_ping_interval > 0 else None
