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
# prompt: plain tok/s; drafts, accepted, tok/s; the same with both cards in tensor parallel;
# tokens of that last answer, where it stopped early
_NINE: Final = (
    ("code_python", 26.2, 144, 119, 39.6, 35.0, 142, 120, 59.8, 192),
    ("code_cpp", 26.2, 156, 113, 36.5, 34.8, 148, 116, 56.6, 192),
    ("explain_concept", 26.3, 154, 113, 36.7, 34.6, 146, 117, 56.8, 192),
    ("summarize", 26.4, 138, 121, 40.7, 34.6, 42, 31, 54.5, 53),
    ("qa_factual", 26.4, 144, 119, 39.4, 34.7, 148, 117, 56.8, 192),
    ("translation", 26.4, 152, 115, 37.5, 34.7, 146, 117, 57.3, 192),
    ("creative_short", 26.4, 156, 113, 36.6, 34.7, 154, 114, 54.8, 192),
    ("stepwise_math", 26.3, 146, 118, 39.0, 34.6, 140, 121, 59.6, 192),
    ("long_code_review", 26.0, 150, 115, 37.8, 34.3, 148, 117, 56.2, 192),
)
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
    for prompt, plain, drafted, accepted, drafts, both, *more in _NINE:
        yield from _pair(prompt, "1× gfx906", plain, drafts, drafted, accepted, _TOKENS)
        drafted, accepted, drafts, tokens = more
        hardware = "2× gfx906, tensor parallel"
        yield from _pair(prompt, hardware, both, drafts, int(drafted), int(accepted), int(tokens))


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
