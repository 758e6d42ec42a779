"""Answers in llama-server's own form: pure functions from chunks to JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headlong.engine.requests import Chunk, Completion
from headlong.sampling import SamplingParams, TokenLogprob
from headlong.server.answer import Answer
from headlong.server.timings import completion_timings, running_timings
from headlong.tokenizer import Tokenizer

__all__ = ["NativeAnswers", "generation_settings", "prompt_progress", "selected"]

# JSON has no infinity; OpenAI's clients know this number for it.
_IMPOSSIBLE: Final = -9999.0
_STOP_TYPES: Final[Mapping[str, str]] = {"length": "limit", "stop": "eos"}


@dataclass(frozen=True, slots=True)
class NativeAnswers:
    """What a request wants to see in its events and answers."""

    model: str
    context: int
    tokenizer: Tokenizer
    return_tokens: bool
    return_progress: bool
    return_drafts: bool
    timings_per_token: bool
    response_fields: tuple[str, ...] | None

    def event(self, index: int, answer: Answer, chunk: Chunk) -> dict[str, object] | None:
        """The event of a step; None where there is nothing to tell."""
        if chunk.completion is not None:
            last = self._whole(index, answer, chunk.completion)
            return (
                last | {"content": chunk.text, "tokens": list(chunk.tokens)} | self._extras(chunk)
            )
        if not chunk.tokens:
            if not self.return_progress:
                return None
            return self._event(index, answer, chunk) | {
                "prompt_progress": prompt_progress(answer, chunk)
            }
        return self._event(index, answer, chunk)

    def completion(self, index: int, answer: Answer, completion: Completion) -> dict[str, object]:
        """A finished answer as a whole."""
        whole = self._whole(index, answer, completion)
        if answer.params.logprobs is not None:
            whole["completion_probabilities"] = self._probabilities(completion.logprobs)
        return selected(whole, self.response_fields)

    def _whole(self, index: int, answer: Answer, completion: Completion) -> dict[str, object]:
        predicted = len(completion.tokens)
        full = len(completion.prompt_tokens) + predicted >= self.context
        stop = "word" if completion.stop else _STOP_TYPES.get(completion.finish_reason, "none")
        return {
            "index": index,
            "content": completion.text,
            "tokens": list(completion.tokens) if self.return_tokens else [],
            "id_slot": answer.slot,
            "stop": True,
            "model": self.model,
            "tokens_predicted": predicted,
            "tokens_evaluated": len(completion.prompt_tokens),
            "tokens_cached": completion.timings.cached,
            "generation_settings": generation_settings(answer.params, completion.seed)
            | {"n_ctx": self.context},
            "has_new_line": "\n" in completion.text,
            "truncated": completion.finish_reason == "length" and full,
            "stop_type": stop,
            "stopping_word": completion.stop or "",
            "timings": completion_timings(completion),
        }

    def _event(self, index: int, answer: Answer, chunk: Chunk) -> dict[str, object]:
        event: dict[str, object] = {
            "index": index,
            "content": chunk.text,
            "tokens": list(chunk.tokens),
            "stop": False,
            "id_slot": answer.slot,
            "tokens_predicted": answer.taken,
            "tokens_evaluated": len(answer.tokens),
        }
        if self.timings_per_token and answer.request is not None:
            event["timings"] = running_timings(answer.request)
        return event | self._extras(chunk)

    def _extras(self, chunk: Chunk) -> dict[str, object]:
        extras: dict[str, object] = {}
        if self.timings_per_token or self.return_drafts:
            extras["accepted"] = chunk.accepted
        if chunk.logprobs:
            extras["completion_probabilities"] = self._probabilities(chunk.logprobs)
        return extras

    def _probabilities(self, logprobs: Sequence[TokenLogprob]) -> list[dict[str, object]]:
        return [
            self._probability(one.token, one.logprob)
            | {"top_logprobs": [self._probability(*likely) for likely in one.top]}
            for one in logprobs
        ]

    def _probability(self, token: int, logprob: float) -> dict[str, object]:
        data = self.tokenizer.token_bytes(token)
        return {
            "id": token,
            "token": data.decode("utf-8", "replace"),
            "bytes": list(data),
            "logprob": max(logprob, _IMPOSSIBLE),
        }


def prompt_progress(answer: Answer, chunk: Chunk) -> dict[str, object]:
    """How far the prompt has been read; ``processed`` counts what was cached too."""
    assert answer.request is not None, "an answer with chunks has reached the engine"
    sequence = answer.request.sequence
    return {
        "total": sequence.prompt_length,
        "cache": sequence.cached,
        "processed": chunk.prompt_done,
        "time_ms": round(1000 * (time.perf_counter() - sequence.timing.prefill_began)),
    }


def generation_settings(params: SamplingParams, seed: int | None) -> dict[str, object]:
    """Settings of sampling under llama-server's names; those it lacks under ours."""
    return {
        "n_predict": -1 if params.max_tokens is None else params.max_tokens,
        "seed": -1 if seed is None else seed,
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "min_p": params.min_p,
        "typical_p": params.typical_p,
        "repeat_last_n": params.repeat_last_n,
        "repeat_penalty": params.repeat_penalty,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "logit_bias": [
            [token, False if bias < -1e30 else bias] for token, bias in params.bias_pairs
        ],
        "stop": list(params.stop),
        "ignore_eos": params.ignore_eos,
        "min_tokens": params.min_tokens,
        "cache_prompt": params.cache_prompt,
        "n_probs": params.logprobs or 0,
        "grammar": "" if params.grammar is None else params.grammar.source,
        "speculative.n_max": params.draft_n_max,
        "samplers": ["penalties", "top_k", "typ_p", "top_p", "min_p", "temperature"],
    }


def selected(answer: dict[str, object], fields: Sequence[str] | None) -> dict[str, object]:
    """The wanted fields; ``a/b`` takes b out of a.  What does not exist is left out."""
    if fields is None:
        return answer
    chosen: dict[str, object] = {}
    for path in fields:
        value: object = answer
        for name in path.split("/"):
            value = value.get(name, _MISSING) if isinstance(value, dict) else _MISSING
        if value is not _MISSING:
            chosen[path.split("/")[-1]] = value
    return chosen


_MISSING: Final = object()
