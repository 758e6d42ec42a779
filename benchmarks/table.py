"""A comparison as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.record import HEADLONG, ArmResult, Difference, Report

from headlong.tools.samples import Samples

LARGEST_CACHE = 512 << 20
"""Bytes of a step above which weights come from memory, so that its bandwidth is the limit."""


def markdown(report: Report) -> str:
    """Everything of one report: circumstances, one row for every arm, conclusions."""
    return "\n".join([*_head(report), "", *_rows(report), "", *_conclusions(report)])


def version(report: Report, engine: str) -> str:
    """What an engine says it is, or how it was started."""
    first = report.of(engine)[0]
    return first.version or first.flags


def made_up(report: Report) -> str:
    """What must be said of a file whose weights are made up; empty otherwise."""
    if report.file.accept is None:
        return ""
    return (
        "made-up weights: acceptance was chosen, not learned "
        f"({100 * report.file.accept:.0f} % of drafts right)"
    )


def _head(report: Report) -> Iterator[str]:
    file, machine, settings = report.file, report.machine, report.settings
    types = ", ".join(f"{one.type} x {one.tensors}" for one in file.types)
    yield f"{file.name}: {file.bytes / 1e9:.2f} GB, {types}"
    if file.synthetic:
        yield f"**{made_up(report)}**"
    yield (
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{int(machine['memory']) / 2**30:.0f} GiB, {machine['isa']}, {settings.threads} threads; "
        f"reads {_spread(Samples(report.bandwidth))} GB/s"
    )
    yield (
        f"{settings.tokens} tokens, greedy, prompts: {', '.join(settings.prompts)}; "
        f"{settings.repeats} turns each; median (95 % interval); {report.when}"
    )
    for engine in report.engines():
        yield f"{engine}: {version(report, engine)}"


def _rows(report: Report) -> Iterator[str]:
    yield (
        f"| engine | mode | tok/s | x own plain | accepted | prompt of {report.settings.prefill}, "
        "tok/s | same tokens as own plain | as headlong |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for engine in report.engines():
        plain = report.plain(engine)
        for arm in report.of(engine):
            gain = f"{arm.rates.median / plain.rates.median:.2f}" if plain else "-"
            accepted = f"{100 * arm.accepted / arm.drafted:.0f} %" if arm.drafted else "-"
            cells = (
                arm.engine, arm.mode, _spread(arm.rates), gain, accepted,
                _spread(arm.prefill_rates), _own(arm, plain), _difference(arm.reference),
            )  # fmt: skip
            yield f"| {' | '.join(cells)} |"


def _own(arm: ArmResult, plain: ArmResult | None) -> str:
    if not arm.repeatable:
        return "NO: its own repetitions differ"
    return "-" if plain is None else _difference(arm.own)


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return "yes"
    return f"no: {difference.prompt}, from {difference.unit} {difference.index} on"


def _conclusions(report: Report) -> Iterator[str]:
    ours = report.best(HEADLONG)
    share = report.share()
    if share is not None and report.file.step_bytes > LARGEST_CACHE:
        yield f"- plain decoding takes {100 * share:.0f} % of the bandwidth of reads"
    plain = report.plain(HEADLONG)
    for engine in report.engines():
        if engine == HEADLONG:
            continue
        best = report.best(engine)
        line = (
            f"- best against best of {engine} ({best.mode}): "
            f"{ours.rates.median / best.rates.median:.2f} x"
        )
        theirs = report.plain(engine)
        if plain is not None and theirs is not None:
            line += (
                f"; plain {plain.rates.median / theirs.rates.median:.2f} x; prompt "
                f"{plain.prefill_rates.median / theirs.prefill_rates.median:.2f} x"
            )
        yield line
    disturbed = sum(arm.disturbed for arm in report.arms)
    if disturbed:
        turns = report.settings.repeats * len(report.arms)
        yield f"- {disturbed} of {turns} turns were disturbed by other work on the machine"


def _spread(samples: Samples) -> str:
    low, high = samples.interval()
    return f"{samples.median:.1f} ({low:.1f} to {high:.1f})"
