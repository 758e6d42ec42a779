"""A completion as JSON, under the names that llama.cpp's server uses where it has one."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headlong.engine.requests import Completion
    from headlong.models.rehearsal import Rehearsal

__all__ = ["completion_json"]


def completion_json(
    completion: Completion,
    prompt: str,
    opened: bool | None,
    rehearsal: Rehearsal | None = None,
) -> str:
    """One indented object: text, tokens, why it ended, timings in seconds, speculation.

    opened: whether the prompt ended inside a reasoning block, for an answer to a conversation,
    whose text is then also given split; None for a raw completion.
    rehearsal: what the weights were made with, if they are made up, so that the figures say so.
    """
    timings = completion.timings
    fields: dict[str, object] = {
        "prompt": prompt,
        "prompt_tokens": completion.prompt_tokens,
        "text": completion.text,
        "tokens": completion.tokens,
        "finish_reason": completion.finish_reason,
        "stop": completion.stop,
        "seed": completion.seed,
        "timings": {
            "prompt_n": timings.prompt,
            "prompt_seconds": timings.prompt_seconds,
            "prompt_per_second": timings.prompt_per_second,
            "predicted_n": timings.predicted,
            "predicted_seconds": timings.predicted_seconds,
            "predicted_per_second": timings.predicted_per_second,
        },
        "speculation": completion.stats.as_dict(),
    }
    if rehearsal is not None:
        fields["rehearsal"] = asdict(rehearsal)
    if opened is not None:
        fields |= _split(completion.text, opened)
    return json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False)


def _split(text: str, opened: bool) -> dict[str, object]:
    from headlong.tokenizer import ReasoningParser

    parser = ReasoningParser(opened)
    parts = (parser.feed(text), parser.flush())
    return {
        "content": "".join(part.content for part in parts),
        "reasoning_content": "".join(part.reasoning for part in parts),
    }
