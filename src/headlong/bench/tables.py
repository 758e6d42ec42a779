"""A record's rows as text: for a terminal, as Markdown to paste, as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final

from headlong.bench.page.look import band_text, hardware, model_name, number
from headlong.bench.record import Arm, Band, Record, Row

__all__ = ["csv_text", "markdown_lines", "terminal_lines"]

_HEAD: Final = (
    "arm", "workload", "str", "cache", "tok/s", "e2e", "x plain [95 %]", "L", "C", "acc",
    "TTFT ms", "stall ms", "J/tok",
)  # fmt: skip
_LEFT: Final = 4
"""Columns that begin at the left: words."""


def terminal_lines(record: Record) -> Iterator[str]:
    """What was measured, in columns, and what it says."""
    yield from _circumstances(record)
    yield ""
    cells = [_HEAD, *(_cells(row) for row in record.rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(_HEAD))]
    for line in cells:
        yield "  ".join(
            cell.ljust(width) if i < _LEFT else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
    yield ""
    for row in record.rows:
        if row.flags:
            told = "; ".join(row.flags)
            yield f"! {row.arm}, {row.workload}, {row.cache}, {_streams(row)}: {told}"
    yield from record.verdicts


def markdown_lines(record: Record) -> Iterator[str]:
    """The same to paste into a comment."""
    for line in _circumstances(record):
        yield f"{line}  "
    yield ""
    yield "| " + " | ".join(_HEAD) + " |"
    yield "|" + "|".join("---" if i < _LEFT else "--:" for i in range(len(_HEAD))) + "|"
    for row in record.rows:
        mark = " ⚠" if row.flags else ""
        cells = [cell.replace("|", "\\|") for cell in _cells(row)]
        yield f"| {cells[0]}{mark} | " + " | ".join(cells[1:]) + " |"
    flagged = [row for row in record.rows if row.flags]
    if flagged:
        yield ""
    for row in flagged:
        told = "; ".join(row.flags)
        yield f"- ⚠ {row.arm}, {row.workload}, {row.cache}, {_streams(row)}: {told}"
    yield ""
    for verdict in record.verdicts:
        yield f"- {verdict}"


def csv_text(records: Iterable[Record]) -> str:
    """Every row of every record, in full, with the circumstances that tell them apart."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for record in records:
        for row in record.rows:
            fields = _csv_fields(record, row)
            if writer is None:
                writer = csv.DictWriter(out, list(fields), lineterminator="\n")
                writer.writeheader()
            writer.writerow(fields)
    return out.getvalue()


def _circumstances(record: Record) -> Iterator[str]:
    host, run = record.host, record.run
    memory = "" if host.bandwidth is None else f", reads {host.bandwidth:.1f} GB/s"
    yield f"machine  {host.processor}, {host.cores} cores{memory}"
    for gpu in host.gpus:
        cap = "" if gpu.power_cap is None else f", {gpu.power_cap:.0f} W"
        yield f"card     {gpu.name}{cap}, driver {gpu.driver or 'unknown'}"
    for server in dict.fromkeys(arm.server for arm in record.arms):
        arms = [one for one in record.arms if one.server == server]
        arm = next(
            (one for one in arms if one.draft != 0), arms[0]
        )  # its stream is the one to know
        yield f"server   {server}: {_build(arm)}, {_model(arm)}"
        if arm.dialect:
            yield f"         {arm.dialect}"
    part = "" if run.complete else ", interrupted"
    yield f"run      {run.started}{part}; order: {run.order}; energy: {host.energy_source}"


def _build(arm: Arm) -> str:
    return arm.version if arm.version.startswith(arm.kind) else f"{arm.kind} {arm.version}".strip()


def _model(arm: Arm) -> str:
    if arm.file is None:
        return arm.model
    layers = arm.file.mtp_layers
    types = "/".join(arm.file.mtp_types)
    head = f" + MTP ({layers} {'layer' if layers == 1 else 'layers'}, {types})" if layers else ""
    made_up = ", made-up weights" if arm.file.synthetic else ""
    return f"{model_name(arm)} {arm.file.quantisation}{head}{made_up}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.arm,
        row.workload,
        str(row.concurrency),
        row.cache,
        _plus_minus(row.decode),
        _value(row.e2e),
        "" if row.speedup is None else band_text(row.speedup, 2).replace(" to ", "–"),
        number(row.tokens_per_step, 2),
        number(row.step_cost, 2),
        "–" if row.acceptance is None else f"{100 * row.acceptance:.0f} %",
        "–" if row.ttft is None else f"{1e3 * row.ttft.value:.0f}",
        "–" if row.step_gap_p99 is None else f"{1e3 * row.step_gap_p99:.0f}",
        number(row.joules_per_token, 2),
    )


def _plus_minus(band: Band | None) -> str:
    """A figure and half the width of its interval."""
    if band is None or band.low is None or band.high is None:
        return _value(band)
    return f"{band.value:.1f} ±{(band.high - band.low) / 2:.1f}"


def _value(band: Band | None, digits: int = 1) -> str:
    return "–" if band is None else f"{band.value:.{digits}f}"


def _streams(row: Row) -> str:
    return "1 stream" if row.concurrency == 1 else f"{row.concurrency} streams"


def _csv_fields(record: Record, row: Row) -> dict[str, object]:
    arm = record.arm(row.arm)
    fields: dict[str, object] = {
        "run": record.run.id,
        "started": record.run.started,
        "server": arm.server,
        "kind": arm.kind,
        "version": arm.version,
        "mode": arm.mode,
        "draft": arm.draft,
        "model": model_name(arm),
        "quantisation": arm.file.quantisation if arm.file else None,
        "hardware": hardware(record, arm),
    }
    for name in type(row).model_fields:
        value = getattr(row, name)
        if name == "by_depth":
            fields[name] = " ".join(f"{d.accepted}/{d.drafted}" for d in value)
        elif name == "flags":
            fields[name] = "; ".join(value)
        elif name in _BANDS:
            for part in ("value", "low", "high"):
                key = name if part == "value" else f"{name}_{part}"
                fields[key] = None if value is None else getattr(value, part)
        else:
            fields[name] = value
    return fields


_BANDS: Final = ("decode", "e2e", "total", "ttft", "prefill", "speedup", "speedup_e2e")
