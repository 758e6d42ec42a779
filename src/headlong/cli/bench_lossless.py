"""`headlong bench lossless`: the same text with speculation as without, on any server."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from headlong.cli.bench_flags import (
    AgainstFlag,
    AnswerFlags,
    RecordFlags,
    ServerFlags,
    ended,
    mode_named,
    url,
)
from headlong.cli.flags import with_flag_groups
from headlong.cli.progress_bars import progress_on

__all__ = ["command"]


@with_flag_groups
def command(
    server: ServerFlags,
    answer: AnswerFlags,
    other: AgainstFlag,
    record: RecordFlags,
    address: Annotated[str, url],
    mode: Annotated[
        list[str] | None,
        typer.Option(
            "--mode", metavar="MODE", help="auto, n=2, ...; may be repeated.",
            show_default="the server's choice",
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option("-n", "--max-tokens", metavar="N", min=1, help="Most tokens each.")
    ] = 192,
    prompts: Annotated[
        int, typer.Option("--prompts", metavar="N", min=1, max=9, help="How many of the nine.")
    ] = 9,
    controls: Annotated[
        int,
        typer.Option(
            "--controls", metavar="N", min=1,
            help="How often the server is compared with itself, without speculation.",
        ),
    ] = 1,
) -> None:  # fmt: skip
    """Check that speculation does not change the text.

    Every prompt is answered without drafts, once more without as a control, and with.  At a first
    difference, the margin of the two best tokens is read.  Exit code 1 if a text changes.
    """
    from headlong.bench.lossless import LosslessOptions, run_lossless
    from headlong.bench.provenance import now

    record.check()
    modes = tuple(found for text in mode or () if (found := mode_named(text)) is not None)
    options = LosslessOptions(
        server.target(address),
        against=server.target(other.against) if other.against else None,
        modes=modes,
        tokens=tokens,
        temperature=answer.temperature,
        seed=answer.seed,
        controls=controls,
        prompts=prompts,
        request=server.request,
    )
    started = now()
    result = asyncio.run(run_lossless(options, progress_on()))
    lines = list(result.lines())
    ended(
        "lossless", lines, result.taking, (result.base, *result.arms), record,
        started=started, seed=answer.seed, verdicts=lines[-1:],
    )  # fmt: skip
    if result.verdict == "different":
        raise typer.Exit(1)
