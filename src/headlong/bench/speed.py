"""`headlong bench speed`: a plan's whole matrix, measured round by round.

Each round is kept on disk when it ends; Ctrl-C makes a record of what there is, and the same
command goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from headlong.bench.client import Endpoint, RequestOptions, connect, open_http, run_request
from headlong.bench.dialects import Dialect, dialect_of
from headlong.bench.energy import EnergyMeter, open_meter
from headlong.bench.events import RequestRecord
from headlong.bench.host import describe_host, probe_bandwidth
from headlong.bench.journal import Journal, open_journal
from headlong.bench.plan import ArmSpec, Instance, Plan, Session, Turn
from headlong.bench.provenance import (
    arm_facts,
    host_facts,
    make_record,
    model_file,
    new_id,
    now,
    run_facts,
)
from headlong.bench.record import Arm, ModelFile, Record, Sample, save
from headlong.bench.samples import prompt_of, sample_of
from headlong.bench.servers import RunningServer, is_local, running
from headlong.errors import HeadlongError, ParameterError
from headlong.progress import Progress, Silent, Stage

__all__ = ["run_speed"]

_IDLE_SECONDS = 1.0


async def run_speed(
    plan: Plan,
    out: Path,
    *,
    progress: Progress | None = None,
    fresh: bool = False,
    bandwidth: float | None = None,
) -> Record:
    """Measure everything that is not in the journal yet, and write the record.

    Args:
        plan: the matrix.
        out: the record; journal and logs of servers lie beside it.
        progress: sees one unit per round.
        fresh: forget what an interrupted run left.
        bandwidth: GB/s of the memory that models lie in; by default this machine's is probed.

    Returns:
        the record; its run is not complete if it was interrupted by cancellation.

    Raises:
        ServerError: a server cannot be started or reached.
        ParameterError: the journal is of another plan, or a server cannot do what is asked.
    """
    progress = progress or Silent()
    journal = open_journal(out, plan.digest, new_id(), now(), fresh=fresh)
    with open_meter() as meter:
        # Before any server runs, for both would disturb it and be disturbed.
        host = host_facts(
            describe_host(None if bandwidth is not None else probe_bandwidth()),
            meter,
            meter.idle_watts(_IDLE_SECONDS),
        )
        if bandwidth is not None:
            host = host.model_copy(update={"bandwidth": bandwidth})
        matrix = _Matrix(plan, out, journal, meter, progress)
        complete = False
        try:
            await matrix.measure()
            complete = True
        except asyncio.CancelledError:
            if not matrix.samples:
                raise
        except HeadlongError:
            if matrix.samples:
                progress.note(f"{journal.path} keeps what was measured; the same command goes on")
            raise
        finally:
            journal.close()
    arms = [matrix.arms[arm.name] for arm in plan.arms if arm.name in matrix.arms]
    kept = journal.kept
    run = run_facts(
        "speed",
        run_id=kept.run_id,
        started=kept.started,
        name=plan.name,
        complete=complete,
        seed=plan.seed,
        order=plan.order,
    )
    prompts = [prompt_of(one) for one in dict.fromkeys(case.workload for case in plan.cases)]
    record = make_record(run, host, arms, prompts, matrix.samples)
    save(record, out)
    if complete:
        journal.remove()
    return record


@dataclass(slots=True)
class _Matrix:
    plan: Plan
    out: Path
    journal: Journal
    meter: EnergyMeter
    progress: Progress
    arms: dict[str, Arm] = field(init=False)
    samples: list[Sample] = field(init=False)
    files: dict[str, ModelFile | None] = field(init=False, default_factory=dict)
    turn: int = field(init=False)

    def __post_init__(self) -> None:
        kept = self.journal.kept
        self.arms = dict(kept.arms)
        self.samples = list(kept.samples)
        self.turn = 1 + max((one.turn for one in kept.samples), default=-1)

    async def measure(self) -> None:
        done = self.journal.kept.done
        sessions = list(self.plan.sessions(done))
        if done:
            self.progress.note(f"going on: {len(done)} rounds are in {self.journal.path}")
        for number, session in enumerate(sessions):
            async with self._up(session) as reached:
                name = f"measuring, session {number + 1} of {len(sessions)}"
                with self.progress.stage(name, len(session.turns), "rounds") as stage:
                    await self._turns(session, reached, stage)

    async def _turns(
        self, session: Session, reached: dict[Instance, _Reached], stage: Stage
    ) -> None:
        for turn in session.turns:
            one = reached[turn.arm.instance]
            answers, joules = await self._round(turn, one)
            if not turn.warmup:
                samples = self._samples(turn, answers, joules)
                known = self.arms.get(turn.arm.name)
                if known is None or known.url != one.endpoint.url:
                    self._add_arm(turn.arm, one, dialect_of(answers))
                self.samples += samples
                self.journal.add_round(turn.key, samples)
                self.turn += 1
            stage.advance(1)

    async def _round(self, turn: Turn, one: _Reached) -> tuple[list[RequestRecord], float | None]:
        """All streams of a case at once, and the joules used meanwhile."""
        case, arm = turn.case, turn.arm
        options = RequestOptions(warm=case.cache == "warm")
        local = is_local(one.endpoint.url)
        before = self.meter.joules() if local else None
        answers = await asyncio.gather(
            *(
                run_request(
                    one.http,
                    one.endpoint,
                    case.workload,
                    arm.mode,
                    salt=self._salt(turn, stream),
                    options=options,
                )
                for stream in range(case.concurrency)
            )
        )
        after = self.meter.joules() if local else None
        return answers, None if before is None or after is None else after - before

    def _samples(
        self, turn: Turn, answers: list[RequestRecord], joules: float | None
    ) -> list[Sample]:
        case = turn.case
        return [
            sample_of(
                answer,
                case.workload,
                arm=turn.arm.name,
                concurrency=case.concurrency,
                cache=case.cache,
                repeat=turn.repeat,
                stream=stream,
                turn=self.turn,
                joules=joules,
            )
            for stream, answer in enumerate(answers)
        ]

    def _salt(self, turn: Turn, stream: int) -> str:
        """The same for a pair of arms, unless they share a server, whose cache would then hit."""
        sharing = [one for one in self.plan.arms if one.instance == turn.arm.instance]
        place = next(i for i, one in enumerate(sharing) if one is turn.arm)
        kind = "warmup" if turn.warmup else "measured"
        words = (self.journal.kept.run_id, turn.case.workload.name, turn.case.concurrency,
                 turn.repeat, kind, stream, place)  # fmt: skip
        return hashlib.sha256(repr(words).encode()).hexdigest()[:12]

    def _add_arm(self, spec: ArmSpec, one: _Reached, dialect: Dialect | None) -> None:
        server = spec.instance.server
        if server.name not in self.files:
            self.files[server.name] = model_file(server.model)
        arm = arm_facts(
            spec.name,
            server.name,
            spec.mode,
            one.endpoint,
            command=one.server.command,
            dialect=dialect.line() if dialect else "",
            file=self.files[server.name],
        )
        self.arms[spec.name] = arm
        self.journal.add_arm(arm)

    @asynccontextmanager
    async def _up(self, session: Session) -> AsyncIterator[dict[Instance, _Reached]]:
        """The session's servers, ready; they end with the context."""
        reached: dict[Instance, _Reached] = {}
        async with AsyncExitStack() as stack:
            for number, instance in enumerate(session.instances):
                name = instance.server.name
                log = self.out.with_name(f"{self.out.stem}-{_file_name(name)}-{number}.log")
                server = await stack.enter_async_context(
                    running(instance.server, instance.flags, log=log, progress=self.progress)
                )
                http = await stack.enter_async_context(open_http(server.url))
                key = _api_key(instance)
                endpoint = await connect(http, server.url, model=instance.served_model, api_key=key)
                reached[instance] = _Reached(server, http, endpoint)
            yield reached


@dataclass(frozen=True, slots=True)
class _Reached:
    server: RunningServer
    http: httpx.AsyncClient
    endpoint: Endpoint


def _api_key(instance: Instance) -> str | None:
    variable = instance.api_key_variable
    if variable is None:
        return None
    if variable not in os.environ:
        raise ParameterError(
            f"server {instance.server.name}: the environment has no variable {variable}, which the "
            "plan names for its API key"
        )
    return os.environ[variable]


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in name)
