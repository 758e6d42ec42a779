"""`headlong inspect`: what a GGUF file holds, and what it takes to run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from headlong.cli.figures import byte_size, percent
from headlong.cli.model_file import FILE_HELP, local_file
from headlong.cli.options import flag_named
from headlong.cli.progress_bars import progress_on
from headlong.cli.terminal import printable

if TYPE_CHECKING:
    from headlong.tools.inspect import Description

__all__ = ["command"]

_CONTEXT: Final = 4096


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=FILE_HELP)],
    ctx_size: Annotated[
        int,
        typer.Option("-c", "--ctx-size", metavar="N", help="Context that memory is counted for."),
    ] = _CONTEXT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe a file without loading it: tensors, MTP head, tokenizer, memory, bytes per step.

    Exit code 0 also for a file that cannot be run; the reasons are listed.
    """
    from headlong.tools.inspect import describe, to_json

    path = local_file(file, progress_on())
    with flag_named("--ctx-size"):
        description = describe(path, ctx_size)
    if as_json:
        typer.echo(to_json(description))
        return
    console = Console(highlight=False, markup=False)
    console.print(_table("File", _file(description)))
    console.print(_types(description))
    console.print(_table("MTP head", _head(description)))
    if description.sizes is not None:
        console.print(_table("Model", _model(description)))
    if description.tokenizer is not None:
        console.print(_table("Tokenizer", _tokenizer(description)))
    if description.memory is not None and description.step is not None:
        console.print(_table("Memory and bytes per step", _needs(description)))
    for problem in description.problems:
        console.print(f"problem: {printable(problem)}", style="yellow", soft_wrap=True)
    if not description.problems:
        console.print("Headlong can run this file.", style="green")


def _table(title: str, rows: Iterator[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, printable(value))
    return table


def _file(about: Description) -> Iterator[tuple[str, str]]:
    yield "path", about.path
    if len(about.parts) > 1:
        yield "parts", str(len(about.parts))
    yield "size", byte_size(about.size)
    yield "GGUF version", str(about.gguf_version)
    yield "name", about.name or "-"
    yield "architecture", about.architecture or "-"
    if about.rehearsal is not None:
        yield "rehearsal", str(about.rehearsal)
    yield "parameters", f"{about.parameters:,}"
    yield "bits per weight", f"{about.bits_per_weight:.2f}"


def _types(about: Description) -> Table:
    table = Table(title="Tensors", title_justify="left")
    for heading in ("type", "tensors", "parameters", "size", "share"):
        table.add_column(heading, justify="left" if heading == "type" else "right")
    for share in about.types:
        table.add_row(
            share.type,
            str(share.tensors),
            f"{share.parameters:,}",
            byte_size(share.bytes),
            percent(share.share),
        )
    return table


def _head(about: Description) -> Iterator[tuple[str, str]]:
    head = about.mtp
    yield "state", head.state.value
    if head.tensors:
        yield "layers", str(head.layers)
        yield "tensors", str(head.tensors)
        yield "parameters", f"{head.parameters:,}"
        yield "size", byte_size(head.bytes)
        yield "types", ", ".join(f"{share.type} x {share.tensors}" for share in head.types)
    if head.missing:
        yield "missing", ", ".join(head.missing)


def _model(about: Description) -> Iterator[tuple[str, str]]:
    sizes = about.sizes
    assert sizes is not None
    yield "trained context", f"{sizes.context} tokens"
    kinds = f"{sizes.delta_layers} delta net, {sizes.attention_layers} full attention"
    yield "trunk layers", f"{sizes.layers}: {kinds}"
    if sizes.experts_used:
        yield "experts per token", str(sizes.experts_used)
    yield "LM head", "is the embedding" if about.tied_head else "separate from the embedding"


def _tokenizer(about: Description) -> Iterator[tuple[str, str]]:
    tokenizer = about.tokenizer
    assert tokenizer is not None
    yield "model", tokenizer.model or "-"
    yield "pre-tokenizer", tokenizer.pre or "-"
    yield "tokens", str(tokenizer.vocabulary)
    yield "merges", str(tokenizer.merges)
    yield "BOS", "-" if tokenizer.bos is None else str(tokenizer.bos)
    yield "EOS", "-" if tokenizer.eos is None else str(tokenizer.eos)
    yield "chat template", "yes" if tokenizer.chat_template else "no"


def _needs(about: Description) -> Iterator[tuple[str, str]]:
    memory, step = about.memory, about.step
    assert memory is not None and step is not None
    yield "weights", byte_size(memory.weights)
    yield f"KV cache, {memory.context} tokens", byte_size(memory.kv_trunk)
    if memory.kv_mtp:
        yield "KV cache of the MTP head", byte_size(memory.kv_mtp)
    yield "recurrent state", byte_size(memory.state)
    yield "memory in all", byte_size(memory.total)
    yield f"moved per token after {step.context}", byte_size(step.total)
    if step.draft:
        yield "moved per draft token besides", byte_size(step.draft)
