"""`headlong bench sweep`: which draft length is best on this machine, and is it beyond noise?

All lengths take turns on every prompt.  Each is compared with every other by pairs of the same
prompt and round; advice is given only for what the intervals support.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from headlong.bench.body import RequestOptions
from headlong.bench.intervals import Estimate, ratio_estimate
from headlong.bench.modes import AS_SERVED, AUTO, Mode, drafts
from headlong.bench.nine_prompts import nine_prompts
from headlong.bench.session import Arm, Session, Taking, Target, errors_by_text, in_turns
from headlong.bench.speedup import Pair, Speedup, speedup_of
from headlong.errors import ParameterError
from headlong.progress import Progress

__all__ = ["LENGTHS", "Length", "SweepOptions", "SweepResult", "run_sweep"]

LENGTHS: Final = (0, 1, 2, 3, 4, 5)
_TOKENS: Final = 128


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What is swept.

    Args:
        target: a server that switches speculation by request; None where ``servers`` are given.
        servers: by draft length, for servers that were each started with one.
        lengths: draft lengths; 0 is without drafts.
        auto: also measure the server's own choice, where it switches by request.
        repeats: rounds over the nine prompts.
    """

    target: Target | None
    servers: Mapping[int, Target] = field(default_factory=dict)
    lengths: tuple[int, ...] = LENGTHS
    auto: bool = True
    tokens: int = _TOKENS
    exact: bool = True
    temperature: float = 0.0
    seed: int = 42
    repeats: int = 1
    warmups: int = 1
    request: RequestOptions = field(default_factory=RequestOptions)


@dataclass(frozen=True, slots=True)
class Length:
    """One draft length.

    Args:
        arm: the length's arm; its mode's ``draft`` is the length, None for the server's choice.
        rate: median decode tok/s.
        speedup: against no drafts; None for that itself, and where it was not measured.
    """

    arm: Arm
    rate: float
    speedup: Speedup | None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """All lengths, shortest first; the server's own choice last."""

    arms: tuple[Arm, ...]
    taking: Taking

    @property
    def lengths(self) -> list[Length]:
        """Those with an answer."""
        plain = self.plain
        found = []
        for arm in self.arms:
            rates = [t.metrics.decode_rate for t in self.taking.of(arm) if t.metrics.decode_rate]
            if not rates:
                continue
            speedup = None
            if plain is not None and arm is not plain:
                pairs = self.taking.pairs(plain, arm)
                measured = [Pair(a.metrics, b.metrics) for a, b in pairs]
                speedup = speedup_of(measured, arm.mode.draft)
            found.append(Length(arm, statistics.median(rates), speedup))
        return found

    @property
    def plain(self) -> Arm | None:
        """The arm without drafts."""
        return next((arm for arm in self.arms if arm.mode.draft == 0), None)

    def ratio(self, base: Arm, other: Arm) -> Estimate | None:
        """How many times the decode rate of ``base`` ``other`` has; None without pairs."""
        pairs = [
            (a.metrics.decode_rate, b.metrics.decode_rate)
            for a, b in self.taking.pairs(base, other)
            if a.metrics.decode_rate and b.metrics.decode_rate
        ]
        if not pairs:
            return None
        return ratio_estimate([a for a, _ in pairs], [b for _, b in pairs])

    @property
    def best(self) -> Arm | None:
        """The fixed length with the highest mean; None where nothing was measured."""
        fixed = [one.arm for one in self.lengths if one.arm.mode.draft is not None]
        if not fixed:
            return None
        base = fixed[0]
        return max(fixed, key=lambda arm: _value(self.ratio(base, arm)))

    def advice(self) -> Iterator[str]:
        """Which length to take, and how sure that is."""
        best = self.best
        fixed = [one.arm for one in self.lengths if one.arm.mode.draft is not None]
        if best is None or len(fixed) < 2:
            yield "too few lengths were measured for advice."
            return
        against = {a.name: r for a in fixed if a is not best and (r := self.ratio(a, best))}
        even = [a for a in fixed if a.name in against and not _beats(against[a.name])]
        shortest = min([*even, best], key=lambda arm: arm.mode.draft or 0)
        if even:
            among = sorted([*even, best], key=lambda arm: arm.mode.draft or 0)
            names = ", ".join(arm.name for arm in among)
            yield (
                f"take {shortest.name}: {best.name} measured best, but {names} cannot be told "
                f"apart; the shortest draft costs the least when many answers run at once."
            )
        else:
            runner = min(against.items(), key=lambda item: item[1].value)
            yield f"take {best.name}: it beats {runner[0]} by {_gain(runner[1])}, beyond noise."
        if shortest.mode.draft == 0:
            yield "no draft length pays on this server."
        yield from self._auto(best)

    def _auto(self, best: Arm) -> Iterator[str]:
        chosen = next((one.arm for one in self.lengths if one.arm.mode.draft is None), None)
        ratio = self.ratio(best, chosen) if chosen is not None else None
        if ratio is None:
            return
        if ratio.excludes(1.0):
            how = "faster" if ratio.value > 1 else "slower"
            yield f"the server's own choice is {_gain(ratio)} {how} than {best.name}."
        else:
            yield f"the server's own choice is as fast as {best.name} within noise."

    def lines(self) -> Iterator[str]:
        """For people."""
        yield from dict.fromkeys(arm.server.described for arm in self.arms)
        yield f"  {'':<8} {'tok/s':>8}  {'speed-up [95 %]':<20} {'L':>6} {'C':>6} {'accepted':>9}"
        for one in self.lengths:
            yield _row(one)
        for error, times in errors_by_text(self.taking.failures).items():
            yield f"failed {times}x: {error}"
        if self.taking.interrupted:
            yield "interrupted: these are the answers that came before"
        yield from self.advice()


