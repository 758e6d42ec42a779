"""A mock that drafts as a request's switch says, at a known cost."""

from __future__ import annotations

from typing import Any

from mock_server import Mock
from schedules import Schedule

PLAIN_STEP = 0.006
SPEC_COST = 1.5
PATTERN = (3, 2, 3, 3, 2)
TRUE_L = sum(PATTERN) / len(PATTERN)


def speculating(
    step: float = PLAIN_STEP,
    cost: float = SPEC_COST,
    pattern: tuple[int, ...] = PATTERN,
    **more: Any,
) -> Mock:
    """Answers with as many tokens as asked for: one per step without drafts."""

    def script(body: dict[str, Any]) -> Schedule:
        draft = draft_of(body, longest=max(pattern) - 1)
        steps = steps_of(body["max_tokens"], pattern if draft else (1,), draft)
        return Schedule(
            prefill=0.01, step=step * (cost if draft else 1), steps=steps, drafts=draft,
            timings=True, ids=True, **more,
        )  # fmt: skip

    return Mock(script, owner="headlong")


def draft_of(body: dict[str, Any], longest: int) -> int:
    return int(body.get("speculative", {"n_max": longest})["n_max"])


def steps_of(tokens: int, pattern: tuple[int, ...], draft: int) -> tuple[int, ...]:
    steps: list[int] = []
    while sum(steps) < tokens - 1:
        size = min(pattern[len(steps) % len(pattern)], draft + 1)
        steps.append(min(size, tokens - 1 - sum(steps)))
    return tuple(steps)
