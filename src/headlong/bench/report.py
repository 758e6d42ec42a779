"""`headlong bench report`: records as one page that needs nothing else, to look at and to share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import median_low
from typing import Final

from headlong.bench.page.depth_chart import depth_chart
from headlong.bench.page.look import Look, bytes_text, hardware, look_of, model_name
from headlong.bench.page.plane_chart import plane_chart
from headlong.bench.page.published import Published, published_rows
from headlong.bench.page.speed_chart import speed_chart
from headlong.bench.page.streams_chart import streams_chart
from headlong.bench.page.table import table
from headlong.bench.page.timeline import MOST_TOKENS, timeline
from headlong.bench.record import Arm, Record, Row, Sample

__all__ = ["page"]

_PARTS: Final = Path(__file__).with_name("page")


def page(records: Sequence[Record], *, published: bool = True) -> str:
    """The whole page.

    Args:
        records: at least one; each gets charts of its own, all share the table.
        published: put published results of other systems beside them.
    """
    others = published_rows() if published else ()
    looks = [look_of(record.arms) for record in records]
    title = records[0].run.name or "Benchmark"
    body = [
        _heading(title, records),
        *(
            _record(record, look, others, alone=len(records) == 1)
            for record, look in zip(records, looks, strict=True)
        ),
        _all_rows(records, others, looks),
        '<section class="card prose"><h2>How to read this</h2>' + _READING + "</section>",
        *(_provenance(record) for record in records),
        _footer(records),
    ]
    style = (_PARTS / "style.css").read_text("utf-8")
    script = (_PARTS / "script.js").read_text("utf-8")
    data = _data(records)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · headlong bench</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main>"
        f'<script type="application/json" id="records">{data}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def _heading(title: str, records: Sequence[Record]) -> str:
    machines = list(dict.fromkeys(hardware(r, a) for r in records for a in r.arms))
    models = list(dict.fromkeys(_model(arm) for r in records for arm in r.arms))
    days = sorted(record.run.started[:10] for record in records)
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return (
        '<header><div><p class="brand">headlong bench</p>'
        f"<h1>{escape(title)}</h1>"
        f'<p class="sub">{escape(" · ".join([*models[:3], *machines[:3], when]))}</p></div>'
        '<button id="theme" title="Light or dark">◐</button></header>'
    )


def _record(record: Record, look: Look, others: Sequence[Published], *, alone: bool) -> str:
    rows = _shown(record)
    parts = []
    if not alone:
        parts.append(f'<h2 class="run">{escape(record.run.name or record.run.id)}</h2>')
    if not record.run.complete:
        parts.append(
            '<p class="notice">This run was interrupted: the figures are of what it had measured.'
            "</p>"
        )
    if any(arm.file and arm.file.synthetic for arm in record.arms):
        parts.append(
            '<p class="notice">Made-up weights: speeds are real, texts and acceptance are not.</p>'
        )
    parts += [_tiles(record, rows), _verdicts(record), '<div class="charts">']
    parts.append(
        _figure(
            "Speed by mode",
            f"Decode tokens per second, medians with 95 % intervals; the notch is end to end, "
            f"first token included. {_case(rows)}",
            speed_chart(rows, look),
            wide=True,
        )
    )
    parts.append('<div class="narrow">')
    parts.append(
        _figure(
            "What drafts give, and what steps cost",
            "Speed-up = L / C. Up is a better head or an easier text, left a better engine."
            + (" Hollow: published runs of llama.cpp on two gfx906 cards." if others else ""),
            plane_chart(rows, others, look),
            legend=_arms_legend(record, look, [row.arm for row in rows if row.step_cost]),
        )
    )
    parts.append(
        _figure(
            "Acceptance by depth",
            "Of the drafts made at each depth, how many the model itself would have written.",
            depth_chart(rows, look),
            legend=_arms_legend(record, look, [row.arm for row in rows if row.by_depth]),
        )
    )
    one_cache = [row for row in record.rows if rows and row.cache == rows[0].cache]
    parts.append(
        _figure(
            "Throughput by streams",
            "Tokens per second of all answers together. Many streams fill the rows of a pass that "
            "drafts would use, so drafts must gain less, and must not cost.",
            streams_chart(one_cache, look),
            legend=_arms_legend(record, look, [row.arm for row in one_cache]),
        )
    )
    parts.append("</div>")
    parts.append(
        _figure(
            "What a reader sees come in",
            _timeline_caption(record, rows),
            timeline(_representative(record, rows)),
            wide=True,
            legend=_steps_legend(),
        )
    )
    parts.append("</div>")
    return "".join(parts)


def _figure(
    heading: str, caption: str, drawing: str, *, wide: bool = False, legend: str = ""
) -> str:
    if not drawing:
        return ""
    return (
        f'<figure class="card{" wide" if wide else ""}"><figcaption><h3>{escape(heading)}</h3>'
        f"<p>{escape(caption)}</p>{legend}</figcaption>"
        f'<div class="drawing">{drawing}</div></figure>'
    )


def _shown(record: Record) -> list[Row]:
    """What charts are of: one cache state at the fewest streams; the table has the rest."""
    streams = min((row.concurrency for row in record.rows), default=1)
    caches = {row.cache for row in record.rows}
    cache = "cold" if "cold" in caches else "warm"
    return [row for row in record.rows if row.concurrency == streams and row.cache == cache]


def _case(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    count = rows[0].concurrency
    return f"{'One stream' if count == 1 else f'{count} streams'}, {rows[0].cache} cache."


def _tiles(record: Record, rows: Sequence[Row]) -> str:
    best = max((r for r in rows if r.speedup), key=lambda r: (not r.flags, _gain(r)), default=None)
    fastest = max(
        (r for r in rows if r.decode), key=lambda r: (not r.flags, _decode(r)), default=None
    )
    tiles = []
    if best is not None and best.speedup is not None:
        spread = ""
        if best.speedup.low is not None:
            spread = f", {best.speedup.low:.2f} to {best.speedup.high:.2f}"
        tiles.append(("Best speed-up", f"{best.speedup.value:.2f}×", f"{_of(best)}{spread}"))
    if fastest is not None:
        tiles.append(("Fastest decode", f"{_decode(fastest):.1f} tok/s", _of(fastest)))
    if best is not None:
        if best.tokens_per_step:
            tiles.append(("Tokens per step, L", f"{best.tokens_per_step:.2f}", _of(best)))
        if best.step_cost:
            tiles.append(("Cost of a step, C", f"{best.step_cost:.2f}", "plain steps"))
        if best.acceptance is not None:
            tiles.append(("Drafts accepted", f"{100 * best.acceptance:.0f} %", _of(best)))
    shares = [row.roofline for row in rows if row.roofline]
    if shares:
        told = f"{record.host.bandwidth:.1f} GB/s read" if record.host.bandwidth else "of memory"
        tiles.append(("Plain decode, of bandwidth", f"{100 * max(shares):.0f} %", told))
    energies = [row for row in rows if row.joules_per_token]
    if energies:
        least = min(energies, key=lambda row: row.joules_per_token or 0.0)
        tiles.append(("Least energy", f"{least.joules_per_token:.2f} J/token", _of(least)))
    made = "".join(
        f'<div class="tile"><p>{escape(name)}</p><b>{escape(value)}</b>'
        f"<small>{escape(note)}</small></div>"
        for name, value, note in tiles
    )
    return f'<div class="tiles">{made}</div>' if made else ""


def _gain(row: Row) -> float:
    return row.speedup.value if row.speedup else 0.0


def _decode(row: Row) -> float:
    return row.decode.value if row.decode else 0.0


def _of(row: Row) -> str:
    """Whose figure it is; rows without a flag are preferred, and others say so."""
    return f"{row.arm}, {row.workload}" + (" ⚠" if row.flags else "")


def _verdicts(record: Record) -> str:
    if not record.verdicts:
        return ""
    items = "".join(f"<li>{escape(one)}</li>" for one in record.verdicts)
    return f'<section class="card verdicts"><ul>{items}</ul></section>'


def _representative(record: Record, rows: Sequence[Row]) -> list[Sample]:
    """Of every arm the answer of median speed, to the workload that most arms were asked."""
    if not rows:
        return []
    workload = _timeline_workload(rows)
    found = []
    for row in (one for one in rows if one.workload == workload):
        good = [
            one
            for one in record.samples
            if (one.arm, one.workload, one.concurrency, one.cache)
            == (row.arm, row.workload, row.concurrency, row.cache)
            and one.problem is None
            and one.decode_rate
        ]
        if good:
            middle = median_low([one.decode_rate or 0.0 for one in good])
            found.append(next(one for one in good if one.decode_rate == middle))
    return found


def _timeline_workload(rows: Sequence[Row]) -> str:
    names = [row.workload for row in rows]
    return max(dict.fromkeys(names), key=names.count)


def _timeline_caption(record: Record, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    name = _timeline_workload(rows)
    tokens = next((p.max_tokens for p in record.prompts if p.name == name), 0)
    return (
        f"One answer of {tokens} tokens to '{name}' for each mode. Each block is a step: as wide "
        "as the wait for it, in the colour of how many tokens came with it."
    )


def _arms_legend(record: Record, look: Look, arms: Sequence[str]) -> str:
    items = "".join(
        f'<span><i class="swatch {look.of(arm.name)}"></i>{escape(arm.name)}</span>'
        for arm in record.arms
        if arm.name in arms
    )
    return f'<p class="legend">{items}</p>'


def _steps_legend() -> str:
    items = "".join(
        f'<span><i class="swatch step n{n}"></i>{n}{" or more" if n == MOST_TOKENS else ""}</span>'
        for n in range(1, MOST_TOKENS + 1)
    )
    return f'<p class="legend">tokens per step {items}</p>'


def _all_rows(records: Sequence[Record], others: Sequence[Published], looks: Sequence[Look]) -> str:
    toggle = notes = ""
    if others:
        toggle = (
            '<label><input type="checkbox" id="published"> published results '
            f"({len(others)} rows)</label>"
        )
        sources = dict.fromkeys(one.source.text for one in others)
        notes = '<div class="sources" hidden>' + "".join(
            f"<p>{escape(text)}</p>" for text in sources
        )
        notes += "</div>"
    return (
        '<section class="card"><div class="bar-line"><h2>All rows</h2>'
        '<input type="search" id="filter" placeholder="filter, e.g. chat n=2" '
        f'aria-label="Filter rows">{toggle}'
        '<button id="copy">Copy as Markdown</button></div>'
        f'<div class="scroll">{table(records, others, looks)}</div>{notes}</section>'
    )


def _provenance(record: Record) -> str:
    run, host = record.run, record.host
    facts = [
        ("run", f"{run.id}, {run.command}, {run.started} to {run.finished}"),
        ("command", " ".join(run.words)),
        ("order", f"{run.order}; seed {run.seed}"),
        ("harness", f"headlong {run.headlong}, Python {run.python}"),
        ("processor", f"{host.processor}, {host.cores} cores, {' '.join(host.isa) or 'unknown'}"),
        ("memory", _memory(record)),
        ("system", _joined(host.system, _named("governor", host.governor), host.container)),
        ("energy", _energy(record)),
    ]
    for gpu in host.gpus:
        cap = None if gpu.power_cap is None else f"cap {gpu.power_cap:.0f} W"
        clock = None if gpu.clock is None else f"{gpu.clock} MHz"
        facts.append(
            ("card", _joined(gpu.name, bytes_text(gpu.memory), _named("driver", gpu.driver), cap,
                             clock, gpu.pcie))
        )  # fmt: skip
    for arm in record.arms:
        facts.append((arm.name, _joined(arm.kind, arm.version, arm.command or arm.url)))
        if arm.body:
            facts.append(("", f"request: {json.dumps(arm.body)}"))
        if arm.dialect:
            facts.append(("", arm.dialect))
    for file in {arm.file.file: arm.file for arm in record.arms if arm.file}.values():
        layers = f"MTP head of {file.mtp_layers} layer(s) in {'/'.join(file.mtp_types)}"
        facts.append(
            ("model file", _joined(
                file.file, bytes_text(file.bytes), file.architecture, file.quantisation,
                layers if file.mtp_layers else "no MTP head",
                f"{file.step_bytes / 1e9:.2f} GB per token", f"fingerprint {file.fingerprint[:16]}",
            ))
        )  # fmt: skip
    for prompt in record.prompts:
        facts.append(
            (f"workload {prompt.name}",
             f"{prompt.max_tokens} tokens{' exactly' if prompt.exact_length else ''}, temperature "
             f"{prompt.temperature:g}, prompt {prompt.sha256[:16]}")
        )  # fmt: skip
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    name = escape(run.name or run.id)
    return (
        f'<details class="card"><summary>How it was measured: {name}</summary><dl>{cells}</dl>'
        "</details>"
    )


def _memory(record: Record) -> str:
    host = record.host
    rate = "not probed" if host.bandwidth is None else f"reads {host.bandwidth:.1f} GB/s"
    return f"{bytes_text(host.memory)}, {rate}"


def _energy(record: Record) -> str:
    idle = record.host.idle_watts
    return record.host.energy_source + ("" if idle is None else f", {idle:.1f} W idle")


def _named(name: str, value: str | None) -> str | None:
    return None if value is None else f"{name} {value}"


def _joined(*words: str | None) -> str:
    return ", ".join(word for word in words if word)


def _model(arm: Arm) -> str:
    return model_name(arm) + (f" {arm.file.quantisation}" if arm.file else "")


def _footer(records: Sequence[Record]) -> str:
    versions = ", ".join(sorted({record.run.headlong for record in records}))
    return (
        f"<footer>headlong {escape(versions)} · the page holds its records: "
        '<button id="download">download JSON</button></footer>'
    )


def _data(records: Sequence[Record]) -> str:
    """Without texts and stamps, which are most of a record and in its file."""
    left_out = {"samples": {"__all__": {"t", "n", "text"}}}
    fields = [one.model_dump(mode="json", by_alias=True, exclude=left_out) for one in records]
    # Inside a script element only "</" could end it.
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


_READING: Final = """
<p><b>Decode tok/s</b> counts the tokens after the first event by the time after it; <b>E2E</b>
counts all tokens from sending. <b>TPOT</b> is the inverse of decode, one value per answer: gaps
between events are never taken for tokens, since servers send a step's tokens in bursts or in one
event. A <b>step</b> is what came together; <b>stall</b> is the 99th percentile of the time between
steps.</p>
<p><b>L</b> is tokens per step, a merit of the head and the text; <b>C</b> is what a step with
drafts costs in plain steps, a merit of the engine and the machine. The speed-up is L / C.</p>
<p>Arms take turns A B B A, so that heat and neighbours lie on all alike; ratios are of pairs,
intervals are 95 % by bootstrap. ⚠ marks drift, noise, or answers that do not count; rest the
pointer on it. Cold rows keep the prompt out of prefix caches, warm rows find it there.</p>
"""
