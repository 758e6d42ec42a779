"""Asks arms their questions in order, shows how far it is, and keeps what there is on Ctrl-C."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Final, Self

import httpx

from headlong.bench.client import Endpoint, RequestOptions, connect, open_http, run_request
from headlong.bench.discovery import base_url
from headlong.bench.events import RequestRecord
from headlong.bench.metrics import Metrics, measure
from headlong.bench.modes import AS_SERVED, AUTO, PLAIN, Mode
from headlong.bench.workloads import Message, Workload
from headlong.errors import ParameterError, ServerError
from headlong.progress import Progress, Silent

__all__ = [
    "Arm",
    "Ask",
    "Session",
    "Taken",
    "Taking",
    "Target",
    "errors_by_text",
    "in_turns",
    "new_salt",
    "plain_arm",
    "two_arms",
]

_WARM_UP_TOKENS: Final = 16
_GIVE_UP_AFTER: Final = 3  # failures in a row


@dataclass(frozen=True, slots=True)
class Target:
    """A server as a user names it.

    Args:
        url: its address.
        model: id of the model; the server's first by default.
        api_key: sent as a bearer token.
    """

    url: str
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Arm:
    """One server in one mode: one side of a comparison.

    Args:
        peer: what is compared with its own plain mode; two servers that differ only in how they
            were started are one.  Empty: the server's address.
    """

    name: str
    server: Endpoint
    mode: Mode
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to one arm.

    Args:
        repeat: counts from 0; the same workload and repeat of two arms are a pair.
        salt: the same for both of a pair.
        options: how the request is sent.
    """

    arm: Arm
    workload: Workload
    repeat: int = 0
    salt: str = ""
    options: RequestOptions = field(default_factory=RequestOptions)


@dataclass(frozen=True, slots=True)
class Taken:
    """A question and what it brought."""

    ask: Ask
    record: RequestRecord
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Taking:
    """What was taken, in the order of measuring; ``interrupted``: Ctrl-C came before the end."""

    taken: tuple[Taken, ...]
    interrupted: bool = False

    def of(self, arm: Arm, workload: str | None = None) -> list[Taken]:
        """Whole answers of an arm, to one workload or all."""
        return [
            one
            for one in self.taken
            if one.ask.arm.name == arm.name
            and one.record.ok
            and workload in (None, one.ask.workload.name)
        ]

    def pairs(
        self, base: Arm, other: Arm, workload: str | None = None
    ) -> list[tuple[Taken, Taken]]:
        """Whole answers of two arms to the same question."""
        known = {(t.ask.workload.name, t.ask.repeat): t for t in self.of(base, workload)}
        found = (
            (known.get((t.ask.workload.name, t.ask.repeat)), t) for t in self.of(other, workload)
        )
        return [(a, b) for a, b in found if a is not None]

    @property
    def failures(self) -> list[Taken]:
        """Answers that broke off or were refused."""
        return [one for one in self.taken if not one.record.ok]


class Session:
    """Connections to the servers of a run."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress or Silent()
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def connect(self, target: Target) -> Endpoint:
        """Find out what answers there.  Raises as `headlong.bench.discovery.connect`."""
        url = base_url(target.url)
        if url not in self._clients:
            self._clients[url] = await self._stack.enter_async_context(open_http(url))
        return await connect(self._clients[url], url, model=target.model, api_key=target.api_key)

    async def warm_up(self, arms: Iterable[Arm], times: int = 1) -> None:
        """Short answers that are not kept.

        Raises:
            ServerError: an arm does not answer.
        """
        question = Workload("warm-up", (Message("user", "Count to twenty."),), _WARM_UP_TOKENS)
        for arm in arms:
            for _ in range(times):
                record = await self._ask(Ask(arm, question, salt=new_salt()))
                if not record.ok:
                    raise ServerError(f"{arm.server.url} does not answer: {record.error}")

    async def take(self, asks: Sequence[Ask], what: str = "measuring") -> Taking:
        """Ask one after another.

        Cancellation (Ctrl-C) ends it early, and what was taken is returned.  After three failures
        in a row the rest is left out.

        Raises:
            ServerError: not a single whole answer came.
        """
        taken: list[Taken] = []
        interrupted, failed = False, 0
        with self._progress.stage(what, len(asks), "answers") as stage:
            for ask in asks:
                try:
                    record = await self._ask(ask)
                except asyncio.CancelledError:
                    interrupted = True
                    if (task := asyncio.current_task()) is not None:
                        task.uncancel()
                    break
                taken.append(Taken(ask, record, measure(record)))
                stage.advance(1)
                failed = 0 if record.ok else failed + 1
                if failed == _GIVE_UP_AFTER:
                    break
        if taken and not any(one.record.ok for one in taken):
            raise ServerError(
                f"{taken[0].record.server}: no answer came whole: {_first_error(taken)}"
            )
        return Taking(tuple(taken), interrupted)

    async def _ask(self, ask: Ask) -> RequestRecord:
        server = ask.arm.server
        return await run_request(
            self._clients[server.url],
            server,
            ask.workload,
            ask.arm.mode,
            salt=ask.salt,
            options=ask.options,
        )


def new_salt() -> str:
    """What no other request of this or an earlier run has; always of the same length."""
    return secrets.token_hex(4)


def in_turns(
    arms: Sequence[Arm],
    workloads: Sequence[Workload],
    repeats: int,
    options: RequestOptions | None = None,
) -> list[Ask]:
    """Every workload by every arm, ``repeats`` times, so that a drift lies on all arms alike.

    Two arms go A B B A; more begin one further each time, and every other time backwards.
    """
    asks: list[Ask] = []
    turn = 0
    for repeat in range(repeats):
        for workload in workloads:
            salt = new_salt()
            first = turn // 2 % len(arms) if len(arms) > 2 else 0
            order = [*arms[first:], *arms[:first]]
            if turn % 2:
                order.reverse()
            turn += 1
            asks += (Ask(a, workload, repeat, salt, options or RequestOptions()) for a in order)
    return asks


async def two_arms(
    session: Session, target: Target, against: Target | None, mode: Mode | None
) -> tuple[Arm, Arm]:
    """The arm without drafts and the arm with them.

    One server that can switch by request is both.  Otherwise ``against`` is a second server that
    was started without speculation.

    Raises:
        ParameterError: the server cannot switch, and there is no second one.
    """
    server = await session.connect(target)
    if against is not None:
        other = await session.connect(against)
        spec = mode or (AUTO if server.switches else AS_SERVED)
        name = spec.name if spec.name != PLAIN.name else f"{spec.name} (2)"
        return plain_arm(other, peer=server.url), Arm(name, server, spec)
    if not server.switches:
        raise ParameterError(
            f"{server.url} ({server.kind}) cannot switch speculation by a request: start it a "
            f"second time without speculation and give that address with --against"
        )
    return Arm("plain", server, PLAIN), Arm((mode or AUTO).name, server, mode or AUTO)


def plain_arm(server: Endpoint, peer: str = "") -> Arm:
    """A server without drafts: by request, or as it was started."""
    mode = PLAIN if server.switches else replace(AS_SERVED, name=PLAIN.name, draft=0)
    return Arm(PLAIN.name, server, mode, peer)


def errors_by_text(failures: Iterable[Taken]) -> Mapping[str, int]:
    """How often each error came."""
    counts: dict[str, int] = {}
    for one in failures:
        text = f"{one.ask.arm.name}: {one.record.error}"
        counts[text] = counts.get(text, 0) + 1
    return counts


def _first_error(taken: Sequence[Taken]) -> str:
    return next((one.record.error for one in taken if one.record.error), "")
