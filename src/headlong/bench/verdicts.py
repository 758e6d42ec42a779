"""What the rows of a record say, in sentences that are computed, so that none contradicts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headlong.bench.intervals import geometric_mean
from headlong.bench.record import Arm, Row, Sample
from headlong.bench.speedup import diagnosis, speedup_of
from headlong.bench.summary import pairs_of, plain_arm

__all__ = ["verdicts"]


def verdicts(
    arms: Sequence[Arm], rows: Sequence[Row], samples: Sequence[Sample]
) -> tuple[str, ...]:
    """On each server's best mode, on the servers among themselves, on what was disturbed."""
    found = [*_gains(arms, rows, samples), *_servers(arms, rows)]
    disturbed = [row for row in rows if row.flags]
    if disturbed:
        found.append(
            f"{len(disturbed)} of {len(rows)} rows are flagged: "
            f"{disturbed[0].arm}, {disturbed[0].workload}: {disturbed[0].flags[0]}"
            + ("." if len(disturbed) == 1 else ", …")
        )
    return tuple(found)


def _gains(arms: Sequence[Arm], rows: Sequence[Row], samples: Sequence[Sample]) -> Iterator[str]:
    for server in dict.fromkeys(arm.server for arm in arms):
        best: tuple[float, Arm, list[Row]] | None = None
        for arm in arms:
            own = [r for r in rows if r.arm == arm.name and r.speedup and r.concurrency == 1]
            if arm.server != server or not own:
                continue
            gain = geometric_mean([row.speedup.value for row in own if row.speedup])
            if best is None or gain > best[0]:
                best = (gain, arm, own)
        if best is None:
            continue
        gain, arm, own = best
        sure = all(row.speedup and row.speedup.low and row.speedup.low > 1 for row in own)
        sentence = f"{server}: {arm.mode} is the best mode, {gain:.2f}x plain over {_count(own)}"
        if gain <= 1:
            sentence = f"{server}: no mode beats plain decoding ({arm.mode}: {gain:.2f}x)"
        elif not sure:
            sentence += ", not beyond noise on every one"
        why = _why(arm, arms, samples)
        yield f"{sentence}; {why}" if why else f"{sentence}."


def _why(arm: Arm, arms: Sequence[Arm], samples: Sequence[Sample]) -> str | None:
    """What limits an arm over everything that it was asked one at a time."""
    base = plain_arm(arm, arms)
    if base is None:
        return None
    single = [one for one in samples if one.concurrency == 1]
    pairs = pairs_of(
        (one for one in single if one.arm == arm.name),
        (one for one in single if one.arm == base.name),
    )
    found = speedup_of(pairs, arm.draft)
    return None if found is None else diagnosis(found)


def _servers(arms: Sequence[Arm], rows: Sequence[Row]) -> Iterator[str]:
    """Each server's best mode against the slowest server's, on what all of them were asked."""
    names = list(dict.fromkeys(arm.server for arm in arms))
    if len(names) < 2:
        return
    server_of = {arm.name: arm.server for arm in arms}
    best: dict[str, dict[tuple[str, int, str], float]] = {name: {} for name in names}
    for row in rows:
        if row.decode:
            cases = best[server_of[row.arm]]
            case = (row.workload, row.concurrency, row.cache)
            cases[case] = max(cases.get(case, 0.0), row.decode.value)
    common = set.intersection(*(set(cases) for cases in best.values()))
    if not common:
        return
    means = {name: geometric_mean([best[name][case] for case in common]) for name in names}
    fastest = max(means, key=lambda name: means[name])
    for name in names:
        if name != fastest:
            yield (
                f"{fastest} decodes {means[fastest] / means[name]:.2f}x as fast as {name}, each "
                f"in its best mode, over {len(common)} {'case' if len(common) == 1 else 'cases'}."
            )


def _count(rows: Sequence[Row]) -> str:
    return f"{len(rows)} case" + ("" if len(rows) == 1 else "s")
