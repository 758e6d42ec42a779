"""`headlong bench mtp`: nine prompts, the line per prompt and the aggregate that people know.

Published runs of MTP on llama-server are lists of such lines, so that this can be laid beside them.
What they lack stands below: the rate without drafts in the same run, L and C, and why.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from headlong.bench.body import RequestOptions
from headlong.bench.dialects import dialect_of
from headlong.bench.modes import AS_SERVED, AUTO, PLAIN, Mode
from headlong.bench.nine_prompts import NINE_TOKENS, nine_prompts
from headlong.bench.session import (
    Arm,
    Session,
    Taken,
    Taking,
    Target,
    errors_by_text,
    in_turns,
    plain_arm,
)
from headlong.bench.speedup import Pair, Speedup, diagnosis, speedup_of
from headlong.progress import Progress

__all__ = ["Aggregate", "MtpOptions", "MtpResult", "aggregate_of", "run_mtp"]


@dataclass(frozen=True, slots=True)
class MtpOptions:
    """What is measured.

    Args:
        target: the server.
        against: a second one without speculation, for servers that cannot switch by request.
        mode: the mode to measure; by default the server's own choice.
        plain: also measure without drafts where that can be had.
        tokens: most tokens of an answer.
        exact: ask for exactly that many.
        repeats: rounds over the nine.
        warmups: answers before that are not kept.
    """

    target: Target
    against: Target | None = None
    mode: Mode | None = None
    plain: bool = True
    tokens: int = NINE_TOKENS
    exact: bool = False
    temperature: float = 0.0
    seed: int = 42
    repeats: int = 1
    warmups: int = 1
    request: RequestOptions = field(default_factory=RequestOptions)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Sums over an arm's answers, under the names of published runs."""

    n_requests: int
    total_predicted: int
    total_draft: int
    total_draft_accepted: int
    aggregate_accept_rate: float | None
    wall_s_total: float

    def json(self) -> str:
        """As published runs show it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields, indent=2)


@dataclass(frozen=True, slots=True)
class MtpResult:
    """What was measured: the arm of interest, the one without drafts where there is one."""

    arm: Arm
    plain: Arm | None
    taking: Taking
    options: MtpOptions

    @property
    def speedup(self) -> Speedup | None:
        """What drafts brought over all prompts; None without plain answers."""
        return self._speedup(None)

    def _speedup(self, workload: str | None) -> Speedup | None:
        if self.plain is None:
            return None
        pairs = self.taking.pairs(self.plain, self.arm, workload)
        return speedup_of([Pair(a.metrics, b.metrics) for a, b in pairs], self.arm.mode.draft)

    def lines(self) -> Iterator[str]:
        """For people: the known block per arm, then what it means."""
        for arm in filter(None, (self.plain, self.arm)):
            taken = self.taking.of(arm)
            yield f"{arm.name}  {arm.server.described}"
            yield from _known_lines(taken)
            yield f"Aggregate: {aggregate_of(taken).json()}"
            yield ""
        yield from self._meaning()
        yield from self._warnings()

    def _meaning(self) -> Iterator[str]:
        dialect = dialect_of([one.record for one in self.taking.taken])
        if dialect is not None:
            yield dialect.line()
        total = self.speedup
        if total is None:
            return
        yield f"{'':<18} {'speed-up':>8} {'L':>6} {'C':>6} {'accepted':>9}"
        names = list(dict.fromkeys(one.ask.workload.name for one in self.taking.taken))
        for name in names:
            found = self._speedup(name)
            if found is not None:
                yield _speedup_line(name, found)
        if len(names) > 1:
            yield _speedup_line("all", total)
        low, high = total.observed.low, total.observed.high
        if low is not None and high is not None:
            yield f"decode {total.observed.value:.2f}x [{low:.2f} to {high:.2f}, 95 %]"
        yield diagnosis(total)

    def _warnings(self) -> Iterator[str]:
        for error, times in errors_by_text(self.taking.failures).items():
            yield f"failed {times}x: {error}"
        wanted = self.options.tokens
        short = [t for t in self.taking.taken if t.record.ok and t.metrics.tokens < wanted - 1]
        if short:
            shortest = min(t.metrics.tokens for t in short)
            yield (
                f"{len(short)} of {len(self.taking.taken)} answers ended before {wanted} tokens "
                f"(shortest: {shortest}); --exact asks for equal lengths"
            )
        dropped = sorted({name for t in self.taking.taken for name in t.record.dropped})
        if dropped:
            yield f"the server refused, and went without: {', '.join(dropped)}"
        if self.taking.interrupted:
            yield "interrupted: these are the answers that came before"


async def run_mtp(options: MtpOptions, progress: Progress | None = None) -> MtpResult:
    """Measure.

    Raises:
        ServerError: a server does not answer.
        ParameterError: the mode is not one that the server can be asked for.
    """
    async with Session(progress) as session:
        arm, plain = await _arms(session, options)
        arms = [arm] if plain is None else [plain, arm]
        await session.warm_up(arms, options.warmups)
        prompts = nine_prompts(
            options.tokens,
            temperature=options.temperature,
            seed=options.seed,
            exact=options.exact,
        )
        asks = in_turns(arms, prompts, options.repeats, options.request)
        return MtpResult(arm, plain, await session.take(asks, "nine prompts"), options)


async def _arms(session: Session, options: MtpOptions) -> tuple[Arm, Arm | None]:
    server = await session.connect(options.target)
    mode = options.mode or (AUTO if server.switches else AS_SERVED)
    arm = Arm(mode.name, server, mode)
    if options.against is not None:
        return arm, plain_arm(await session.connect(options.against), peer=server.url)
    if options.plain and server.switches and mode != PLAIN:
        return arm, plain_arm(server)
    return arm, None


def aggregate_of(taken: Sequence[Taken]) -> Aggregate:
    """The sums; ``wall_s_total`` is the time in which these answers were awaited."""
    made = sum(one.metrics.draft_n or 0 for one in taken)
    accepted = sum(one.metrics.accepted or 0 for one in taken)
    return Aggregate(
        n_requests=len(taken),
        total_predicted=sum(one.metrics.tokens for one in taken),
        total_draft=made,
        total_draft_accepted=accepted,
        aggregate_accept_rate=round(accepted / made, 4) if made else None,
        wall_s_total=round(sum(one.record.ended for one in taken), 2),
    )


def _known_lines(taken: Sequence[Taken]) -> Iterator[str]:
    """One per prompt; of several rounds, counts of the first and the median rate."""
    for name in dict.fromkeys(one.ask.workload.name for one in taken):
        mine = [one.metrics for one in taken if one.ask.workload.name == name]
        first = mine[0]
        rates = [rate for m in mine if (rate := m.decode_rate or m.server_decode_rate)]
        made, accepted = first.draft_n or 0, first.accepted or 0
        share = f"{accepted / made:.3f}" if made else "n/a"
        speed = f"{statistics.median(rates):.1f}" if rates else "n/a"
        yield (
            f"  {name:<18} pred={first.tokens:4d} draft={made:4d} acc={accepted:4d} "
            f"rate={share} tok/s={speed}"
        )


def _speedup_line(name: str, found: Speedup) -> str:
    def two(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    share = "-" if found.acceptance is None else f"{100 * found.acceptance:.0f} %"
    return (
        f"  {name:<16} {found.observed.value:>7.2f}x {two(found.tokens_per_step):>6} "
        f"{two(found.step_cost):>6} {share:>9}"
    )
