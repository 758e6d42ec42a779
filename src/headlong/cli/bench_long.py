"""`headlong bench long`: one long prompt, and from which answer length on drafts pay."""

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
from headlong.errors import ParameterError

__all__ = ["command"]

_LARGEST = 1 << 26  # bytes; more than any context holds


@with_flag_groups
def command(
    server: ServerFlags,
    answer: AnswerFlags,
    other: AgainstFlag,
    record: RecordFlags,
    address: Annotated[str, url],
    text: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, help="The prompt.",
            show_default="one is generated",
        ),
    ] = None,
    prompt_tokens: Annotated[
        int,
        typer.Option("--prompt-tokens", metavar="N", min=16, help="About, of a generated prompt."),
    ] = 18_000,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode", metavar="MODE", help="auto, n=2, ...", show_default="the server's choice"
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option("-n", "--max-tokens", metavar="N", min=2, help="Tokens of the answer.")
    ] = 512,
    repeats: Annotated[
        int, typer.Option("-r", "--repeats", metavar="N", min=1, help="Measured rounds.")
    ] = 1,
) -> None:  # fmt: skip
    """One long prompt with drafts and without: prompt and generation tok/s, break-even length."""
    from headlong.bench.long import LongOptions, run_long
    from headlong.bench.provenance import now

    record.check()
    options = LongOptions(
        server.target(address),
        text=None if text is None else _read(text),
        prompt_tokens=prompt_tokens,
        against=server.target(other.against) if other.against else None,
        mode=mode_named(mode),
        tokens=tokens,
        temperature=answer.temperature,
        seed=answer.seed,
        repeats=repeats,
        request=server.request,
    )
    started = now()
    result = asyncio.run(run_long(options, progress_on()))
    lines = list(result.lines())
    ended(
        "long", lines, result.taking, (result.base, result.spec), record,
        started=started, seed=answer.seed, verdicts=[one for one in lines if "pay" in one],
    )  # fmt: skip


def _read(path: Path) -> str:
    if path.stat().st_size > _LARGEST:
        raise ParameterError(f"{path} is larger than {_LARGEST >> 20} MiB, more than any context")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ParameterError(f"{path} is not UTF-8 text") from None
