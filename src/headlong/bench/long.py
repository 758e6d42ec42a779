"""`headlong bench long`: one long prompt, and from which answer length on drafts pay.

Drafting slows the reading of a prompt where the head reads it too.  A rate of generation alone
hides that; the break-even length is where the seconds lost at reading are won back:
``(extra prefill seconds) / (seconds saved per token)``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from headlong.bench.body import RequestOptions
from headlong.bench.long_text import long_text
from headlong.bench.modes import Mode
from headlong.bench.session import (
    Arm,
    Session,
    Taken,
    Taking,
    Target,
    errors_by_text,
    in_turns,
    two_arms,
)
from headlong.bench.workloads import Message, Workload, question_about
from headlong.errors import ParameterError
from headlong.progress import Progress

__all__ = [
    "LONG_TOKENS",
    "BreakEven",
    "LongOptions",
    "LongResult",
    "Reading",
    "break_even",
    "run_long",
]

LONG_TOKENS: Final = 18_000
"""Of the generated prompt: the length of published long runs."""
_ANSWER_TOKENS: Final = 512
_NEVER_TOKENS: Final = 0.001  # a gain per token below a thousandth of its time is none


@dataclass(frozen=True, slots=True)
class LongOptions:
    """What is measured.

    Args:
        target: the server.
        text: the prompt; None: generated, ``prompt_tokens`` long, with a question at its end.
        against: a second server without speculation, where the first cannot switch by request.
        mode: with drafts; by default the server's own choice.
        tokens: most tokens of the answer.
        repeats: measured rounds; the prompt is read anew each time.
    """

    target: Target
    text: str | None = None
    prompt_tokens: int = LONG_TOKENS
    against: Target | None = None
    mode: Mode | None = None
    tokens: int = _ANSWER_TOKENS
    exact: bool = True
    temperature: float = 0.0
    seed: int = 42
    repeats: int = 1
    request: RequestOptions = field(default_factory=RequestOptions)


@dataclass(frozen=True, slots=True)
class Reading:
    """Medians of an arm.

    Args:
        prompt_tokens: that were computed.
        prefill_seconds: for them, by the server's timings or else to the first token.
        prompt_rate: prompt tokens per second.
        token_seconds: per generated token.
        decode_rate: generated tokens per second.
        tokens: generated.
        seconds: of the whole answer.
    """

    prompt_tokens: int | None
    prefill_seconds: float
    prompt_rate: float | None
    token_seconds: float
    decode_rate: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From which length on drafts pay.

    Args:
        kind: ``always`` (reading is no slower), ``never`` (generating is no faster), or ``after``
            so many ``tokens``.
        extra_prefill: seconds that reading takes longer with drafts.
        saved_per_token: seconds that a token takes less.
        tokens: of the answer; None unless ``kind`` is ``after``.
    """

    kind: Literal["always", "never", "after"]
    extra_prefill: float
    saved_per_token: float
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class LongResult:
    """Both arms over the long prompt."""

    base: Arm
    spec: Arm
    taking: Taking

    def reading(self, arm: Arm) -> Reading | None:
        """Medians of an arm; None where it has no whole answer with a rate."""
        return _reading(self.taking.of(arm))

    @property
    def break_even(self) -> BreakEven | None:
        """None unless both arms answered."""
        base, spec = self.reading(self.base), self.reading(self.spec)
        return None if base is None or spec is None else break_even(base, spec)

    def lines(self) -> Iterator[str]:
        """For people: the columns of published long runs, then the break-even length."""
        yield f"{self.spec.server.described}  {self.spec.server.model}"
        yield f"  {'':<14} {'prompt tok/s':>12} {'generation':>10} {'tokens':>7} {'total s':>8}"
        for arm in (self.base, self.spec):
            found = self.reading(arm)
            if found is None:
                yield f"  {arm.name:<14} no whole answer"
                continue
            prompt = f"{found.prompt_rate:.2f}" if found.prompt_rate else "-"
            yield (
                f"  {arm.name:<14} {prompt:>12} {found.decode_rate:>10.2f} {found.tokens:>7d} "
                f"{found.seconds:>8.1f}"
            )
        yield from self._meaning()
        for error, times in errors_by_text(self.taking.failures).items():
            yield f"failed {times}x: {error}"
        if self.taking.interrupted:
            yield "interrupted: these are the answers that came before"

    def _meaning(self) -> Iterator[str]:
        base, found = self.reading(self.base), self.break_even
        if base is None or found is None:
            return
        length = f"of {base.prompt_tokens} tokens " if base.prompt_tokens else ""
        saved = 1000 * found.saved_per_token
        if found.kind == "after":
            yield (
                f"drafts cost {found.extra_prefill:.2f} s at the prompt {length}and save "
                f"{saved:.2f} ms per token: they pay after {found.tokens} tokens of answer."
            )
        elif found.kind == "always":
            yield (
                f"drafts make reading the prompt {length}no slower and save {saved:.2f} ms per "
                "token: they pay from the first."
            )
        else:
            yield (
                f"drafts save nothing per token after a prompt {length}({saved:+.2f} ms): they do "
                "not pay at any length."
            )
        cached = [t.metrics.cached_tokens for t in self.taking.taken if t.metrics.cached_tokens]
        if cached:
            yield f"up to {max(cached)} prompt tokens came from the cache: not a cold reading."


