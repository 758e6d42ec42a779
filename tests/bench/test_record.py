"""Records: what is written can be read, and what is none is refused with the place."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
from bench_samples import record, sample

from headlong.bench.record import SCHEMA, json_schema, load, load_folder, save
from headlong.errors import ParameterError

PUBLISHED = Path(__file__).parents[2] / "docs" / "bench-record.schema.json"


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.yml"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    original = record()
    text = 'brackets [1,  2]\nand "quotes", ümläute'
    changed = original.samples[0].model_copy(update={"text": text})
    original = original.model_copy(update={"samples": (changed, *original.samples[1:])})
    save(original, tmp_path / name)
    assert load(tmp_path / name) == original
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_stamps_take_one_line(tmp_path: Path) -> None:
    original = record()
    save(original, tmp_path / "a.json")
    lines = (tmp_path / "a.json").read_text().splitlines()
    assert sum(line.strip().startswith('"t": [') for line in lines) == len(original.samples)
    assert len(lines) < 100 * len(original.samples)


def test_the_published_schema_is_the_one_that_is_checked() -> None:
    assert json.loads(PUBLISHED.read_text()) == json_schema(), (
        "write it anew: headlong bench schema > docs/bench-record.schema.json"
    )


def test_records_satisfy_the_published_schema(tmp_path: Path) -> None:
    save(record(), tmp_path / "a.json")
    fields = json.loads((tmp_path / "a.json").read_text())
    check = jsonschema_rs.validator_for(json.loads(PUBLISHED.read_text()))
    assert check.is_valid(fields)
    fields["samples"][0]["tokens"] = -1
    assert not check.is_valid(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "headlong.bench/9"}, "of schema 'headlong.bench/9'; this version reads"),
        ({"schema": None}, "of schema None"),
        ({"rows": [{}]}, r"rows\.0\.arm: Field required \(and"),
        ({"surprise": 1}, "surprise: Extra inputs"),
    ],
)
def test_what_is_no_record_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "a.json"
    save(record(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ParameterError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "is not well formed"),
        ("a.json", "[1]", "has no field 'schema'"),
        ("a.yaml", "a: [", "line 2, column 1: did not find"),
        ("a.yaml", "ÿ", "has no field 'schema'"),
        ("a.yaml", "\0", "is not well formed YAML: unacceptable character"),
        ("a.txt", "{}", "ends in .json"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ParameterError, match=message):
        load(tmp_path / name)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="holds no records"):
        list(load_folder(tmp_path))
    with pytest.raises(ParameterError, match="no such file or folder"):
        list(load_folder(tmp_path / "nowhere"))
    save(record(), tmp_path / "b.yaml")
    save(record(), tmp_path / "a.json")
    (tmp_path / "notes.txt").write_text("no record")
    assert [path.name for path, _ in load_folder(tmp_path)] == ["a.json", "b.yaml"]


def test_a_figure_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        sample("plain", rate=1.0, ttft=float("inf"))


def test_the_schema_is_named() -> None:
    assert SCHEMA in str(json_schema())
