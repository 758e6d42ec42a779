"""`headlong demo`: plain decoding and multi-token prediction side by side, and what it gains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headlong.cli.figures import percent, rate
from headlong.cli.model_file import local_file
from headlong.cli.options import ModelFlags, SpeculationFlags, flag_named, load
from headlong.cli.progress_bars import progress_on
from headlong.cli.prompt_text import read_prompt
from headlong.cli.statistics import acceptance_by_depth
from headlong.cli.terminal import Writer, printable
from headlong.errors import ParameterError

if TYPE_CHECKING:
    from headlong.engine.requests import Chunk
    from headlong.tokenizer import Tokenizer
    from headlong.tools.demo import Comparison, Watch

__all__ = ["command"]

_TOKENS: Final = 128
_TEMPERATURE: Final = 0.0
_PAIRS: Final = 5
_SEED: Final = 1
_REPEAT_PENALTY: Final = 1.1

# Up to this many bytes a model is loaded a second time, without its head, for the plain side.
_LARGEST_TWICE: Final = 1 << 30

# Two columns of code need about this width.
_WIDE: Final = 100


def command(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="GGUF file with an MTP head, or hf:user/repo[:QUANT].",
            show_default="the model that comes with Headlong",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "-p", "--prompt", metavar="TEXT", help="Prompt.", show_default="a Python function"
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("-n", "--predict", "--max-tokens", metavar="N", help="Tokens per answer.")
    ] = _TOKENS,
    temp: Annotated[
        float,
        typer.Option("--temp", metavar="X", help="Temperature; the texts are the same at any."),
    ] = _TEMPERATURE,
    seed: Annotated[int, typer.Option("-s", "--seed", metavar="N", help="Seed.")] = _SEED,
    repeat_penalty: Annotated[
        float,
        typer.Option(
            "--repeat-penalty", metavar="X", help="Keeps a small model from going in circles."
        ),
    ] = _REPEAT_PENALTY,
    draft: Annotated[
        str,
        typer.Option(
            "--spec-draft-n-max", "--draft", metavar="N|auto", help="Draft length, 1 to 15 or auto."
        ),
    ] = "auto",
    pairs: Annotated[
        int,
        typer.Option("--pairs", metavar="N", min=1, max=100, help="Timed answers of either side."),
    ] = _PAIRS,
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
) -> None:
    """Answer one prompt with and without multi-token prediction: the same text, sooner.

    Exit code 1 if the texts differ.
    """
    from headlong.sampling import SamplingParams
    from headlong.tools.demo import answer_both, bundled_model, measure
    from headlong.tools.inspect import describe
    from headlong.tools.prompts import DEMO_PROMPT

    text = DEMO_PROMPT if prompt is None else read_prompt(prompt, None)
    with flag_named("--max-tokens, --temp, --seed or --repeat-penalty"):
        params = SamplingParams(
            max_tokens=max_tokens,
            temperature=temp,
            repeat_penalty=repeat_penalty,
            seed=seed,
            ignore_eos=True,
        )
    if draft == "0":
        raise ParameterError("--spec-draft-n-max 0 leaves nothing to show; give 1 to 15 or auto.")
    progress = progress_on()
    with ExitStack() as stack:
        path = stack.enter_context(bundled_model()) if file is None else local_file(file, progress)
        model = ModelFlags(file=path, threads=threads)
        twice = describe(path, 1).size <= _LARGEST_TWICE
        # Drafts first: a file without a head is refused before anything else is loaded.
        drafted = load(model, SpeculationFlags("draft-mtp", draft), progress)
        plain = load(model, SpeculationFlags("none"), progress) if twice else drafted
    typer.echo(
        "One model answers one prompt twice: plainly, with a pass for every token; and with "
        "multi-token prediction (MTP), where its own head drafts the next tokens and one pass "
        "checks them all.\n"
    )
    with _view(text, plain.tokenizer) as watch:
        warm_up = answer_both(plain, drafted, text, params, watch)
    result = measure(plain, drafted, text, params, warm_up, pairs=pairs, progress=progress)
    _print_result(result)
    if not result.identical:
        raise typer.Exit(1)
    name = "FILE.gguf" if file is None else str(file)
    typer.echo(
        f"\nNext, with {'a GGUF file of yours' if file is None else 'this file'}:\n"
        f"  headlong inspect {name}            what is in it\n"
        f"  headlong run {name} -p 'Once'      complete a prompt\n"
        f"  headlong chat {name}               talk to it\n"
        f"  headlong serve {name}              the same in a browser, and OpenAI's API\n"
        f"  headlong verify {name}             check that drafts never change the text"
    )


_TITLES: Final = {False: "plain", True: "with MTP (green: accepted drafts)"}
_ACCEPTED: Final = "green"


def _view(prompt: str, tokenizer: Tokenizer) -> AbstractContextManager[Watch]:
    """Columns on a wide terminal, one text after the other elsewhere."""
    console = Console()
    if console.is_terminal and console.width >= _WIDE:
        return _columns(console, prompt, tokenizer)
    return _sections(prompt)


@contextmanager
def _columns(console: Console, prompt: str, tokenizer: Tokenizer) -> Iterator[Watch]:
    texts = {drafts: Text.assemble((printable(prompt), "dim")) for drafts in (False, True)}
    decoders = {drafts: tokenizer.stream() for drafts in texts}
    panels = Table.grid(expand=True)
    panels.add_column(ratio=1)
    panels.add_column(ratio=1)
    panels.add_row(*(Panel(texts[drafts], title=_TITLES[drafts]) for drafts in texts))

    def watch(drafts: bool, chunk: Chunk) -> None:
        for index, token in enumerate(chunk.tokens):
            style = _ACCEPTED if index < chunk.accepted else ""
            texts[drafts].append(printable(decoders[drafts].feed(token)), style=style)

    with Live(panels, console=console, refresh_per_second=12):
        yield watch


@contextmanager
def _sections(prompt: str) -> Iterator[Watch]:
    writer = Writer()
    begun: list[bool] = []

    def watch(drafts: bool, chunk: Chunk) -> None:
        if drafts not in begun:
            begun.append(drafts)
            writer.end_line()
            writer.write(f"--- {'with MTP' if drafts else 'plain'}\n")
            writer.write(prompt, dim=True)
        writer.write(chunk.text)

    yield watch
    writer.end_line()


def _print_result(result: Comparison) -> None:
    speedup = "" if result.speedup is None else f"   {result.speedup:.2f} x as fast"
    typer.echo(
        f"\nidentical: {'yes' if result.identical else 'NO'}\n"
        f"plain      {rate(result.plain_per_second)}\n"
        f"with MTP   {rate(result.drafted_per_second)}{speedup}"
    )
    stats = result.stats
    if stats.draft_n:
        typer.echo(
            f"accepted   {percent(stats.acceptance_rate)} of the drafts; "
            f"by depth {acceptance_by_depth(stats)}"
        )
    else:
        typer.echo("accepted   nothing was drafted: here, drafts would not pay")
