"""The matrix of `headlong bench speed`: which servers, modes and workloads, in which order.

A plan is a YAML file; here it is checked and made into sessions of turns.  Nothing is asked and
nothing started here, so the order can be tested.

Servers that run at the same time take turns A B B A, request by request.  Those that are started
with flags of their own, and would not fit into memory side by side, are started one after another
and in the reverse order once more, each time for half of the repeats: a drift of the machine
(heat, a neighbour) then lies on all of them alike.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from headlong.bench.modes import AS_SERVED, Mode, parse_mode
from headlong.bench.record import Cache
from headlong.bench.servers import READY_SECONDS, STOP_SECONDS, ServerSpec
from headlong.bench.workloads import Workload
from headlong.bench.yaml_files import parse_yaml
from headlong.errors import ParameterError

__all__ = ["ArmSpec", "Case", "Instance", "Plan", "Session", "Turn", "load_plan"]

_MOST_STREAMS: Final = 256


@dataclass(frozen=True, slots=True)
class Instance:
    """A server as it is started: the same one for all modes that requests switch."""

    server: ServerSpec
    flags: tuple[str, ...]
    api_key_variable: str | None = None
    served_model: str | None = None

    @property
    def started(self) -> bool:
        """Whether the run starts it."""
        return bool(self.server.command)


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One server in one mode."""

    name: str
    instance: Instance
    mode: Mode


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked: a workload by so many streams at once, found in the prefix cache or not."""

    workload: Workload
    concurrency: int
    cache: Cache


@dataclass(frozen=True, slots=True)
class Turn:
    """One round of one arm: all streams of a case at once."""

    arm: ArmSpec
    case: Case
    repeat: int
    warmup: bool

    @property
    def key(self) -> str:
        """Names the turn in a journal; warm-ups are not kept."""
        case = self.case
        fields = (self.arm.name, case.workload.name, case.concurrency, case.cache, self.repeat)
        return json.dumps(fields, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Session:
    """Servers that are up at the same time, and what they are asked in this order."""

    instances: tuple[Instance, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole matrix.

    Args:
        digest: changes with anything that would make samples unlike.
    """

    name: str
    arms: tuple[ArmSpec, ...]
    cases: tuple[Case, ...]
    warmups: int
    repeats: int
    together: bool
    seed: int
    digest: str

    @property
    def order(self) -> str:
        """How the arms are interleaved, in words."""
        groups = len(self._groups())
        if groups == 1:
            return "A B B A by request" if len(self.arms) > 1 else "one arm"
        return f"{groups} servers one after another, then in reverse; A B B A by request within"

    def sessions(self, done: frozenset[str] = frozenset()) -> Iterator[Session]:
        """The sessions in order, without turns whose keys are in `done`.

        A session in which nothing is left is left out, and so are warm-ups of cases without turns.
        """
        for group, repeats in self._passes():
            arms = tuple(arm for arm in self.arms if arm.instance in group)
            turns = []
            for case in self.cases:
                measured = [
                    turn
                    for number, repeat in enumerate(repeats)
                    for turn in _round(arms, case, repeat, backwards=number % 2 == 1)
                    if turn.key not in done
                ]
                if measured:
                    # A warm row needs the prompt in the cache before it is measured.
                    count = max(self.warmups, 1) if case.cache == "warm" else self.warmups
                    waiting = tuple(a for a in arms if any(t.arm is a for t in measured))
                    for number in range(count):
                        turns += _round(waiting, case, number, backwards=False, warmup=True)
                    turns += measured
            if turns:
                used = {turn.arm.instance for turn in turns}
                yield Session(tuple(one for one in group if one in used), tuple(turns))

    def _passes(self) -> list[tuple[tuple[Instance, ...], range]]:
        groups = self._groups()
        half = (self.repeats + 1) // 2
        if len(groups) == 1 or half == self.repeats:
            return [(group, range(self.repeats)) for group in groups]
        last = (groups[-1], range(self.repeats))  # both its halves meet at the turning point
        there = [(group, range(half)) for group in groups[:-1]]
        back = [(group, range(half, self.repeats)) for group in reversed(groups[:-1])]
        return [*there, last, *back]

    def _groups(self) -> list[tuple[Instance, ...]]:
        """Instances that are up at the same time."""
        instances = list(dict.fromkeys(arm.instance for arm in self.arms))
        if self.together:
            return [tuple(instances)]
        standing = tuple(one for one in instances if not one.started)
        return [*([standing] if standing else []), *((one,) for one in instances if one.started)]


def _round(
    arms: Sequence[ArmSpec], case: Case, repeat: int, *, backwards: bool, warmup: bool = False
) -> list[Turn]:
    turns = [Turn(arm, case, repeat, warmup) for arm in arms]
    return turns[::-1] if backwards else turns


# --- The file


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)


class _ModeEntry(_Strict):
    flags: str = ""
    body: dict[str, Any] = Field(default_factory=dict)
    draft: Annotated[int, Field(ge=0, le=64)] | None = None