async def run_sweep(options: SweepOptions, progress: Progress | None = None) -> SweepResult:
    """Measure all lengths.

    Raises:
        ServerError: a server does not answer.
        ParameterError: fewer than two lengths, or the server cannot switch by request.
    """
    lengths = sorted({*options.servers, *(options.lengths if options.target else ())})
    if len(lengths) < 2:
        raise ParameterError("a sweep needs at least two draft lengths")
    async with Session(progress) as session:
        arms: list[Arm] = []
        server = await session.connect(options.target) if options.target else None
        if server is not None and not server.switches:
            raise ParameterError(
                f"{server.url} ({server.kind}) cannot switch speculation by a request: start it "
                "once for each draft length and give --at N=URL for each"
            )
        for length in lengths:
            if length in options.servers:
                other = await session.connect(options.servers[length])
                mode = drafts(length) if other.switches else _started_with(length)
                arms.append(Arm(mode.name, other, mode, peer="servers by draft length"))
            elif server is not None:
                arms.append(Arm(drafts(length).name, server, drafts(length)))
        if server is not None and options.auto:
            arms.append(Arm(AUTO.name, server, AUTO))
        await session.warm_up(arms, options.warmups)
        prompts = nine_prompts(
            options.tokens,
            temperature=options.temperature,
            seed=options.seed,
            exact=options.exact,
        )
        asks = in_turns(arms, prompts, options.repeats, options.request)
        return SweepResult(tuple(arms), await session.take(asks, "sweeping"))


def _started_with(length: int) -> Mode:
    """The mode of a server that was started with this draft length."""
    return replace(AS_SERVED, name=drafts(length).name, draft=length)


def _beats(ratio: Estimate) -> bool:
    return ratio.value > 1 and ratio.excludes(1.0)


def _value(ratio: Estimate | None) -> float:
    return ratio.value if ratio is not None else 0.0


def _gain(ratio: Estimate) -> str:
    ends = [abs(end - 1) for end in (ratio.low, ratio.high) if end is not None]
    interval = f" [{100 * min(ends):.1f} to {100 * max(ends):.1f}]" if ends else ""
    return f"{100 * abs(ratio.value - 1):.1f} %{interval}"


def _row(one: Length) -> str:
    found = one.speedup
    if found is None:
        return f"  {one.arm.name:<8} {one.rate:>8.1f}"
    low, high = found.observed.low, found.observed.high
    interval = f" [{low:.2f}-{high:.2f}]" if low is not None and high is not None else ""
    share = "-" if found.acceptance is None else f"{100 * found.acceptance:.0f} %"
    two = ["-" if v is None else f"{v:.2f}" for v in (found.tokens_per_step, found.step_cost)]
    return (
        f"  {one.arm.name:<8} {one.rate:>8.1f}  {f'{found.observed.value:.2f}x{interval}':<20} "
        f"{two[0]:>6} {two[1]:>6} {share:>9}"
    )
