"""``POST /v1/chat/completions`` and ``POST /v1/completions``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from headlong.engine.requests import Chunk
from headlong.errors import HeadlongError
from headlong.server.answer import Answer, Answers
from headlong.server.api_error import error_of
from headlong.server.native_answers import prompt_progress
from headlong.server.openai.answer_schema import (
    ChatCompletionAnswer,
    CompletionAnswer,
    PromptProgress,
    as_json,
)
from headlong.server.openai.answering import AnswerHead, Live, Pair, Shown
from headlong.server.openai.chat_events import ChatEvents, WholeChat
from headlong.server.openai.chat_request import ask_chat
from headlong.server.openai.chat_schema import ChatCompletionRequest
from headlong.server.openai.common_schema import CommonRequest
from headlong.server.openai.completion_events import CompletionEvents, WholeCompletion
from headlong.server.openai.completion_request import ask_completion
from headlong.server.openai.completion_schema import CompletionRequest
from headlong.server.openapi import EVENTS
from headlong.server.request_body import JSONRoute
from headlong.server.request_log import RequestRecord, record_of
from headlong.server.service import Service
from headlong.server.sse import DONE, EventStream, event, while_connected
from headlong.server.timings import running_timings
from headlong.server.wire import json_response

__all__ = ["openai_routes"]


_Events = ChatEvents | CompletionEvents
_Whole = WholeChat | WholeCompletion


def openai_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(route_class=JSONRoute, tags=["OpenAI"])

    async def chat_completions(body: ChatCompletionRequest, request: Request) -> Response:
        """Answer a conversation."""
        service.check_model(body.model)
        llm, template = service.llm, await service.template()
        form = service.settings.reasoning_format
        asked = await service.aside(ask_chat, body, llm, template, form)
        head = AnswerHead.make("chatcmpl", body, llm, service.names[0])
        shown = Shown.of(body, logprobs=bool(body.logprobs))
        readers = asked.readers(llm.tokenizer)
        make = ChatEvents if body.stream else WholeChat
        made = make(head, shown, asked.tokens, readers, llm.tokenizer)
        return await _respond(service, request, body, asked.pairs, "messages", made, shown)

    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue prompts."""
        service.check_model(body.model)
        llm = service.llm
        asked = await service.aside(ask_completion, body, llm)
        head = AnswerHead.make("cmpl", body, llm, service.names[0])
        shown = Shown.of(body, logprobs=body.logprobs is not None)
        make = CompletionEvents if body.stream else WholeCompletion
        made = make(head, shown, asked.prompts, body.choices, llm.tokenizer)
        return await _respond(service, request, body, asked.pairs, "prompt", made, shown)

    for path in ("/v1/chat/completions", "/chat/completions"):
        router.add_api_route(
            path, chat_completions, methods=["POST"], responses=_responses(ChatCompletionAnswer)
        )
    router.add_api_route(
        "/v1/completions", completions, methods=["POST"], responses=_responses(CompletionAnswer)
    )
    return router


def _responses(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of answers: whole ones, or events."""
    return {200: {"model": answer, "content": EVENTS}}


async def _respond(
    service: Service,
    request: Request,
    body: CommonRequest,
    pairs: list[Pair],
    field: str,
    made: _Events | _Whole,
    shown: Shown,
) -> Response:
    """Submit, and answer as an event stream or whole; ``field`` is the prompt's."""
    try:
        answers = service.worker.submit_all(pairs)
    except HeadlongError as error:
        most = service.worker.limits.queue + service.llm.sequences
        raise error_of(error, "n" if len(pairs) > most else field) from None
    record = record_of(request)
    if isinstance(made, _Whole):
        whole = await while_connected(request.receive, _whole(answers, made, record))
        return json_response(as_json(whole))
    events = _events(answers, made, shown, record)
    await anext(events)  # from here on, closing it cancels the answers
    keep_alive = _keep_alive(service, body)
    return EventStream(events, keep_alive=keep_alive, end=DONE, record=record)


async def _events(
    answers: Answers, made: _Events, shown: Shown, record: RequestRecord
) -> AsyncGenerator[bytes, None]:
    async with answers:
        yield b""  # for `_respond`
        async for index, chunk in answers:
            if chunk.completion is not None:
                record.completed(chunk.completion)
            live = _live(answers.each[index], chunk, shown)
            for one in made.feed(index, chunk, live):
                yield event(as_json(one))
        for one in made.end():
            yield event(as_json(one))


async def _whole(answers: Answers, made: _Whole, record: RequestRecord) -> BaseModel:
    async with answers:
        async for index, chunk in answers:
            if chunk.completion is not None:
                record.completed(chunk.completion)
            made.feed(index, chunk)
    return made.answer()


def _live(answer: Answer, chunk: Chunk, shown: Shown) -> Live:
    timings = progress = None
    if shown.timings and answer.request is not None:
        timings = running_timings(answer.request)
    if shown.progress and not chunk.tokens and chunk.completion is None:
        progress = PromptProgress.model_validate(prompt_progress(answer, chunk))
    return Live(timings, progress)


def _keep_alive(service: Service, body: CommonRequest) -> float | None:
    if body.sse_ping_interval is None:
        return service.keep_alive
    return body.sse_ping_interval if body.sse_ping_interval > 0 else None
