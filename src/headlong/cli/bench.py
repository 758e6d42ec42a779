"""`headlong bench`: parsing and printing for the measuring of servers."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headlong.cli import bench_compare, bench_long, bench_lossless, bench_mtp, bench_sweep
from headlong.cli.progress_bars import progress_on
from headlong.cli.terminal import printable

if TYPE_CHECKING:
    from headlong.bench.record import Record
    from headlong.bench.workloads import Workload

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Measure any OpenAI-compatible server, and say what to do next.",
)

_INTERRUPTED = 130

app.command("mtp")(bench_mtp.command)
app.command("long")(bench_long.command)
app.command("compare")(bench_compare.command)
app.command("sweep")(bench_sweep.command)
app.command("lossless")(bench_lossless.command)


@app.command("speed")
def speed(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="YAML file: servers, modes, workloads.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="Record to write (.json, .yaml).",
            show_default="the plan's name with .json",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a report page as well.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what an interrupted run left.")
    ] = False,
    bandwidth: Annotated[
        float | None,
        typer.Option(
            "--bandwidth", metavar="GB/S", min=0.001, help="Of the memory that models lie in.",
            show_default="this machine's is probed",
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--md", help="Print Markdown tables.")] = False,
) -> None:  # fmt: skip
    """Measure a matrix of servers, modes, workloads and concurrency.

    Arms take turns A B B A.  Ctrl-C keeps what was measured; the same command goes on from there.
    """
    from headlong.bench.plan import load_plan
    from headlong.bench.record import require_ending
    from headlong.bench.speed import run_speed

    loaded = load_plan(plan, _workloads())
    target = require_ending(out or Path(plan.with_suffix(".json").name))
    record = asyncio.run(
        run_speed(loaded, target, progress=progress_on(), fresh=fresh, bandwidth=bandwidth)
    )
    _show(record, markdown=markdown)
    if report is not None:
        _write_report([(target, record)], report)
    typer.echo(str(target))
    if not record.run.complete:
        typer.echo(
            "interrupted: the record holds what was measured; run the same command to go on",
            err=True,
        )
        raise typer.Exit(_INTERRUPTED)


@app.command("report")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of records, or one.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The page.")
    ] = Path("report.html"),
    markdown: Annotated[
        bool, typer.Option("--md", help="Print Markdown to paste instead.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV instead.")] = False,
    published: Annotated[
        bool, typer.Option(help="Show published results of other systems beside yours.")
    ] = True,
) -> None:  # fmt: skip
    """Make one self-contained page of records: table, charts, provenance."""
    from headlong.bench.record import load_folder

    records = list(load_folder(folder))
    if csv:
        from headlong.bench.tables import csv_text

        sys.stdout.write(csv_text(record for _, record in records))
    elif markdown:
        for _, record in records:
            _show(record, markdown=True)
    else:
        _write_report(records, out, published=published)
        typer.echo(str(out))


@app.command("diff")
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A record.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another, later or elsewhere.")],
    force: Annotated[
        bool, typer.Option("--force", help="Compare unlike runs; what differs is listed.")
    ] = False,
) -> None:
    """Compare two records: what changed beyond noise.  Unlike runs are refused."""
    from headlong.bench.diff import diff_lines
    from headlong.bench.record import load

    for line in diff_lines(load(first), load(second), force=force):
        typer.echo(printable(line))


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of records."""
    from headlong.bench.record import json_schema

    typer.echo(json.dumps(json_schema(), indent=1))


def _workloads() -> dict[str, Workload]:
    """Everything that a plan may name."""
    from headlong.bench.nine_prompts import nine_prompts
    from headlong.bench.workloads import SHAPES, shape

    shapes = [shape(name) for name in SHAPES]
    return {one.name: one for one in (*shapes, *nine_prompts())}


def _show(record: Record, *, markdown: bool) -> None:
    from headlong.bench.tables import markdown_lines, terminal_lines

    for line in markdown_lines(record) if markdown else terminal_lines(record):
        typer.echo(printable(line))


def _write_report(records: list[tuple[Path, Record]], out: Path, *, published: bool = True) -> None:
    from headlong.bench.report import page

    out.write_text(page([record for _, record in records], published=published), "utf-8")
