"""The page's table: every row measured, and below them what others published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import compress
from typing import Final

from headlong.bench.page.look import Look, band_text, hardware, model_name, number
from headlong.bench.page.published import Published
from headlong.bench.record import Record, Row

__all__ = ["COLUMNS", "table"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, what it means, and whether it holds numbers."""

    name: str
    means: str
    numeric: bool = True


COLUMNS: Final = (
    Column("Variant", "model", False),
    Column("Quant", "type that most weights have", False),
    Column("Hardware", "where the server ran", False),
    Column("Backend", "server and build", False),
    Column("Mode", "how it speculates", False),
    Column("Shape", "workload", False),
    Column("Conc.", "streams at once"),
    Column("Cache", "whether the prompt was in the prefix cache", False),
    Column("Decode tok/s", "of one stream, after the first token"),
    Column("× plain", "decode, over the same server without drafts, with its 95 % interval"),
    Column("L", "tokens per step"),
    Column("C", "cost of a step, in plain steps"),
    Column("Accepted", "share of drafts"),
    Column("E2E tok/s", "of one stream, first token included"),
    Column("TTFT ms", "time to the first token"),
    Column("TPOT ms", "time per token after the first"),
    Column("Stall ms", "99th percentile of the time between steps"),
    Column("J/token", "energy of the whole machine, idle power included"),
    Column("Roofline", "share of the memory bandwidth that plain decoding reaches"),
)


def table(records: Sequence[Record], published: Sequence[Published], looks: Sequence[Look]) -> str:
    """A sortable table; published rows are hidden until they are asked for.

    Columns of which no row has a figure are left out.
    """
    lines = [
        *(
            line
            for record, look in zip(records, looks, strict=True)
            for line in _measured(record, look)
        ),
        *map(_published, published),
    ]
    shown = [
        not column.numeric or any(cells[i].value is not None for _, cells in lines)
        for i, column in enumerate(COLUMNS)
    ]
    heads = "".join(
        f'<th scope="col" class="{"num" if one.numeric else "word"}" title="{escape(one.means)}">'
        f"<button>{escape(one.name)}</button></th>"
        for one in compress(COLUMNS, shown)
    )
    body = "".join(_line(kind, cells, shown) for kind, cells in lines)
    return f'<table id="rows"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'


@dataclass(frozen=True, slots=True)
class _Cell:
    shown: str
    value: float | str | None = None  # sorts; a missing number comes last
    hint: str = ""


def _measured(record: Record, look: Look) -> Iterator[tuple[str, tuple[_Cell, ...]]]:
    for row in record.rows:
        arm = record.arm(row.arm)
        made_up = " <small>made up</small>" if arm.file and arm.file.synthetic else ""
        backend = arm.version if arm.version.startswith(arm.kind) else f"{arm.kind} {arm.version}"
        mark = f'<i class="swatch {look.of(arm.name)}"></i>'
        warn = "; ".join(row.flags)
        words = (
            _Cell(escape(model_name(arm)) + made_up, model_name(arm), model_name(arm)),
            _Cell(escape(arm.file.quantisation if arm.file else "–")),
            _Cell(escape(hardware(record, arm)), hint=hardware(record, arm)),
            _Cell(escape(backend.strip()), hint=f"{arm.server}: {backend.strip()}"),
            _Cell(mark + escape(arm.mode), arm.mode),
            _Cell(
                escape(row.workload) + (' <b class="warn">⚠</b>' if warn else ""),
                row.workload, warn,
            ),
            _Cell(str(row.concurrency), row.concurrency),
            _Cell(row.cache),
        )  # fmt: skip
        yield "own" + (" plain" if arm.draft == 0 else ""), (*words, *_figures(row))


def _figures(row: Row) -> Iterator[_Cell]:
    decode, e2e, ttft = row.decode, row.e2e, row.ttft
    yield _rate(decode.value if decode else None, band_text(decode))
    gain = row.speedup
    shown = "–"
    if gain is not None:
        spread = "" if gain.low is None else f"<small>{gain.low:.2f} to {gain.high:.2f}</small>"
        shown = f"<b>{gain.value:.2f}</b> {spread}"
    yield _Cell(shown, gain.value if gain else None, row.diagnosis or "")
    yield _Cell(number(row.tokens_per_step, 2), row.tokens_per_step)
    yield _Cell(number(row.step_cost, 2), row.step_cost)
    yield _percent(row.acceptance)
    yield _rate(e2e.value if e2e else None, band_text(e2e))
    yield _Cell(number(1e3 * ttft.value, 0) if ttft else "–", ttft.value if ttft else None)
    yield _tpot(decode.value if decode else None)
    gap = row.step_gap_p99
    yield _Cell("–" if gap is None else f"{1e3 * gap:.0f}", gap)
    yield _Cell(number(row.joules_per_token, 2), row.joules_per_token)
    yield _percent(row.roofline)


def _published(one: Published) -> tuple[str, tuple[_Cell, ...]]:
    cells = (
        _Cell(escape(one.model)),
        _Cell(escape(one.quantisation)),
        _Cell(escape(one.hardware)),
        _Cell(escape(one.backend), hint=one.source.text),
        _Cell(f'<i class="swatch other"></i>{escape(one.mode)}', one.mode),
        _Cell(escape(one.workload)),
        _Cell("1", 1),
        _Cell("–"),
        _rate(one.decode),
        _Cell("–" if one.speedup is None else f"<b>{one.speedup:.2f}</b>", one.speedup),
        _Cell(number(one.tokens_per_step, 2), one.tokens_per_step),
        _Cell(number(one.step_cost, 2), one.step_cost),
        _percent(one.acceptance),
        _rate(one.e2e),
        _Cell("–" if one.ttft is None else f"{1e3 * one.ttft:.0f}", one.ttft),
        _tpot(one.decode),
        _Cell("–"),
        _Cell("–"),
        _Cell("–"),
    )
    return "published", cells


def _rate(value: float | None, hint: str = "") -> _Cell:
    return _Cell(number(value), value, hint)


def _percent(share: float | None) -> _Cell:
    return _Cell("–" if share is None else f"{100 * share:.0f} %", share)


def _tpot(rate: float | None) -> _Cell:
    return _Cell("–" if not rate else f"{1e3 / rate:.1f}", 1 / rate if rate else None)


def _line(kind: str, cells: Sequence[_Cell], shown: Sequence[bool]) -> str:
    made = []
    for column, cell in compress(zip(COLUMNS, cells, strict=True), shown):
        key = "" if cell.value is None and column.numeric else cell.value
        if not column.numeric:
            key = cell.shown if cell.value is None else cell.value
        hint = f' title="{escape(cell.hint)}"' if cell.hint else ""
        name = "num" if column.numeric else "word"
        made.append(f'<td class="{name}" data-key="{escape(str(key))}"{hint}>{cell.shown}</td>')
    return f'<tr class="{kind}">{"".join(made)}</tr>'
