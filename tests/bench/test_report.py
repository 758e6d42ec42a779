"""The page: whole by itself, well formed, true to the record, and safe with any text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from bench_samples import arm, host, prompt, record, run, sample

from headlong.bench.page.published import published_rows
from headlong.bench.provenance import make_record
from headlong.bench.record import Record
from headlong.bench.report import page

VOID = {"meta", "input", "br"}


class Reader(HTMLParser):
    """Checks that elements close in order, and notes what a test asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.cells: list[list[str]] = []
        self.kinds: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [str(v) for k, v in attrs if k in ("src", "href", "action", "srcset")]
        if tag == "tr":
            self.cells.append([])
            self.kinds.append(dict(attrs).get("class") or "")
        if tag == "td":
            self.cells[-1].append(dict(attrs)["data-key"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_the_page_needs_nothing_else() -> None:
    text = page([record()])
    reader = read(text)
    assert reader.links == []
    assert not re.search(r"https?://|@import|url\(", text.replace("http://127.0.0.1:1", ""))
    assert reader.count["svg"] == 5  # two workloads, plane, depths, time line


def test_the_table_holds_every_row() -> None:
    one = record()
    reader = read(page([one]))
    rows = [c for c, k in zip(reader.cells, reader.kinds, strict=True) if k.startswith("own")]
    assert len(rows) == len(one.rows)
    decode = [row.decode.value for row in one.rows if row.decode]
    assert [float(row[8]) for row in rows] == decode
    assert rows[0][9] == ""  # plain has no speed-up: sorts last
    assert float(rows[1][9]) == pytest.approx(1.5)
    assert reader.kinds.count("published") == len(published_rows())


def test_published_rows_can_be_left_out() -> None:
    reader = read(page([record()], published=False))
    assert "published" not in reader.kinds
    assert "input" in reader.count  # the filter stays


def test_the_record_is_in_the_page() -> None:
    one = record()
    (data, _) = read(page([one])).scripts
    (held,) = json.loads(data)
    assert held["rows"] == one.model_dump(mode="json")["rows"]
    assert "t" not in held["samples"][0]
    assert held["samples"][0]["decode_rate"] == one.samples[0].decode_rate


def test_text_from_outside_stays_text() -> None:
    evil = '</script><img src=x onerror=alert(1)>"&'
    arms = (arm(evil, 0, version=evil, model=evil, dialect=evil),)
    samples = [sample(evil, evil, problem=None, finish_reason=evil)]
    one = make_record(run(name=evil), host(processor=evil), arms, (prompt(evil),), samples)
    reader = read(page([one]))
    assert "img" not in reader.count
    assert reader.count["script"] == 2


def bare(**fields: object) -> Record:
    """A server that tells nothing and never speculates."""
    arms = (arm("as served", None, server="s"),)
    samples = [sample("as served", repeat=0, **fields)]  # type: ignore[arg-type]
    return make_record(run(), host(), arms, (prompt("chat"),), samples)


def test_streams_have_a_chart_where_there_are_several() -> None:
    arms = (arm("plain", 0), arm("n=2", 2))
    samples = [
        sample(one.name, stream=stream, concurrency=count, turn=10 * count + number)
        for number, one in enumerate(arms)
        for count in (1, 4)
        for stream in range(count)
    ]
    one = make_record(run(), host(), arms, (prompt("chat"),), samples)
    assert "n=2, 4 at once: " in page([one])
    assert "at once: " not in page([record()])


def test_columns_without_a_figure_are_left_out() -> None:
    assert ">J/token<" not in page([record()])
    assert ">J/token<" in page([bare(joules=100.0)])


def test_without_drafts_there_are_fewer_charts() -> None:
    assert read(page([bare()])).count["svg"] == 2


def test_without_a_single_sound_answer_there_is_still_a_page() -> None:
    text = page([bare(problem="500: no", t=(), n=(), decode_rate=None)])
    assert "svg" not in read(text).count
    assert "1 of 1 do not count: 500: no" in text


def test_an_interrupted_run_says_so() -> None:
    assert "was interrupted" in page([record(complete=False)])
    assert "was interrupted" not in page([record()])


def test_several_records_share_one_table() -> None:
    reader = read(page([record(), record(gain=2.0)]))
    assert reader.count["table"] == 1
    assert reader.count["svg"] == 10
    assert sum(kind.startswith("own") for kind in reader.kinds) == 8


def test_published_figures_are_the_known_ones() -> None:
    rows = published_rows()
    pairs = {(row.hardware, row.mode, row.workload, row.quantisation): row for row in rows}
    one = pairs["1× gfx906", "n=2", "code_python", "Q4_1"]
    assert one.tokens_per_step == pytest.approx(2.65, abs=0.005)
    assert one.step_cost == pytest.approx(1.76, abs=0.01)
    assert one.speedup == pytest.approx(1.51, abs=0.005)
    short = pairs["2× gfx906, tensor parallel", "n=2", "summarize", "Q4_1"]
    assert short.tokens_per_step == pytest.approx(2.48, abs=0.005)
    strix = pairs["Strix Halo", "n=3", "chat", "Q8_0"]
    assert strix.speedup == pytest.approx(
        2.60, abs=0.005
    )  # decode alone; 2.44 with the first token
    assert strix.e2e == 18.1
