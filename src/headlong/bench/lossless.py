"""`headlong bench lossless`: does speculation change what is written?

Greedy text must be the same with drafts as without.  Other tools compare once and blame
speculation; here the server is first compared with itself, for one that is not equal to itself (a
batch that differs, a kernel that is not deterministic) says nothing about speculation.  At a first
difference the margin tells how close the two best tokens were: a tie that rounding broke, or an
error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from headlong.bench.body import RequestOptions
from headlong.bench.events import RequestRecord, TokenLogprob
from headlong.bench.modes import Mode
from headlong.bench.nine_prompts import NINE_TOKENS, nine_prompts
from headlong.bench.session import (
    Arm,
    Ask,
    Session,
    Taken,
    Taking,
    Target,
    errors_by_text,
    new_salt,
    two_arms,
)
from headlong.bench.workloads import Workload
from headlong.errors import ParameterError
from headlong.progress import Progress

__all__ = [
    "Difference",
    "LosslessOptions",
    "LosslessResult",
    "Verdict",
    "first_difference",
    "run_lossless",
]

Verdict = Literal["identical", "different", "not equal to itself", "unknown"]

_ALTERNATIVES: Final = 5
_TIE: Final = 0.1
"""Difference of log-probabilities below which two tokens were all but tied.  Rounding of 16-bit
activations moves logits by a few hundredths."""
_AROUND: Final = 24  # characters shown on each side


@dataclass(frozen=True, slots=True)
class LosslessOptions:
    """What is compared.

    Args:
        target: the server.
        against: a second one without speculation, for servers that cannot switch by request.
        modes: with drafts; by default the server's own choice.
        tokens: most tokens of an answer.
        temperature: above 0, the same seed must give the same text, which few servers promise.
        controls: how often the answer without drafts is repeated.
    """

    target: Target
    against: Target | None = None
    modes: tuple[Mode, ...] = ()
    tokens: int = NINE_TOKENS
    temperature: float = 0.0
    seed: int = 42
    controls: int = 1
    prompts: int | None = None
    request: RequestOptions = field(default_factory=RequestOptions)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an answer first differs.

    Args:
        token: index of the first token that differs; None where only texts could be compared.
        character: index of the first character that differs in the whole text.
        before: text up to there, shortened.
        expected: what follows without drafts, shortened; empty for an answer that ended.
        found: what follows instead.
        margin: log-probability of the best token above the second, without drafts; None where the
            server does not tell.
    """

    token: int | None
    character: int
    before: str
    expected: str
    found: str
    margin: float | None = None

    @property
    def tie(self) -> bool | None:
        """Whether rounding can be the cause; None where the margin is unknown."""
        return None if self.margin is None else self.margin < _TIE


@dataclass(frozen=True, slots=True)
class Compared:
    """One prompt by one arm, against the first answer without drafts."""

    workload: str
    arm: str
    control: bool
    by: Literal["token ids", "text"]
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class LosslessResult:
    """All comparisons; ``names`` of the arms with drafts."""

    base: Arm
    arms: tuple[Arm, ...]
    compared: tuple[Compared, ...]
    taking: Taking
    options: LosslessOptions

    def of(self, arm: str) -> list[Compared]:
        """Comparisons of an arm with drafts."""
        return [c for c in self.compared if c.arm == arm and not c.control]

    @property
    def controls(self) -> list[Compared]:
        """Comparisons of the server without drafts with itself."""
        return [c for c in self.compared if c.control]

    @property
    def verdict(self) -> Verdict:
        """Of the whole; a difference counts only where the server is equal to itself."""
        unsteady = {c.workload for c in self.controls if c.difference}
        drafted = [c for c in self.compared if not c.control]
        if any(c.difference and c.workload not in unsteady for c in drafted):
            return "different"
        if unsteady:
            return "not equal to itself"
        return "identical" if drafted else "unknown"

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.base.server.described}  {self.base.server.model}"
        yield self._line(f"{self.base.name}, again", self.controls)
        for one in self.controls:
            if one.difference:
                yield from _difference_lines(one)
        for arm in self.arms:
            compared = self.of(arm.name)
            yield self._line(arm.name, compared)
            for one in compared:
                if one.difference:
                    yield from _difference_lines(one)
        for error, times in errors_by_text(self.taking.failures).items():
            yield f"failed {times}x: {error}"
        if self.taking.interrupted:
            yield "interrupted: these are the answers that came before"
        yield f"lossless: {self._words()}"

    def _line(self, name: str, compared: Sequence[Compared]) -> str:
        same = sum(c.difference is None for c in compared)
        by = ", ".join(dict.fromkeys(c.by for c in compared)) or "nothing"
        return f"  {name:<20} identical {same} of {len(compared)}   compared by {by}"

    def _words(self) -> str:
        verdict = self.verdict
        if verdict == "unknown":
            return "unknown, no pair of answers came whole"
        if verdict == "identical":
            return f"yes, identical in {len([c for c in self.compared if not c.control])} answers"
        if verdict == "not equal to itself":
            return (
                "unknown: this server does not repeat its own text without speculation, so a "
                "difference with it proves nothing"
            )
        found = [c.difference for c in self.compared if c.difference and not c.control]
        margins = [d.margin for d in found if d.margin is not None]
        if not margins:
            return "NO (this server tells no logprobs, so the margin is unknown)"
        if max(margins) < _TIE:
            return (
                f"NO, but only where two tokens were all but tied (margin up to "
                f"{max(margins):.3f}): rounding differs between one row and several"
            )
        return f"NO, also where the margin was {max(margins):.2f}: more than rounding"


