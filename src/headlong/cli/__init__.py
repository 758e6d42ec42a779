"""The command line: parsing and printing only; the work is done below."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from headlong.cli import chat, demo, inspect, run, synth, verify
from headlong.errors import HeadlongError

__all__ = ["main"]

app = typer.Typer(
    name="headlong",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from headlong import __version__

        typer.echo(f"headlong {__version__}")
        raise typer.Exit


@app.callback()
def headlong(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Run language models from GGUF files, and answer sooner by multi-token prediction."""


app.command("run")(run.command)
app.command("chat")(chat.command)
app.command("demo")(demo.command)
app.command("verify")(verify.command)
app.command("inspect")(inspect.command)
app.command("synth")(synth.command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: done.  1: an error, told in one line on standard error, or a difference that `verify` or
    `demo` found.  2: flags that cannot be understood.  130: interrupted by Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        # Text may hold characters that a terminal's encoding lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        typer.main.get_command(app).main(
            args=None if argv is None else list(argv), prog_name="headlong"
        )
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except HeadlongError as error:
        message = str(error)
    except MemoryError as error:
        # numpy's own says how much was wanted.
        message = (
            f"not enough memory: {str(error) or 'an allocation failed'}; try a smaller --ctx-size"
        )
    except OSError as error:
        reason = error.strerror or str(error)
        message = reason if error.filename is None else f"{error.filename}: {reason}"
    else:
        return 0
    print(f"error: {message}", file=sys.stderr)
    return 1
