"""Rows as text: columns line up, Markdown and CSV are well formed and say the same."""

from __future__ import annotations

import csv
import io

import pytest
from bench_samples import arm, host, prompt, record, run, sample

from headlong.bench.provenance import make_record
from headlong.bench.tables import csv_text, markdown_lines, terminal_lines


def test_terminal() -> None:
    lines = list(terminal_lines(record()))
    assert lines[0] == "machine  Some Processor, 2 cores, reads 30.0 GB/s"
    head = next(line for line in lines if line.startswith("arm "))
    row = next(line for line in lines if line.startswith("n=2 "))
    assert row.index("chat") == head.index("workload")
    assert row[: head.index("tok/s") + 5].endswith("15.1 ±0.1")
    assert "1.50 [1.50–1.50]" in row
    assert any("here: n=2 is the best mode" in line for line in lines)


def test_flags_are_told() -> None:
    samples = [sample("p|ain", repeat=i, cached_tokens=50) for i in range(2)]
    one = make_record(run(complete=False), host(), (arm("p|ain", 0),), (prompt("chat"),), samples)
    assert any(
        line.startswith("! p|ain, chat, cold, 1 stream: not") for line in terminal_lines(one)
    )
    text = "\n".join(markdown_lines(one))
    assert "interrupted" in text
    assert "| p\\|ain ⚠ |" in text
    assert "- ⚠ p|ain, chat, cold, 1 stream: not cold" in text


def test_markdown_is_a_table() -> None:
    lines = [line for line in markdown_lines(record()) if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert {line.count("|") for line in lines} == {14}


def test_csv_holds_every_figure() -> None:
    one = record()
    rows = list(csv.DictReader(io.StringIO(csv_text([one, one]))))
    assert len(rows) == 2 * len(one.rows)
    assert rows[1]["arm"] == "n=2"
    assert float(rows[1]["speedup"]) == pytest.approx(1.5)
    assert rows[0]["speedup"] == rows[0]["speedup_low"] == ""
    assert rows[1]["by_depth"] == "160/200 120/200"
    assert all(None not in row and None not in row.values() for row in rows)


def test_csv_of_nothing() -> None:
    assert csv_text([]) == ""
