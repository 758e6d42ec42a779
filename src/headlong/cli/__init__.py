"""The command line: parsing and printing only; the work is done below."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from headlong.cli import bench, chat, demo, inspect, run, serve, synth, tune, verify
from headlong.cli.failures import reason_of
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
app.command("serve")(serve.command)
app.command("demo")(demo.command)
app.command("verify")(verify.command)
app.command("inspect")(inspect.command)
app.command("synth")(synth.command)
app.command("tune")(tune.command)
app.add_typer(bench.app, name="bench")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: done.  1: an error, told in one line on standard error, or a difference that `verify` or
    `demo` found.  2: flags that cannot be understood.  130: interrupted by Ctrl-C.
    """
    _prepare_streams()
    try:
        code = _run(argv)
        sys.stdout.flush()  # here, a full disk or a reader that left can still be told
        return code
    except HeadlongError as error:
        message = str(error)
    except MemoryError as error:
        # numpy's own says how much was wanted.
        message = (
            f"not enough memory: {str(error) or 'an allocation failed'}; try a smaller --ctx-size"
        )
    except BrokenPipeError:
        # Nobody reads on; Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        message = reason_of(error)
    print(f"error: {message}", file=sys.stderr)
    return 1


def _run(argv: Sequence[str] | None) -> int:
    try:
        typer.main.get_command(app).main(
            args=None if argv is None else list(argv), prog_name="headlong"
        )
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _prepare_streams() -> None:
    # A stream that was closed before the start is None.
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Text may hold characters that a terminal's encoding lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
