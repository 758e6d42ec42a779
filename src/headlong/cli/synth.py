"""`headlong synth`: a model to measure with before the real one is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headlong.cli.figures import byte_size, percent
from headlong.cli.options import flag_named
from headlong.cli.progress_bars import progress_on

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="GGUF file to write.")],
    like: Annotated[
        str,
        typer.Option(
            "--like",
            metavar="SIZE",
            help="Published model whose dimensions to take: "
            "qwen3.5-0.8b, -2b, -4b, -9b, -27b or qwen3.6-27b.",
        ),
    ] = "qwen3.5-2b",
    type_name: Annotated[
        str,
        typer.Option(
            "--type", metavar="TYPE", help="Weight type or mix of types: Q4_K_M, Q8_0, BF16, ..."
        ),
    ] = "Q4_K_M",
    accept: Annotated[
        float,
        typer.Option("--accept", metavar="P", help="Chance of each draft to be right, 0 to 1."),
    ] = 0.8,
    seed: Annotated[
        int, typer.Option("-s", "--seed", metavar="N", help="Of all random numbers.")
    ] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Write a rehearsal model: real dimensions and weight types, made-up weights.

    Its next token is known and its MTP head is right with the chance you choose, so that it shows
    what multi-token prediction would give on this machine. The text it writes means nothing.
    """
    from headlong.tools.synth import Rehearsal, find_mix, find_size, write_rehearsal

    with flag_named("--like"):
        size = find_size(like)
    with flag_named("--type"):
        mix = find_mix(type_name)
    with flag_named("--accept or --seed"):
        rehearsal = Rehearsal(accept, seed)
    written = write_rehearsal(file, size, mix, rehearsal, overwrite=force, progress=progress_on())
    typer.echo(
        f"{file}: {byte_size(written.bytes)}, {size.name} in {mix.name}, synthetic; "
        f"{percent(accept)} of drafts right\n"
        f"\nNext:\n"
        f"  headlong demo {file}       speed with and without multi-token prediction\n"
        f"  headlong tune {file}       costs and gains of every draft length\n"
        f"  headlong inspect {file}    what is in it"
    )
