"""Results that others published, as data: what people compare with.

Both sources measured llama.cpp.  L and C of the first follow from its counts: verify steps are
tokens - accepted - 1, L = (tokens - 1) / steps, C = L / speed-up.  The second prints tokens by the
whole time, first token included; its decode rate follows from that and the time to the first token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Published", "Source", "published_rows"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures come from."""

    short: str
    text: str


@dataclass(frozen=True, slots=True)
class Published:
    """One row of others.  Rates are tok/s, times seconds; None where they tell nothing."""

    source: Source
    model: str
    quantisation: str
    hardware: str
    backend: str
    mode: str
    workload: str
    decode: float | None
    e2e: float | None = None
    ttft: float | None = None
    speedup: float | None = None
    tokens_per_step: float | None = None
    step_cost: float | None = None
    acceptance: float | None = None
    prefill: float | None = None


_CARDS: Final = Source(
    "llama.cpp on gfx906",
    "llama.cpp fork with MTP (pull request 22673) on two gfx906 cards (MI50 class), ROCm 7.2, "
    "Qwen3.6-27B Q4_1 with a grafted head; mtp-bench, one run of nine prompts, 192 tokens each, "
    "temperature 1; decode rates by the server's timings. L and C are derived from its counts.",
)
_BENCH: Final = Source(
    "llama.cpp, speed-bench",
    "calebcoffie.com/benchmarks: llama.cpp at 4f13cb7, ROCm 7.2.3 and CUDA 13.1, chat shape of 100 "
    "tokens, temperature 0, medians of 5 runs after 2 warm-ups. Its tok/s count the time to the "
    "first token in, so they stand under end to end here; decode rates are derived.",
)

_TOKENS: Final = 192
_PROMPTS: Final = (
    "code_python", "code_cpp", "explain_concept", "summarize", "qa_factual", "translation",
    "creative_short", "stepwise_math", "long_code_review",
)  # fmt: skip
# by prompt: plain tok/s, tok/s with drafts of 2, drafted, accepted
_ONE_CARD: Final = (
    (26.2, 39.6, 144, 119), (26.2, 36.5, 156, 113), (26.3, 36.7, 154, 113), (26.4, 40.7, 138, 121),
    (26.4, 39.4, 144, 119), (26.4, 37.5, 152, 115), (26.4, 36.6, 156, 113), (26.3, 39.0, 146, 118),
    (26.0, 37.8, 150, 115),
)  # fmt: skip
_TWO_CARDS: Final = (
    (35.0, 59.8, 142, 120), (34.8, 56.6, 148, 116), (34.6, 56.8, 146, 117), (34.6, 54.5, 42, 31),
    (34.7, 56.8, 148, 117), (34.7, 57.3, 146, 117), (34.7, 54.8, 154, 114), (34.6, 59.6, 140, 121),
    (34.3, 56.2, 148, 117),
)  # fmt: skip
_SHORT: Final = {"2× gfx906, tensor parallel": {"summarize": 53}}
"""Tokens of an answer with drafts that ended early."""
# hardware, mode, prompt tok/s, generation tok/s
_LONG: Final = (
    ("1× gfx906", "plain", 360.91, 23.07),
    ("1× gfx906", "n=2", 227.41, 32.25),
    ("2× gfx906, tensor parallel", "plain", 457.74, 32.00),
    ("2× gfx906, tensor parallel", "n=2", 386.17, 47.75),
)

_CHAT_TOKENS: Final = 100
# model, quantisation, hardware; tok/s and TTFT in ms of plain, n=2, n=3
_SPEED: Final = (
    ("Qwen3.6-27B", "Q4_K_M", "RTX 3090 @ 450 W", (38.7, 238), (59.5, 259), (58.7, 259)),
    ("Qwen3.6-27B", "Q4_K_M", "RTX 3090 @ 200 W", (21.1, 266), (32.0, 271), (34.2, 283)),
    ("Qwen3.6-27B", "Q4_K_M", "Strix Halo", (11.7, 345), (19.7, 375), (21.2, 386)),
    ("Qwen3.6-27B", "Q8_0", "2× RTX 3090 @ 450 W", (25.7, 236), (49.6, 258), (55.9, 287)),
    ("Qwen3.6-27B", "Q8_0", "2× RTX 3090 @ 200 W", (25.1, 238), (47.4, 275), (50.5, 265)),
    ("Qwen3.6-27B", "Q8_0", "Strix Halo", (7.4, 455), (15.7, 501), (18.1, 509)),
    ("Qwen3.6-35B-A3B", "Q4_K_M", "RTX 3090 @ 450 W", (120.0, 127), (143.2, 140), (148.3, 149)),
    ("Qwen3.6-35B-A3B", "Q4_K_M", "Strix Halo", (49.5, 139), (65.4, 157), (69.4, 158)),
)


def published_rows() -> tuple[Published, ...]:
    """All of them, in the order of their sources."""
    return (*_nine(), *_long(), *_speed())


def _nine() -> Iterator[Published]:
    for hardware, figures in (("1× gfx906", _ONE_CARD), ("2× gfx906, tensor parallel", _TWO_CARDS)):
        for prompt, (plain, drafts, drafted, accepted) in zip(_PROMPTS, figures, strict=True):
            tokens = _SHORT.get(hardware, {}).get(prompt, _TOKENS)
            yield from _pair(prompt, hardware, plain, drafts, drafted, accepted, tokens)


def _pair(
    prompt: str, hardware: str, plain: float, drafts: float, drafted: int, accepted: int,
    tokens: int,
) -> Iterator[Published]:  # fmt: skip
    model = ("Qwen3.6-27B", "Q4_1", hardware, "llama.cpp fork")
    yield Published(_CARDS, *model, "plain", prompt, plain)
    length = (tokens - 1) / (tokens - accepted - 1)
    yield Published(
        _CARDS, *model, "n=2", prompt, drafts,
        speedup=drafts / plain,
        tokens_per_step=length,
        step_cost=length * plain / drafts,
        acceptance=accepted / drafted,
    )  # fmt: skip


def _long() -> Iterator[Published]:
    plain = {hardware: rate for hardware, mode, _, rate in _LONG if mode == "plain"}
    for hardware, mode, prefill, rate in _LONG:
        yield Published(
            _CARDS, "Qwen3.6-27B", "Q4_1", hardware, "llama.cpp fork", mode, "prompt of 19 k",
            rate,
            prefill=prefill,
            speedup=None if mode == "plain" else rate / plain[hardware],
        )  # fmt: skip


def _speed() -> Iterator[Published]:
    for model, quantisation, hardware, *modes in _SPEED:
        plain: float | None = None
        for mode, (rate, first) in zip(("plain", "n=2", "n=3"), modes, strict=True):
            ttft = first / 1e3
            decode = (_CHAT_TOKENS - 1) / (_CHAT_TOKENS / rate - ttft)
            yield Published(
                _BENCH, model, quantisation, hardware, "llama.cpp 4f13cb7", mode, "chat", decode,
                e2e=rate, ttft=ttft, speedup=None if plain is None else decode / plain,
            )  # fmt: skip
            plain = plain or decode