class _ServerEntry(_Strict):
    name: Annotated[str, Field(min_length=1)]
    url: str | None = None
    command: str | list[str] | None = None
    model: str | None = None
    served_model: str | None = None
    api_key_variable: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    ready_path: Annotated[str, Field(pattern="^/")] | None = None
    ready_seconds: Annotated[float, Field(gt=0, le=86400)] = READY_SECONDS
    stop_seconds: Annotated[float, Field(ge=0, le=3600)] = STOP_SECONDS
    port_pattern: str | None = None
    modes: list[str] | dict[str, str | _ModeEntry] = Field(default_factory=lambda: ["as served"])


class _PlanFile(_Strict):
    name: str = ""
    servers: Annotated[list[_ServerEntry], Field(min_length=1)]
    workloads: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: ["chat"])
    concurrency: Annotated[
        list[Annotated[int, Field(ge=1, le=_MOST_STREAMS)]], Field(min_length=1)
    ] = Field(default_factory=lambda: [1])
    cache: Annotated[list[Literal["cold", "warm"]], Field(min_length=1)] = Field(default=["cold"])
    tokens: Annotated[int, Field(ge=2, le=1 << 20)] | None = None
    warmups: Annotated[int, Field(ge=0, le=100)] = 2
    repeats: Annotated[int, Field(ge=1, le=1000)] = 5
    together: bool = False
    seed: int = 42

    @field_validator("workloads", "concurrency", "cache", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str | int) else value


def load_plan(path: Path, known: Mapping[str, Workload]) -> Plan:
    """Read and check a plan.

    Args:
        path: a YAML file; paths of models in it are relative to its folder.
        known: workloads by the names that a plan may use.

    Raises:
        ParameterError: it is no sound plan; the message names the place.
        OSError: it cannot be read.
    """
    fields = parse_yaml(path)
    try:
        file = _PlanFile.model_validate(fields if fields is not None else {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ParameterError(f"{path}: {where or 'the plan'}: {first['msg']}") from None
    try:
        return _plan(file, path, known)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None


def _plan(file: _PlanFile, path: Path, known: Mapping[str, Workload]) -> Plan:
    workloads = []
    for name in dict.fromkeys(file.workloads):
        if name not in known:
            raise ParameterError(f"no workload {name!r}; there are: {', '.join(known)}")
        one = replace(known[name], exact_length=True, seed=file.seed)
        workloads.append(one if file.tokens is None else replace(one, max_tokens=file.tokens))
    arms = tuple(arm for entry in file.servers for arm in _arms(entry, path.parent))
    _only_once("server", [entry.name for entry in file.servers])
    _only_once("arm", [arm.name for arm in arms])
    cases = tuple(
        Case(workload, streams, cache)
        for workload in workloads
        for streams in dict.fromkeys(file.concurrency)
        for cache in dict.fromkeys(file.cache)
    )
    fields = file.model_dump(mode="json")
    fields["workloads"] = [[one.name, one.sha256, one.max_tokens] for one in workloads]
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return Plan(
        name=file.name or path.stem,
        arms=arms,
        cases=cases,
        warmups=file.warmups,
        repeats=file.repeats,
        together=file.together,
        seed=file.seed,
        digest=digest,
    )


def _arms(entry: _ServerEntry, folder: Path) -> Iterator[ArmSpec]:
    command = entry.command or ()
    words = tuple(shlex.split(command) if isinstance(command, str) else command)
    model = entry.model
    if model is not None:
        found = folder / Path(model).expanduser()
        # A name that is no file may be one of the hub, which only the command knows.
        model = str(found) if found.is_file() else model
    spec = ServerSpec(
        name=entry.name,
        url=entry.url,
        command=words,
        model=model,
        ready_path=entry.ready_path,
        ready_seconds=entry.ready_seconds,
        stop_seconds=entry.stop_seconds,
        port_pattern=entry.port_pattern,
        environment=tuple(sorted(entry.environment.items())),
    )
    if not entry.modes:
        raise ParameterError(f"server {entry.name}: no modes; leave them out, or name one")
    modes = entry.modes if isinstance(entry.modes, dict) else dict.fromkeys(entry.modes)
    for name, given in modes.items():
        if given is None:
            mode, flags = parse_mode(name), ""
        else:
            mode, flags = _own_mode(name, given)
        if flags and not words:
            raise ParameterError(
                f"server {entry.name}: mode {name} has flags, but the server is not started here"
            )
        instance = Instance(
            spec, tuple(shlex.split(flags)), entry.api_key_variable, entry.served_model
        )
        label = entry.name if mode == AS_SERVED else f"{entry.name} {mode.name}"
        yield ArmSpec(label, instance, mode)


def _own_mode(name: str, given: str | _ModeEntry) -> tuple[Mode, str]:
    """A mode that flags or fields make; its draft length is known from a name such as ``n=2``."""
    entry = _ModeEntry(flags=given) if isinstance(given, str) else given
    draft = entry.draft
    if draft is None:
        try:
            draft = parse_mode(name).draft
        except ParameterError:
            draft = None  # a name of the user's own
    return Mode(name, draft, entry.body), entry.flags


def _only_once(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(f"two {what}s are called {name!r}")