async def run_lossless(
    options: LosslessOptions, progress: Progress | None = None
) -> LosslessResult:
    """Compare.

    Raises:
        ServerError: a server does not answer.
        ParameterError: the server cannot switch speculation, and there is no second one.
    """
    async with Session(progress) as session:
        modes: tuple[Mode | None, ...] = options.modes or (None,)
        built = [await two_arms(session, options.target, options.against, mode) for mode in modes]
        base = built[0][0]
        arms = tuple(spec for _, spec in built)
        names = [arm.name for arm in arms]
        if len(set(names)) < len(names):
            raise ParameterError(f"a mode is given twice: {', '.join(names)}")
        await session.warm_up([base, *arms])
        taking = await session.take(_asks(base, arms, options), "comparing")
        compared = _compare(taking, base)
        if not taking.interrupted:
            compared = await _with_margins(session, base, compared, options)
        return LosslessResult(base, arms, tuple(compared), taking, options)


def _asks(base: Arm, arms: Sequence[Arm], options: LosslessOptions) -> list[Ask]:
    """Each prompt without drafts, again as a control, then with; no salt in the text."""
    asks: list[Ask] = []
    for workload in _workloads(options):
        for repeat in range(options.controls + 1):
            asks.append(_ask(base, workload, repeat, options.request))
        asks += (_ask(arm, workload, 0, options.request) for arm in arms)
    return asks


def _ask(arm: Arm, workload: Workload, repeat: int, request: RequestOptions) -> Ask:
    # A salt in the prompt's text would change the text; such servers may use their cache.
    hidden = arm.server.kind in ("headlong", "llama.cpp", "vllm")
    return Ask(arm, workload, repeat, new_salt() if hidden else "", request)


def _workloads(options: LosslessOptions) -> tuple[Workload, ...]:
    prompts = nine_prompts(options.tokens, temperature=options.temperature, seed=options.seed)
    return prompts[: options.prompts]


def _compare(taking: Taking, base: Arm) -> list[Compared]:
    first: dict[str, Taken] = {
        one.ask.workload.name: one for one in taking.of(base) if one.ask.repeat == 0
    }
    compared = []
    for one in taking.taken:
        name = one.ask.workload.name
        control = one.ask.arm.name == base.name
        if not one.record.ok or name not in first or one is first[name]:
            continue
        expected = first[name].record
        by: Literal["token ids", "text"] = (
            "token ids" if expected.token_ids and one.record.token_ids else "text"
        )
        difference = first_difference(expected, one.record)
        compared.append(Compared(name, one.ask.arm.name, control, by, difference))
    return compared


def first_difference(expected: RequestRecord, found: RequestRecord) -> Difference | None:
    """Where two answers part: by token ids when both have them, else by text; None: nowhere.

    Reasoning is compared like the rest.
    """
    texts = expected.full_text, found.full_text
    character = _parting(*texts)
    token = None
    if expected.token_ids is not None and found.token_ids is not None:
        token = _parting(expected.token_ids, found.token_ids)
        same = token == len(expected.token_ids) == len(found.token_ids)
    else:
        same = character == len(texts[0]) == len(texts[1])
    if same:
        return None
    before = texts[0][max(0, character - _AROUND) : character]
    rest = [text[character : character + _AROUND] for text in texts]
    return Difference(token, character, before, rest[0], rest[1])


def _parting(a: Sequence[object], b: Sequence[object]) -> int:
    """Length of what both begin with."""
    for place, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return place
    return min(len(a), len(b))


async def _with_margins(
    session: Session, base: Arm, compared: list[Compared], options: LosslessOptions
) -> list[Compared]:
    """Ask once more with logprobs where something differed."""
    differing = {c.workload for c in compared if c.difference}
    if not differing:
        return compared
    request = replace(options.request, logprobs=_ALTERNATIVES)
    workloads = [w for w in _workloads(options) if w.name in differing]
    asks = [_ask(base, workload, 0, request) for workload in workloads]
    taking = await session.take(asks, "reading the margins")
    scored = {one.ask.workload.name: one.record for one in taking.of(base)}
    return [
        replace(c, difference=_with_margin(c.difference, scored[c.workload]))
        if c.difference and c.workload in scored
        else c
        for c in compared
    ]


def _with_margin(difference: Difference, scored: RequestRecord) -> Difference:
    """The margin at the difference, if this answer takes the same way up to there."""
    logprobs = [one for event in scored.events for one in event.logprobs]
    token = difference.token
    if token is None:
        token = _token_at(logprobs, difference.character)
    same = scored.full_text[: difference.character].endswith(difference.before)
    if token is None or token >= len(logprobs) or not same:
        return difference
    return replace(difference, token=token, margin=logprobs[token].margin)


def _token_at(logprobs: Sequence[TokenLogprob], character: int) -> int | None:
    """Index of the token in which a character of the text lies."""
    length = 0
    for place, one in enumerate(logprobs):
        length += len(one.token)
        if length > character:
            return place
    return None


def _difference_lines(one: Compared) -> Iterator[str]:
    difference = one.difference
    assert difference is not None
    place = (
        f"token {difference.token}"
        if difference.token is not None
        else f"character {difference.character}"
    )
    if difference.margin is None:
        margin = ""
    else:
        kind = "all but tied" if difference.tie else "not a tie"
        margin = f", margin {difference.margin:.3f} ({kind})"
    yield f"    {one.workload}: first difference at {place}{margin}"
    yield (
        f"      after {difference.before!r}: {difference.expected or 'the end'!r} without, "
        f"{difference.found or 'the end'!r} here"
    )
