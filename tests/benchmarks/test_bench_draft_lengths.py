"""The benchmark of draft lengths: turns, ratios, and what is written down."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from benchmarks.draft_lengths import FileLengths, Length, Report, load, main, summary
from benchmarks.draft_lengths_chart import draw

from headlong.models.rehearsal import Rehearsal
from headlong.tools.synth import find_mix, write_rehearsal
from headlong.tools.tune_model import AUTO
from rehearsal_sizes import TIED
from tiny import Chain, TinySpec, write_tiny


def report_of(*files: FileLengths) -> Report:
    return Report({"processor": "a <processor>", "threads": 2}, files)


def file_of(name: str = "one.gguf", accept: float | None = 0.8) -> FileLengths:
    return FileLengths(
        name=name,
        when="2026-01-01T00:00:00+00:00",
        accept=accept,
        tokens=96,
        identical=True,
        lengths=(
            Length(0, (10.0, 20.0, 11.0), 0.0, 1.0),
            Length(1, (15.0, 30.0, 15.0), 1.0, 1.8),
            Length(2, (14.0, 31.0, 14.0), 2.0, 2.1),
            Length(AUTO, (15.0, 33.0, 14.4), 1.3, 1.9),
        ),
    )


def test_ratios_are_taken_turn_by_turn() -> None:
    """In the second turn the machine was twice as fast for all: no ratio moves."""
    file = file_of()
    assert file.best.draft == 1
    ratio = file.ratio(file.best)
    assert ratio.median == pytest.approx(1.0)
    assert (ratio.low, ratio.high) == pytest.approx((0.96, 1.1))
    assert "1.000 x best [0.960, 1.100]" in summary(file)
    assert "1.500 x plain" in summary(file)


def test_a_report_is_read_back_and_files_take_their_place(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lengths.json"
    report = report_of(file_of("c", 0.9)).with_file(file_of("bundled", None))
    report = report.with_file(file_of("b", 0.3))
    report.save(path)
    assert load(path) == report
    assert [file.name for file in report.files] == ["b", "c", "bundled"]
    again = report.with_file(file_of("c", 0.9))
    assert again == report
    fields = json.loads(path.read_text())["files"][0]
    assert fields["best"] == 1
    assert fields["auto_to_plain"]["median"] == pytest.approx(1.5)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1}'])
def test_something_else_than_a_report(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="no report of schema 1"):
        load(path)


def test_the_chart_shows_every_file_and_length() -> None:
    root = ElementTree.fromstring(draw(report_of(file_of(), file_of("bundled.gguf", None))))
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "80 % of drafts right" in words
    assert "bundled" in words
    assert words.count("auto: 1.50 x plain, 1.000 x best") == 2
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 6
    heights = [float(e.attrib["cy"]) for e in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert heights[1] == min(heights[:3])  # the fastest stands highest


def test_files_are_measured_one_after_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = write_tiny(tmp_path / "chain.gguf", TinySpec(chain=Chain(), printable=True)).path
    made_up = tmp_path / "made-up.gguf"
    write_rehearsal(made_up, TIED, find_mix("Q8_0"), Rehearsal(0.7))
    out = tmp_path / "lengths.json"
    few = ["--tokens", "12", "--repeats", "2", "--max-draft", "2", "--threads", "1"]
    assert main([str(trained), *few, "--out", str(out)]) == 0
    assert main([str(made_up), *few, "--out", str(out)]) == 0
    assert "auto" in capsys.readouterr().out
    report = load(out)
    assert [file.accept for file in report.files] == [0.7, None]
    for file in report.files:
        assert file.identical
        assert [one.draft for one in file.lengths] == [0, 1, 2, AUTO]
        assert all(len(one.rates) == 2 for one in file.lengths)
        assert file.lengths[2].drafted > file.lengths[1].drafted > file.lengths[0].drafted == 0
    assert out.with_suffix(".svg").exists()


def test_what_cannot_be_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lengths.json"
    assert main([str(tmp_path / "absent.gguf"), "--out", str(out)]) == 1
    assert "absent.gguf" in capsys.readouterr().err
    report_of(file_of()).save(out)  # of a machine that is not this one
    assert main([str(tmp_path / "absent.gguf"), "--out", str(out)]) == 1
    assert "another machine" in capsys.readouterr().err
