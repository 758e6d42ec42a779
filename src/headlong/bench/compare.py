"""`headlong bench compare`: two servers, or two modes of one, turn by turn.

Turns go A B B A with the same prompt, so that heat, clocks and neighbours lie on both alike; the
ratio comes with a paired bootstrap interval, and is called a difference only where that leaves 1
out.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from headlong.bench.body import RequestOptions
from headlong.bench.dialects import dialect_of
from headlong.bench.intervals import Estimate, flags, ratio_estimate
from headlong.bench.metrics import Metrics
from headlong.bench.modes import AS_SERVED, AUTO, Mode
from headlong.bench.session import Arm, Session, Taking, Target, errors_by_text, in_turns
from headlong.bench.speedup import Pair, Speedup, diagnosis, speedup_of
from headlong.bench.workloads import Workload
from headlong.errors import ParameterError
from headlong.progress import Progress

__all__ = ["CompareOptions", "CompareResult", "Comparison", "run_compare"]

_FEWEST: Final = 3  # pairs below which an interval says little


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What is compared.

    Args:
        first: A.
        second: B; None: the same server in another mode.
        first_mode: by default the server's own choice.
        second_mode: likewise.
        workloads: what is asked.
        repeats: measured rounds.
        warmups: answers before that are not kept.
    """

    first: Target
    second: Target | None
    workloads: tuple[Workload, ...]
    first_mode: Mode | None = None
    second_mode: Mode | None = None
    repeats: int = 5
    warmups: int = 2
    request: RequestOptions = field(default_factory=RequestOptions)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One workload, or all: medians of both arms, and B by A.

    Ratios of rates above 1 mean that B is faster; of TTFT, below 1.
    """

    workload: str
    decode: tuple[float, float]
    end_to_end: tuple[float, float]
    ttft: tuple[float, float]
    decode_ratio: Estimate
    end_to_end_ratio: Estimate
    ttft_ratio: Estimate
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompareResult:
    """Both arms and what they did."""

    first: Arm
    second: Arm
    taking: Taking
    options: CompareOptions

    def comparison(self, workload: str | None = None) -> Comparison | None:
        """Over the whole answers of both to one workload or all; None where there are none."""
        pairs = [
            (a.metrics, b.metrics)
            for a, b in self.taking.pairs(self.first, self.second, workload)
            if _complete(a.metrics) and _complete(b.metrics)
        ]
        if not pairs:
            return None
        decode = [[m.decode_rate or 0.0 for m in side] for side in zip(*pairs, strict=True)]
        ends = [[m.e2e_rate or 0.0 for m in side] for side in zip(*pairs, strict=True)]
        firsts = [[m.ttft or 0.0 for m in side] for side in zip(*pairs, strict=True)]
        return Comparison(
            workload or "all",
            (statistics.median(decode[0]), statistics.median(decode[1])),
            (statistics.median(ends[0]), statistics.median(ends[1])),
            (statistics.median(firsts[0]), statistics.median(firsts[1])),
            ratio_estimate(*decode),
            ratio_estimate(*ends),
            ratio_estimate(*firsts),
            self._flags(workload, decode),
        )

    @property
    def speedup(self) -> Speedup | None:
        """Why B is faster, if A makes no drafts and B does; else None."""
        pairs = self.taking.pairs(self.first, self.second)
        drafted = [(a, b) for a, b in pairs if b.metrics.draft_n and not a.metrics.draft_n]
        if not drafted or len(drafted) < len(pairs):
            return None
        measured = [Pair(a.metrics, b.metrics) for a, b in drafted]
        return speedup_of(measured, self.second.mode.draft)

    def lines(self) -> Iterator[str]:
        """For people."""
        for letter, arm in (("A", self.first), ("B", self.second)):
            yield f"{letter}  {arm.name}  {arm.server.described}  {arm.server.model}"
            records = [one.record for one in self.taking.of(arm)]
            dialect = dialect_of(records)
            if dialect is not None:
                yield f"   {dialect.line()}"
        yield (
            f"  {'':<16} {'A tok/s':>8} {'B tok/s':>8}  {'B by A [95 %]':<20} "
            f"{'end to end':>10} {'TTFT A/B ms':>13}"
        )
        names = list(dict.fromkeys(one.ask.workload.name for one in self.taking.taken))
        for name in names:
            yield from _row(self.comparison(name), name)
        total = self.comparison() if len(names) > 1 else None
        if total is not None:
            yield from _row(total, "all")
        yield from self._meaning(self.comparison())

    def _meaning(self, total: Comparison | None) -> Iterator[str]:
        if total is not None:
            yield _sentence(total.decode_ratio)
        found = self.speedup
        if found is not None:
            yield diagnosis(found)
        lengths = {one.metrics.tokens for one in self.taking.taken if one.record.ok}
        if len(lengths) > 1:
            yield (
                f"answers are of {min(lengths)} to {max(lengths)} tokens; end-to-end rates of "
                "unequal lengths do not compare"
            )
        for error, times in errors_by_text(self.taking.failures).items():
            yield f"failed {times}x: {error}"
        if self.taking.interrupted:
            yield "interrupted: these are the answers that came before"

    def _flags(self, workload: str | None, decode: Sequence[list[float]]) -> tuple[str, ...]:
        """Drift and noise of one workload's rounds; over several, texts differ anyway."""
        if workload is None:
            return ()
        return tuple(
            f"{letter}: {flag}"
            for letter, rates in zip("AB", decode, strict=True)
            for flag in flags(rates)
        )


