"""`headlong bench mtp`: nine prompts, as published runs of MTP have them."""

from __future__ import annotations

import asyncio
from pathlib import Path
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
from headlong.cli.terminal import printable
from headlong.errors import ParameterError

__all__ = ["command"]


@with_flag_groups
def command(
    server: ServerFlags,
    answer: AnswerFlags,
    other: AgainstFlag,
    record: RecordFlags,
    address: Annotated[str | None, url] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode", metavar="MODE", help="plain, auto, n=2, or NAME={JSON fields}.",
            show_default="the server's choice",
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain/--no-plain", help="Also measure without drafts.")
    ] = True,
    tokens: Annotated[
        int, typer.Option("-n", "--max-tokens", metavar="N", min=2, help="Most tokens each.")
    ] = 192,
    exact: Annotated[
        bool, typer.Option("--exact", help="Ask for exactly that many tokens.")
    ] = False,
    repeats: Annotated[
        int, typer.Option("-r", "--repeats", metavar="N", min=1, help="Rounds over the nine.")
    ] = 1,
    warmups: Annotated[
        int, typer.Option("--warmups", metavar="N", min=0, help="Answers that are not kept.")
    ] = 1,
    diff: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--diff", metavar="A B", help="Compare two records instead of measuring."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --diff: also unlike runs.")
    ] = False,
) -> None:  # fmt: skip
    """Nine prompts in nine categories: the familiar line per prompt, and why.

    Where the server switches speculation by request, or --against names a second one, every prompt
    is also answered without drafts, in turns.
    """
    if diff is not None:
        _diff(*diff, force=force)
        return
    if address is None:
        raise ParameterError("give the server's address, e.g. http://127.0.0.1:8080")
    from headlong.bench.mtp import MtpOptions, run_mtp
    from headlong.bench.provenance import now

    record.check()
    options = MtpOptions(
        server.target(address),
        against=server.target(other.against) if other.against else None,
        mode=mode_named(mode),
        plain=plain,
        tokens=tokens,
        exact=exact,
        temperature=answer.temperature,
        seed=answer.seed,
        repeats=repeats,
        warmups=warmups,
        request=server.request,
    )
    started = now()
    result = asyncio.run(run_mtp(options, progress_on()))
    arms = [arm for arm in (result.plain, result.arm) if arm is not None]
    ended("mtp", result.lines(), result.taking, arms, record, started=started, seed=answer.seed)


def _diff(first: Path, second: Path, *, force: bool) -> None:
    from headlong.bench.diff import diff_lines
    from headlong.bench.record import load

    for line in diff_lines(load(first), load(second), force=force):
        typer.echo(printable(line))
