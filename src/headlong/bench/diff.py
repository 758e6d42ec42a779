"""Two records side by side: what changed beyond noise, and whether they may be compared at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headlong.bench.intervals import ratio_estimate
from headlong.bench.record import Arm, Band, Record, Row, Sample
from headlong.bench.summary import RowKey, by_key
from headlong.errors import ParameterError

__all__ = ["Change", "Unlike", "compare_records", "diff_lines", "unlikeness"]


@dataclass(frozen=True, slots=True)
class Unlike:
    """One circumstance in which two records differ.

    Args:
        what: where, e.g. ``processor``.
        first: its value in the first record.
        second: in the second.
        forbids: whether a comparison then says little about what was to be compared.
    """

    what: str
    first: str
    second: str
    forbids: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.first} against {self.second}"


@dataclass(frozen=True, slots=True)
class Change:
    """One row of both records.

    Args:
        first: of the first record.
        second: of the second.
        ratio: second by first of decode tok/s, paired by repeat and stream; None without pairs.
    """

    first: Row
    second: Row
    ratio: Band | None

    @property
    def verdict(self) -> str:
        """In one word, as far as the interval allows."""
        if self.ratio is None or self.ratio.low is None or self.ratio.high is None:
            return "unknown"
        if self.ratio.low > 1:
            return "faster"
        return "slower" if self.ratio.high < 1 else "same"


def unlikeness(first: Record, second: Record) -> tuple[Unlike, ...]:
    """Everything in which the circumstances differ; what forbids a comparison comes first."""
    found = [*_machine(first, second), *_prompts(first, second), *_arms(first, second)]
    return tuple(sorted(found, key=lambda one: not one.forbids))


def compare_records(first: Record, second: Record, *, force: bool = False) -> tuple[Change, ...]:
    """The rows that both have.

    Raises:
        ParameterError: they are of unlike circumstances and `force` is not set, or no row is in
            both.
    """
    forbidden = [one for one in unlikeness(first, second) if one.forbids]
    if forbidden and not force:
        listed = "; ".join(map(str, forbidden))
        raise ParameterError(f"the records are of unlike runs ({listed}); --force compares anyway")
    before, after = by_key(first.rows), by_key(second.rows)
    names = _matching(first, second)
    changes = []
    for key, row in before.items():
        name = names.get(key.arm)
        other = after.get(key._replace(arm=name)) if name is not None else None
        if other is not None:
            changes.append(Change(row, other, _ratio(first, second, row, other)))
    if not changes:
        raise ParameterError(
            "the records have no row in common: arms "
            f"{', '.join(arm.name for arm in first.arms)} and "
            f"{', '.join(arm.name for arm in second.arms)}"
        )
    return tuple(changes)


def diff_lines(first: Record, second: Record, *, force: bool = False) -> Iterator[str]:
    """A Markdown table of both, and below it in what the circumstances differ.

    Raises:
        ParameterError: as `compare_records`.
    """
    changes = compare_records(first, second, force=force)
    yield "| arm | workload | streams | cache | first tok/s | second tok/s | ratio [95 %] | |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in changes:
        row = one.first
        name = row.arm if row.arm == one.second.arm else f"{row.arm} / {one.second.arm}"
        yield (
            f"| {name} | {row.workload} | {row.concurrency} | {row.cache} | {_rate(row.decode)} | "
            f"{_rate(one.second.decode)} | {_ratio_text(one.ratio)} | {one.verdict} |"
        )
    differing = unlikeness(first, second)
    if differing:
        yield ""
        yield "They differ in:"
        for unlike in differing:
            yield f"- {unlike}" + (" (compared by force)" if unlike.forbids else "")


def _machine(first: Record, second: Record) -> Iterator[Unlike]:
    a, b = first.host, second.host
    yield from _if_unlike("processor", a.processor, b.processor, forbids=True)
    yield from _if_unlike("cores", a.cores, b.cores, forbids=True)
    cards = [", ".join(gpu.name for gpu in host.gpus) or "none" for host in (a, b)]
    yield from _if_unlike("cards", *cards, forbids=True)
    caps = [", ".join(f"{gpu.power_cap:g} W" for gpu in h.gpus if gpu.power_cap) for h in (a, b)]
    yield from _if_unlike("power cap", *(cap or "unknown" for cap in caps), forbids=True)
    drivers = [", ".join(sorted({str(gpu.driver) for gpu in host.gpus})) for host in (a, b)]
    yield from _if_unlike("driver", *drivers, forbids=False)
    yield from _if_unlike("governor", a.governor, b.governor, forbids=False)
    yield from _if_unlike("harness", first.run.headlong, second.run.headlong, forbids=False)
    yield from _if_unlike("order of arms", first.run.order, second.run.order, forbids=False)


def _prompts(first: Record, second: Record) -> Iterator[Unlike]:
    later = {prompt.name: prompt for prompt in second.prompts}
    for one in first.prompts:
        other = later.get(one.name)
        if other is None:
            continue
        label = f"workload {one.name}"
        hashes = (one.sha256[:12], other.sha256[:12])
        yield from _if_unlike(f"{label}, prompt", *hashes, forbids=True)
        for what in ("max_tokens", "exact_length", "temperature", "seed"):
            values = getattr(one, what), getattr(other, what)
            yield from _if_unlike(f"{label}, {what}", *values, forbids=True)


def _arms(first: Record, second: Record) -> Iterator[Unlike]:
    for name, counterpart in _matching(first, second).items():
        one, other = first.arm(name), second.arm(counterpart)
        files = _file_name(one), _file_name(other)
        if one.file and other.file and one.file.fingerprint != other.file.fingerprint:
            files = (
                f"{files[0]} ({one.file.fingerprint[:8]})",
                f"{files[1]} ({other.file.fingerprint[:8]})",
            )
        yield from _if_unlike(f"{name}, model", *files, forbids=True)
        yield from _if_unlike(f"{name}, server", one.kind, other.kind, forbids=False)
        yield from _if_unlike(f"{name}, build", one.version, other.version, forbids=False)
        yield from _if_unlike(
            f"{name}, flags", _flags(one.command), _flags(other.command), forbids=False
        )


def _matching(first: Record, second: Record) -> dict[str, str]:
    """Arms by name; where each record is of one server, by mode."""
    known = {arm.name for arm in second.arms}
    names = {arm.name: arm.name for arm in first.arms if arm.name in known}
    single = all(len({arm.server for arm in one.arms}) == 1 for one in (first, second))
    if names or not single:
        return names
    modes = {arm.mode: arm.name for arm in second.arms}
    return {arm.name: modes[arm.mode] for arm in first.arms if arm.mode in modes}


def _file_name(arm: Arm) -> str:
    return arm.file.file if arm.file else arm.model


def _flags(command: str | None) -> str:
    """A command without its program and port, which differ from run to run."""
    words = (command or "").split()[1:]
    return " ".join(w for i, w in enumerate(words) if "--port" not in (w, words[i - 1]))


def _if_unlike(what: str, first: object, second: object, *, forbids: bool) -> Iterator[Unlike]:
    if first != second:
        yield Unlike(what, str(first), str(second), forbids)


def _ratio(first: Record, second: Record, row: Row, other: Row) -> Band | None:
    before = {(one.repeat, one.stream): one for one in _samples(first, row)}
    pairs = []
    for one in _samples(second, other):
        earlier = before.get((one.repeat, one.stream))
        if earlier is not None and earlier.decode_rate and one.decode_rate:
            pairs.append((earlier.decode_rate, one.decode_rate))
    if not pairs:
        return None
    found = ratio_estimate(*zip(*pairs, strict=True))
    return Band(value=found.value, low=found.low, high=found.high)


def _samples(record: Record, row: Row) -> Iterator[Sample]:
    key = RowKey(row.arm, row.workload, row.concurrency, row.cache)
    for one in record.samples:
        same = RowKey(one.arm, one.workload, one.concurrency, one.cache) == key
        if same and one.problem is None:
            yield one


def _rate(band: Band | None) -> str:
    return "-" if band is None else f"{band.value:.1f}"


def _ratio_text(band: Band | None) -> str:
    if band is None:
        return "-"
    if band.low is None or band.high is None:
        return f"{band.value:.2f}"
    return f"{band.value:.2f} [{band.low:.2f}–{band.high:.2f}]"