async def run_compare(options: CompareOptions, progress: Progress | None = None) -> CompareResult:
    """Compare.

    Raises:
        ServerError: a server does not answer.
        ParameterError: both arms are the same, or a mode is none of its server.
    """
    async with Session(progress) as session:
        server = await session.connect(options.first)
        other = server if options.second is None else await session.connect(options.second)
        modes = [
            mode or (AUTO if where.switches else AS_SERVED)
            for mode, where in ((options.first_mode, server), (options.second_mode, other))
        ]
        if server.url == other.url and server.model == other.model and modes[0] == modes[1]:
            raise ParameterError(
                f"A and B are the same: {server.url} in mode '{modes[0].name}'; give two servers, "
                "or two modes with --mode-a and --mode-b"
            )
        first = Arm(f"A {modes[0].name}", server, modes[0])
        second = Arm(f"B {modes[1].name}", other, modes[1])
        await session.warm_up([first, second], options.warmups)
        asks = in_turns([first, second], options.workloads, options.repeats, options.request)
        return CompareResult(first, second, await session.take(asks, "comparing"), options)


def _complete(metrics: Metrics) -> bool:
    return bool(metrics.decode_rate and metrics.e2e_rate and metrics.ttft)


def _row(found: Comparison | None, name: str) -> Iterator[str]:
    if found is None:
        yield f"  {name:<16} no pair of answers with a decode rate"
        return
    told = f"  ! {', '.join(found.flags)}" if found.flags else ""
    ttft = f"{1000 * found.ttft[0]:.0f}/{1000 * found.ttft[1]:.0f}"
    yield (
        f"  {name:<16} {found.decode[0]:>8.1f} {found.decode[1]:>8.1f}  "
        f"{_times(found.decode_ratio):<20} {found.end_to_end_ratio.value:>9.2f}x {ttft:>13}{told}"
    )


def _times(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}x"
    return f"{estimate.value:.2f}x [{estimate.low:.2f}-{estimate.high:.2f}]"


def _sentence(ratio: Estimate) -> str:
    if ratio.count < _FEWEST:
        return f"{ratio.count} pairs are too few to tell a difference from noise."
    if not ratio.excludes(1.0):
        return f"no difference beyond noise: B decodes at {_times(ratio)} of A."
    if ratio.value > 1:
        return f"B decodes {ratio.value:.2f} times as fast as A, beyond noise."
    return f"A decodes {1 / ratio.value:.2f} times as fast as B, beyond noise."
