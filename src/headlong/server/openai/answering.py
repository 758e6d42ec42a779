"""What the answers to one request have in common, whichever endpoint it came to."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from headlong.engine.requests import Chunk
from headlong.errors import ParameterError
from headlong.llm import LLM
from headlong.sampling import SamplingParams
from headlong.sampling.params import MAX_SEED
from headlong.server.api_error import invalid
from headlong.server.openai.answer_schema import Drafts, PromptProgress
from headlong.server.openai.common_schema import MOST_ANSWERS, CommonRequest
from headlong.server.openai.form import Form
from headlong.tokenizer import Tokenizer

__all__ = ["AnswerHead", "Live", "Pair", "Shown", "StepPieces", "choices_of"]

Pair = tuple[list[int], SamplingParams]
"""Tokens of a prompt, and how its answer is drawn."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What stands at the top of an answer and of each of its events."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    tier: bool
    """Whether the service tier is told, as it is to those who ask for one."""

    @classmethod
    def make(cls, prefix: str, request: CommonRequest, llm: LLM, model: str) -> AnswerHead:
        """The head of a new answer, with an id of its own."""
        # Files that compute the same have the same fingerprint.
        digest = hashlib.sha256(llm.model.fingerprint.encode()).hexdigest()
        return cls(
            id=f"{prefix}-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=model,
            system_fingerprint=f"fp_{digest[:12]}",
            tier=request.service_tier is not None,
        )

    def fields(self) -> dict[str, Any]:
        """The fields of an answer or an event."""
        fields: dict[str, Any] = {
            "id": self.id,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }
        return fields | ({"service_tier": "default"} if self.tier else {})


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request wants to see besides text."""

    logprobs: bool = False
    tokens: bool = False
    token_ids: bool = False
    accepted: bool = False
    drafts: bool = False
    timings: bool = False
    progress: bool = False
    usage: bool = False
    running_usage: bool = False

    @classmethod
    def of(cls, request: CommonRequest, *, logprobs: bool) -> Shown:
        """As the request says."""
        options = request.options
        return cls(
            logprobs=logprobs,
            tokens=bool(request.return_tokens),
            token_ids=bool(request.return_token_ids),
            accepted=bool(request.return_drafts or request.timings_per_token),
            drafts=bool(request.return_drafts),
            timings=bool(request.timings_per_token),
            progress=bool(request.return_progress),
            usage=options.include_usage,
            running_usage=options.continuous_usage_stats,
        )

    @property
    def every_step(self) -> bool:
        """Whether a step is worth an event although its text is held back."""
        return any((self.logprobs, self.tokens, self.token_ids, self.accepted))

    def extras(self, tokens: Iterable[int], accepted: int | None) -> dict[str, Any]:
        """Fields of a choice that tell of tokens; ``accepted`` is told in events only."""
        ids = list(tokens)
        fields: dict[str, Any] = {}
        if self.tokens:
            fields["tokens"] = ids
        if self.token_ids:
            fields["token_ids"] = ids
        if self.accepted and accepted is not None:
            fields["accepted"] = accepted
        return fields


class StepPieces:
    """The steps of one answer, token by token, for those who show where drafts were right."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.stream()

    def read(self, chunk: Chunk) -> Drafts:
        """The next step."""
        pieces = [self._decoder.feed(token) for token in chunk.tokens]
        return Drafts(accepted=chunk.accepted, tokens=len(pieces), pieces=pieces)


@dataclass(frozen=True, slots=True)
class Live:
    """What is known of an answer that runs, for those who want to see it in every event."""

    timings: Mapping[str, object] | None = None
    progress: PromptProgress | None = None


_SEEDS: Final = MAX_SEED + 1


def choices_of(
    request: CommonRequest,
    llm: LLM,
    prompts: Iterable[list[int]],
    *,
    logprobs: int | None,
    form: Form | None,
    reasoning: bool = False,
) -> list[Pair]:
    """The answers that a request asks for, those to one prompt together.

    ``form`` is what each has to keep to; ``reasoning``: after the reasoning that it begins with.
    Raises `ApiError` naming the field at fault.  Compiling a grammar may take a tenth of a second.
    """
    each = list(prompts)
    if len(each) * request.choices > MOST_ANSWERS:
        raise invalid(
            "n",
            f"'n' is {request.choices} for {len(each)} prompts; a request may ask for "
            f"{MOST_ANSWERS} answers in all.",
        )
    more: dict[str, Any] = {"logprobs": logprobs}
    if form is not None:
        grammar = form.grammar.after_reasoning() if reasoning else form.grammar
        try:
            llm.check_grammar(grammar)
        except ParameterError as error:
            raise invalid(form.field, str(error)) from None
        more["grammar"] = grammar
    if request.repetition_penalty is not None:
        more["repeat_penalty"] = request.repetition_penalty
    if request.cache_prompt is not None:
        more["cache_prompt"] = request.cache_prompt
    params = request.sampling(llm, max_tokens=request.most_tokens(), **more)
    return [
        (tokens, _reseeded(params, choice)) for tokens in each for choice in range(request.choices)
    ]


def _reseeded(params: SamplingParams, choice: int) -> SamplingParams:
    """Answers to one prompt differ by their seeds, also where the first is given."""
    if choice == 0 or params.seed is None:
        return params
    return replace(params, seed=(params.seed + choice) % _SEEDS)
