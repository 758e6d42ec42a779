"""`headlong tune`: what multi-token prediction costs and gains here, and the best draft length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headlong.cli.figures import byte_size, decimals, percent
from headlong.cli.model_file import FILE_HELP, local_file
from headlong.cli.options import flag_named
from headlong.cli.progress_bars import progress_on
from headlong.cli.terminal import printable

if TYPE_CHECKING:
    from headlong.tools.samples import Samples
    from headlong.tools.tune import Decoding, Tuning

__all__ = ["command", "to_json"]

_MAX_DRAFT: Final = 7
_TOKENS: Final = 64
_QUICK_TOKENS: Final = 48

# Above this share of the read bandwidth, weights came from a cache, if they fit into one.
_ALL: Final = 1.05
_LARGEST_CACHE: Final = 512 << 20

# A prediction that misses by more deserves a look: the machine was busy, or something is wrong.
_OFF: Final = 0.15


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=FILE_HELP)],
    max_draft: Annotated[
        int, typer.Option("--max-draft", metavar="N", help="Longest fixed draft, 1 to 15.")
    ] = _MAX_DRAFT,
    tokens: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--tokens",
            metavar="N",
            help="Tokens of each timed answer.",
            show_default=f"{_TOKENS}; with --quick {_QUICK_TOKENS}",
        ),
    ] = None,
    context: Annotated[
        int,
        typer.Option(
            "--context",
            metavar="N",
            help="Tokens before passes and answers, at least; the prompt is repeated to as many.",
        ),
    ] = 0,
    threads: Annotated[
        int | None,
        typer.Option(
            "-t",
            "--threads",
            metavar="N",
            help="Threads that compute.",
            show_default="the processors this process may use",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer repetitions, shorter prompts and answers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure costs and gains of multi-token prediction with a file, and find the best length.

    Times passes over 1 to 8 rows, draft steps, prompts with and without the head, and answers with
    every draft length. Exit code 1 if any answer differs from the one without drafts.
    """
    from headlong.ops.cpu import CpuOps
    from headlong.tools.tune import QUICK, Plan, tune

    base = QUICK if quick else Plan()
    plan = replace(
        base,
        max_draft=max_draft,
        tokens=base.tokens if tokens is None else tokens,
        context=context,
    )
    with flag_named("--threads"):
        ops = CpuOps(threads)
    progress = progress_on()
    result = tune(local_file(file, progress), plan, ops, progress)
    if as_json:
        typer.echo(to_json(result))
    else:
        for line in _lines(result):
            typer.echo(line)
    if not result.identical:
        raise typer.Exit(1)


def to_json(result: Tuning) -> str:
    """Everything measured, under the names of the dataclasses, with medians and conclusions."""
    fields = _with_medians(asdict(result))
    assert isinstance(fields, dict)
    fields["synthetic"] = result.rehearsal is not None
    fields["identical"] = result.identical
    fields["reading"]["ratio"] = result.reading.ratio
    fields["decode_share"] = result.decode_share
    fields["pass_share"] = result.pass_share
    fields["best"] = result.best.draft
    return json.dumps(fields, indent=2, ensure_ascii=False)


def _with_medians(fields: object) -> object:
    """Samples of the same fields, with their medians beside the values."""
    if isinstance(fields, dict):
        if fields.keys() == {"values"}:
            return {"median": median(fields["values"]), "values": list(fields["values"])}
        return {key: _with_medians(value) for key, value in fields.items()}
    if isinstance(fields, list | tuple):
        return [_with_medians(value) for value in fields]
    return fields


def _lines(result: Tuning) -> Iterator[str]:
    yield from _circumstances(result)
    yield ""
    yield from _costs(result)
    yield ""
    yield from _gains(result)
    yield ""
    yield from _verdict(result)


