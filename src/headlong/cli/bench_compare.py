"""`headlong bench compare`: two servers, or two modes of one, in turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from headlong.cli.bench_flags import AnswerFlags, RecordFlags, ServerFlags, ended, mode_named
from headlong.cli.flags import with_flag_groups
from headlong.cli.progress_bars import progress_on

if TYPE_CHECKING:
    from headlong.bench.workloads import Workload

__all__ = ["command"]

_NINE = "nine"


@with_flag_groups
def command(
    server: ServerFlags,
    answer: AnswerFlags,
    record: RecordFlags,
    first: Annotated[str, typer.Argument(metavar="URL_A", help="A server.")],
    second: Annotated[
        str | None,
        typer.Argument(metavar="URL_B", help="Another; without it, A in another mode."),
    ] = None,
    mode_a: Annotated[
        str | None, typer.Option("--mode-a", metavar="MODE", help="plain, auto, n=2, ...")
    ] = None,
    mode_b: Annotated[
        str | None, typer.Option("--mode-b", metavar="MODE", help="Likewise, of B.")
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(
            "-w", "--workload", metavar="NAME",
            help="chat, code, long prompt, long answer, or nine; may be repeated.",
            show_default="chat and code",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            "-n", "--max-tokens", metavar="N", min=2, help="Tokens of an answer.",
            show_default="the workload's own",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option("-r", "--repeats", metavar="N", min=1, help="Measured rounds.")
    ] = 5,
    warmups: Annotated[
        int, typer.Option("--warmups", metavar="N", min=0, help="Answers that are not kept.")
    ] = 2,
) -> None:  # fmt: skip
    """Compare two servers, or two modes of one: turns go A B B A, ratios come with intervals."""
    from headlong.bench.compare import CompareOptions, run_compare
    from headlong.bench.provenance import now

    record.check()
    names = list(dict.fromkeys(workload or ("chat", "code")))
    workloads = tuple(one for name in names for one in _named(name, tokens, answer))
    options = CompareOptions(
        server.target(first),
        server.target(second) if second is not None else None,
        workloads,
        first_mode=mode_named(mode_a),
        second_mode=mode_named(mode_b),
        repeats=repeats,
        warmups=warmups,
        request=server.request,
    )
    started = now()
    result = asyncio.run(run_compare(options, progress_on()))
    ended(
        "compare", result.lines(), result.taking, (result.first, result.second), record,
        started=started, seed=answer.seed,
    )  # fmt: skip


def _named(name: str, tokens: int | None, answer: AnswerFlags) -> tuple[Workload, ...]:
    from headlong.bench.nine_prompts import NINE_TOKENS, nine_prompts
    from headlong.bench.workloads import shape

    if name == _NINE:
        return nine_prompts(
            tokens or NINE_TOKENS, temperature=answer.temperature, seed=answer.seed, exact=True
        )
    return (shape(name, max_tokens=tokens, temperature=answer.temperature, seed=answer.seed),)
