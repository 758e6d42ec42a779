"""`headlong bench sweep`: the best draft length of a server, beyond noise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from headlong.cli.bench_flags import AnswerFlags, RecordFlags, ServerFlags, ended, url
from headlong.cli.flags import with_flag_groups
from headlong.cli.progress_bars import progress_on
from headlong.errors import ParameterError

if TYPE_CHECKING:
    from headlong.bench.session import Target

__all__ = ["command"]

_LENGTHS = "0,1,2,3,4,5"


@with_flag_groups
def command(
    server: ServerFlags,
    answer: AnswerFlags,
    record: RecordFlags,
    address: Annotated[str | None, url] = None,
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="N,N", help="Draft lengths; 0 is without drafts.")
    ] = _LENGTHS,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at", metavar="N=URL",
            help="A server that was started with drafts of N tokens; may be repeated.",
        ),
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto/--no-auto", help="Also measure the server's own choice.")
    ] = True,
    tokens: Annotated[
        int, typer.Option("-n", "--max-tokens", metavar="N", min=2, help="Tokens of an answer.")
    ] = 128,
    repeats: Annotated[
        int, typer.Option("-r", "--repeats", metavar="N", min=1, help="Rounds over the nine.")
    ] = 1,
) -> None:  # fmt: skip
    """Measure several draft lengths in turns, and advise one.

    A length is advised over another only where the paired interval supports it.
    """
    from headlong.bench.provenance import now
    from headlong.bench.sweep import SweepOptions, run_sweep

    record.check()
    servers = _servers(at or (), server)
    if address is None and not servers:
        raise ParameterError("give the server's address, or --at N=URL for each draft length")
    options = SweepOptions(
        server.target(address) if address is not None else None,
        servers,
        _numbers(lengths),
        auto=auto,
        tokens=tokens,
        temperature=answer.temperature,
        seed=answer.seed,
        repeats=repeats,
        request=server.request,
    )
    started = now()
    result = asyncio.run(run_sweep(options, progress_on()))
    ended(
        "sweep", result.lines(), result.taking, result.arms, record,
        started=started, seed=answer.seed, verdicts=list(result.advice()),
    )  # fmt: skip


def _numbers(text: str) -> tuple[int, ...]:
    from headlong.bench.modes import parse_mode

    modes = [parse_mode(f"n={part.strip()}") for part in text.split(",")]
    return tuple(dict.fromkeys(mode.draft for mode in modes if mode.draft is not None))


def _servers(texts: Sequence[str], server: ServerFlags) -> Mapping[int, Target]:
    found = {}
    for text in texts:
        number, equals, address = text.partition("=")
        if not equals or not address:
            raise ParameterError(f"--at {text!r} is not N=URL, e.g. 2=http://127.0.0.1:8082")
        found[_numbers(number)[0]] = server.target(address)
    return found