async def run_long(options: LongOptions, progress: Progress | None = None) -> LongResult:
    """Measure.

    Raises:
        ServerError: a server does not answer.
        ParameterError: the text is empty, or there is no arm without drafts.
    """
    if options.text is not None and not options.text.strip():
        raise ParameterError("the prompt's file holds no text")
    text = options.text or question_about(long_text(options.prompt_tokens))
    workload = Workload(
        "long prompt",
        (Message("user", text),),
        options.tokens,
        exact_length=options.exact,
        temperature=options.temperature,
        seed=options.seed,
        category="long prompt",
    )
    async with Session(progress) as session:
        base, spec = await two_arms(session, options.target, options.against, options.mode)
        await session.warm_up([base, spec])
        asks = in_turns([base, spec], [workload], options.repeats, options.request)
        return LongResult(base, spec, await session.take(asks, "a long prompt"))


def break_even(base: Reading, spec: Reading) -> BreakEven:
    """The answer length from which on drafts pay, by what both arms took."""
    extra = spec.prefill_seconds - base.prefill_seconds
    saved = base.token_seconds - spec.token_seconds
    if saved < _NEVER_TOKENS * base.token_seconds:
        return BreakEven("never", extra, saved)
    if extra <= 0:
        return BreakEven("always", extra, saved)
    return BreakEven("after", extra, saved, round(extra / saved))


def _reading(taken: Sequence[Taken]) -> Reading | None:
    whole = [one for one in taken if one.metrics.tpot and one.metrics.ttft]
    if not whole:
        return None
    computed = [
        m.prompt_tokens - (m.cached_tokens or 0)
        for m in (one.metrics for one in whole)
        if m.prompt_tokens is not None
    ]
    rates = [one.metrics.prefill_rate for one in whole if one.metrics.prefill_rate]
    tpot = statistics.median(one.metrics.tpot or 0.0 for one in whole)
    return Reading(
        prompt_tokens=round(statistics.median(computed)) if computed else None,
        prefill_seconds=statistics.median(_prefill_seconds(one) for one in whole),
        prompt_rate=statistics.median(rates) if rates else None,
        token_seconds=tpot,
        decode_rate=1 / tpot,
        tokens=round(statistics.median(one.metrics.tokens for one in whole)),
        seconds=statistics.median(one.record.ended for one in whole),
    )


def _prefill_seconds(one: Taken) -> float:
    timings = one.record.timings
    if timings is not None and timings.prompt_ms:
        return timings.prompt_ms / 1000
    return one.metrics.ttft or 0.0
