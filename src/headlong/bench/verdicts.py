"""What the rows of a record say, in sentences that are computed, so that none contradicts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from headlong.bench.intervals import geometric_mean
from headlong.bench.record import Arm, Row

__all__ = ["diagnosis", "verdicts"]

_GOOD_L: Final = 0.6
"""Share of the longest possible step (draft + 1 tokens) above which drafts are good."""
_CHEAP: Final = 0.15
"""Cost above one plain step that each drafted token may add: a pass over few rows, plus a draft."""


def verdicts(arms: Sequence[Arm], rows: Sequence[Row]) -> tuple[str, ...]:
    """On each server's best mode, on the servers among themselves, on what was disturbed."""
    found = [*_gains(arms, rows), *_servers(arms, rows)]
    disturbed = [row for row in rows if row.flags]
    if disturbed:
        found.append(
            f"{len(disturbed)} of {len(rows)} rows are flagged: "
            f"{disturbed[0].arm}, {disturbed[0].workload}: {disturbed[0].flags[0]}"
            + ("" if len(disturbed) == 1 else ", …")
        )
    return tuple(found)


def diagnosis(draft: int | None, tokens_per_step: float, cost: float) -> str:
    """Which of draft and step holds a mode back.

    Args:
        draft: longest draft; None where the server chooses.
        tokens_per_step: L.
        cost: C, a step in plain steps.
    """
    rows = (draft or round(tokens_per_step)) + 1
    good = tokens_per_step >= 1 + _GOOD_L * (rows - 1) if draft else tokens_per_step > 1.5
    cheap = cost <= 1 + _CHEAP * (rows - 1)
    told = f"L {tokens_per_step:.2f}, C {cost:.2f}"
    if good and cheap:
        return f"good drafts and cheap steps ({told})"
    if good:
        return f"drafts are good, steps dear: the engine holds it back ({told})"
    if cheap:
        return f"steps are cheap, drafts poor: the model or the text holds it back ({told})"
    return f"drafts are poor and steps dear ({told})"


def _gains(arms: Sequence[Arm], rows: Sequence[Row]) -> Iterator[str]:
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
        sentence = f"{server}: {arm.mode} is the best mode, {gain:.2f} x plain over {_count(own)}"
        if gain <= 1:
            sentence = f"{server}: no mode beats plain decoding ({arm.mode}: {gain:.2f} x)"
        elif not sure:
            sentence += ", not beyond noise on every one"
        lengths = [row.tokens_per_step for row in own if row.tokens_per_step]
        costs = [row.step_cost for row in own if row.step_cost]
        if lengths and costs:
            means = geometric_mean(lengths), geometric_mean(costs)
            sentence += f"; {diagnosis(arm.draft, *means)}"
        yield sentence


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
                f"{fastest} decodes {means[fastest] / means[name]:.2f} x as fast as {name}, each "
                f"in its best mode, over {len(common)} {'case' if len(common) == 1 else 'cases'}"
            )


def _count(rows: Sequence[Row]) -> str:
    return f"{len(rows)} workload" + ("" if len(rows) == 1 else "s")
