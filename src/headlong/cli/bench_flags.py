"""Flags that several `headlong bench` commands share, and how each of them ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headlong.cli.terminal import printable
from headlong.errors import ParameterError

if TYPE_CHECKING:
    from headlong.bench.body import RequestOptions
    from headlong.bench.modes import Mode
    from headlong.bench.session import Arm, Taking, Target

__all__ = ["AgainstFlag", "AnswerFlags", "RecordFlags", "ServerFlags", "ended", "mode_named", "url"]

INTERRUPTED: Final = 130

url = typer.Argument(metavar="URL", help="The server, e.g. http://127.0.0.1:8080.")


@dataclass(frozen=True, slots=True)
class ServerFlags:
    """Which model of a server is asked, and how."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="ID", help="Model to ask for.", show_default="the server's first"
        ),
    ] = None
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key", metavar="KEY", envvar="HEADLONG_BENCH_API_KEY", help="Bearer token."
        ),
    ] = None
    body: Annotated[
        str | None,
        typer.Option(
            "--body",
            metavar="JSON",
            help="More fields of every request, e.g. "
            '\'{"chat_template_kwargs": {"enable_thinking": false}}\'.',
        ),
    ] = None
    warm: Annotated[bool, typer.Option("--warm", help="Let the server use its prefix cache.")] = (
        False
    )
    silence: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="S", min=0.1, help="Seconds without a byte before giving up."
        ),
    ] = 600.0

    def target(self, address: str) -> Target:
        """The server at an address."""
        from headlong.bench.session import Target

        return Target(address, self.model, self.api_key)

    @property
    def request(self) -> RequestOptions:
        """How requests are sent."""
        from headlong.bench.body import RequestOptions

        return RequestOptions(warm=self.warm, silence_timeout=self.silence, extra=self._fields())

    def _fields(self) -> Mapping[str, object]:
        if self.body is None:
            return {}
        try:
            fields = json.loads(self.body)
        except ValueError as error:
            raise ParameterError(f"--body is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise ParameterError("--body must be a JSON object, such as '{\"top_k\": 20}'")
        return fields


@dataclass(frozen=True, slots=True)
class AnswerFlags:
    """Temperature and seed of every answer."""

    temperature: Annotated[
        float, typer.Option("--temp", metavar="X", min=0.0, help="Temperature; 0 is greedy.")
    ] = 0.0
    seed: Annotated[int, typer.Option("-s", "--seed", metavar="N", help="Sampler's seed.")] = 42


@dataclass(frozen=True, slots=True)
class AgainstFlag:
    """A second server, where the first cannot switch."""

    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="URL",
            help="The same model on a server without speculation, where the first cannot switch "
            "it by request.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class RecordFlags:
    """The record that is written."""

    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Record to write (.json, .yaml)."),
    ] = None
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="GGUF",
            exists=True,
            dir_okay=False,
            help="The model file that is served, for the record.",
        ),
    ] = None

    def check(self) -> None:
        """Refuse a bad name before anything is measured."""
        if self.out is not None:
            from headlong.bench.record import require_ending

            require_ending(self.out)


def mode_named(text: str | None) -> Mode | None:
    """A mode from a flag."""
    from headlong.bench.modes import parse_mode

    return None if text is None else parse_mode(text)


def ended(
    command: str,
    lines: Iterable[str],
    taking: Taking,
    arms: Sequence[Arm],
    record: RecordFlags,
    *,
    started: str,
    seed: int,
    verdicts: Sequence[str] = (),
) -> None:
    """Print, write the record, and exit with 130 where Ctrl-C cut the run short."""
    for line in lines:
        typer.echo(printable(line))
    if record.out is not None:
        from headlong.bench.record import save
        from headlong.bench.session_record import session_record

        made = session_record(
            command,
            taking,
            arms,
            started=started,
            seed=seed,
            file=None if record.file is None else str(record.file),
            verdicts=verdicts,
        )
        save(made, record.out)
        typer.echo(str(record.out))
    if taking.interrupted:
        raise typer.Exit(INTERRUPTED)
