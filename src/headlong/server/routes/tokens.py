"""Text to tokens and back, and conversations to prompts; nothing is generated."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from headlong.errors import HeadlongError
from headlong.server.api_error import error_of, invalid
from headlong.server.openai.chat_schema import ChatCompletionRequest
from headlong.server.openai.conversation import render
from headlong.server.openai.tool_use import tool_use_of
from headlong.server.request_body import JSONRoute, RequestBody
from headlong.server.service import Service
from headlong.server.wire import json_response
from headlong.tokenizer import Tokenizer

__all__ = ["token_routes"]


class TokenizeRequest(RequestBody):
    """llama-server's fields, and vLLM's name for the text."""

    content: str | list[int | str] | None = None
    prompt: str | None = Field(default=None, description="Another name of content (vLLM's).")
    model: str | None = None
    add_special: bool | None = Field(default=None, description="Put BOS in front; default: no.")
    add_special_tokens: bool | None = Field(
        default=None, description="Another name of add_special (vLLM's)."
    )
    parse_special: bool | None = Field(
        default=None, description="Control tokens in the text count as such; default: yes."
    )
    with_pieces: bool | None = Field(default=None, description="Give each token's text too.")


class DetokenizeRequest(RequestBody):
    """Tokens to turn into text, control tokens written out."""

    tokens: list[int]
    model: str | None = None


def token_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(route_class=JSONRoute, tags=["llama-server"])

    async def tokenize(body: TokenizeRequest) -> Response:
        """Tokens of a text."""
        text = body.content if body.prompt is None else body.prompt
        if text is None or (body.content is not None and body.prompt is not None):
            raise invalid("content", "give the text as 'content'.")
        special = body.parse_special is not False
        bos = bool(body.add_special or body.add_special_tokens)
        tokenizer = service.llm.tokenizer
        try:
            ids = await service.aside(_encoded, tokenizer, text, special, bos)
        except HeadlongError as error:
            raise error_of(error, "content") from None
        tokens = [_piece(tokenizer, one) for one in ids] if body.with_pieces else ids
        return json_response(
            {"tokens": tokens, "count": len(ids), "max_model_len": service.llm.context}
        )

    async def detokenize(body: DetokenizeRequest) -> Response:
        """The text of tokens."""
        try:
            decode = service.llm.tokenizer.decode
            text = await service.aside(decode, body.tokens, special=True)
        except HeadlongError as error:
            raise error_of(error, "tokens") from None
        return json_response({"content": text, "prompt": text})

    async def apply_template(body: ChatCompletionRequest) -> Response:
        """The prompt that a request for a chat completion comes to."""
        template = await service.template()
        prompt = await service.aside(render, body, tool_use_of(body), template)
        return json_response({"prompt": prompt.text})

    for path, route in (
        ("/tokenize", tokenize),
        ("/detokenize", detokenize),
        ("/apply-template", apply_template),
    ):
        router.add_api_route(path, route, methods=["POST"])
    return router


def _encoded(
    tokenizer: Tokenizer, text: str | list[int | str], special: bool, bos: bool
) -> list[int]:
    parts = [text] if isinstance(text, str) else text
    ids: list[int] = []
    for part in parts:
        if isinstance(part, str):
            ids += tokenizer.encode(part, special=special, add_bos=False)
        else:
            tokenizer.token_bytes(part)  # raises for an id that does not exist
            ids.append(part)
    first = tokenizer.vocabulary.bos_id
    # As llama-server does: a vocabulary that wants no BOS gets none.
    return [first, *ids] if bos and tokenizer.add_bos and first is not None else ids


def _piece(tokenizer: Tokenizer, token: int) -> dict[str, object]:
    """A token with its text, or its bytes where they are no whole text."""
    data = tokenizer.token_bytes(token)
    try:
        return {"id": token, "piece": data.decode()}
    except UnicodeDecodeError:
        return {"id": token, "piece": list(data)}