def _circumstances(result: Tuning) -> Iterator[str]:
    machine, reading = result.machine, result.reading
    yield printable(f"{result.path}: {result.name or 'a model without a name'}")
    if result.rehearsal is not None:
        yield (
            "made-up weights: acceptance was chosen, not learned "
            f"({percent(result.rehearsal.accept)} of drafts right)"
        )
    yield (
        f"machine    {machine.processor}, {machine.threads} threads, {machine.isa}; "
        f"reads {_spread(result.bandwidth)} GB/s"
    )
    line = f"prompt     {reading.tokens} tokens: {_spread(reading.plain)} tok/s"
    if reading.head is not None:
        line += (
            f" without the head, {_spread(reading.head)} with it "
            f"({decimals(reading.ratio)} of the speed)"
        )
    yield line


def _costs(result: Tuning) -> Iterator[str]:
    passes, drafts = result.passes, result.drafts
    yield f"passes after {result.context} tokens"
    yield "  rows     " + "".join(f"{one.rows:>8}" for one in passes)
    yield "  ms       " + "".join(f"{1e3 * one.seconds.median:>8.2f}" for one in passes)
    yield "  c(rows)  " + "".join(f"{one.cost:>8.2f}" for one in passes)
    if drafts is None:
        return
    line = (
        f"drafts     first {1e3 * drafts.first.median:.2f} ms "
        f"({decimals(drafts.first_cost)} of a pass)"
    )
    if drafts.chained is not None:
        line += (
            f", each further {1e3 * drafts.chained.median:.2f} ms ({decimals(drafts.chained_cost)})"
        )
    yield line


def _gains(result: Tuning) -> Iterator[str]:
    yield f"answers of {result.plan.tokens} tokens"
    yield (
        f"  {'n':<5}{'tok/s':>8}{'range':>19}{'x plain':>9}{'predicted':>11}"
        f"{'tok/round':>11}  accepted by depth"
    )
    for one in result.decoding:
        rates = one.per_second
        predicted = "-" if one.predicted is None else f"{one.predicted:.1f}"
        yield (
            f"  {one.draft!s:<5}{rates.median:>8.1f}{f'{rates.low:.1f} to {rates.high:.1f}':>19}"
            f"{result.speedup(one):>9.2f}{predicted:>11}{one.tokens_per_round:>11.2f}"
            f"  {_accepted(one)}"
        ).rstrip()
    if result.drafts is None:
        yield "  no drafts: the file has no MTP head ('headlong inspect' shows what it holds)"


def _accepted(decoding: Decoding) -> str:
    return " ".join(percent(share).removesuffix(" %") for share in decoding.accepted)


def _verdict(result: Tuning) -> Iterator[str]:
    best = result.best
    if result.drafts is not None:
        chosen = result.decoding[-1]
        yield (
            f"best       n = {best.draft}: {best.per_second.median:.1f} tok/s, "
            f"{result.speedup(best):.2f} x plain; auto {result.speedup(chosen):.2f} x"
        )
        if best.predicted and abs(best.per_second.median / best.predicted - 1) > _OFF:
            yield (
                f"           {best.predicted:.1f} tok/s were predicted from the costs: was the "
                "machine busy?"
            )
    moved = f"a token moves {byte_size(result.step_bytes)}"
    shares = (
        f"plain decoding takes {percent(result.decode_share)} of what reads reach, "
        f"a pass alone {percent(result.pass_share)}"
    )
    if max(result.decode_share, result.pass_share) <= _ALL:
        yield f"bandwidth  {moved}: {shares}"
    elif result.step_bytes <= _LARGEST_CACHE:
        yield f"bandwidth  {moved}: more than memory gives, so weights stay in the cache"
    else:
        yield f"bandwidth  {moved}: {shares}; was the machine busy?"
    differing = ", ".join(f"n = {draft}" for draft in result.differing)
    where = f": {differing}" if differing else "" if result.identical else ": prompts"
    yield f"identical: {'yes' if result.identical else f'NO{where}'}"


def _spread(samples: Samples) -> str:
    if len(samples.values) == 1:
        return f"{samples.median:.1f}"
    return f"{samples.median:.1f} ({samples.low:.1f} to {samples.high:.1f})"
