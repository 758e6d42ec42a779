"""Typed reads: what fits comes back, what does not is named with file, key and what would do."""

import math
import struct
from pathlib import Path

import pytest
from raw_gguf import array, gguf_bytes, key, text, written

from headlong.errors import GGUFError, ModelError, UnsupportedError
from headlong.gguf import GGUFWriter, Metadata, ValueType, open_gguf


@pytest.fixture
def meta(tmp_path: Path) -> Metadata:
    writer = GGUFWriter(tmp_path / "m.gguf")
    for kind in ValueType:
        if "INT" in kind.name:
            writer.add(f"n.{kind.name}", 100, kind)
    writer.add_int8("negative", -5)
    writer.add_uint64("large", (1 << 64) - 1)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 1e-6)
    writer.add_float32("nan", math.nan)
    writer.add_bool("yes", True)
    writer.add_string("arch", "qwen35")
    writer.add_ints("ints", [3, -1, 2])
    writer.add_ints("wide", [0, (1 << 64) - 1], ValueType.UINT64)
    writer.add_floats("scores", [1.0, -math.inf])
    writer.add_bools("layers", [True, False])
    writer.add_strings("tokens", ["a", "", "Ġé"])
    writer.add_strings("none", [])
    writer.write()
    return open_gguf(tmp_path / "m.gguf").metadata


def test_scalars(meta: Metadata) -> None:
    for kind in ValueType:
        if "INT" in kind.name:
            assert meta.require(f"n.{kind.name}", int) == 100
    assert meta.require("negative", int) == -5
    assert meta.require("large", int) == (1 << 64) - 1
    assert meta.require("f32", float) == 0.5
    assert meta.require("f64", float) == 1e-6
    assert meta.require("yes", bool) is True
    assert meta.require("arch", str, choices=("qwen35", "qwen35moe")) == "qwen35"


def test_whole_numbers_do_as_floats_and_come_as_floats(meta: Metadata) -> None:
    value = meta.require("negative", float)
    assert value == -5.0
    assert type(value) is float


def test_arrays(meta: Metadata) -> None:
    assert meta.ints("ints", length=3, minimum=-1, maximum=3) == [3, -1, 2]
    assert meta.ints("wide") == [0, (1 << 64) - 1]
    assert meta.floats("scores") == [1.0, -math.inf]
    assert meta.floats("ints") == [3.0, -1.0, 2.0]
    assert meta.bools("layers") == [True, False]
    assert meta.strings("tokens") == ["a", "", "Ġé"]
    assert meta.strings("none", length=0) == []
    assert meta.is_array("ints")
    assert not meta.is_array("arch")
    assert not meta.is_array("absent")


def test_it_is_a_collection_of_keys_in_file_order(meta: Metadata) -> None:
    assert "arch" in meta
    assert "absent" not in meta
    assert len(meta) == len(list(meta))
    assert list(meta)[-2:] == ["tokens", "none"]


def test_default_only_where_the_key_is_missing(meta: Metadata) -> None:
    assert meta.get("absent", int, None) is None
    assert meta.get("absent", int, 4, minimum=100) == 4
    assert meta.get("negative", int, 4) == -5
    with pytest.raises(ModelError, match="arch is STRING 'qwen35', but must be an integer"):
        meta.get("arch", int, 4)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("absent", int, "metadata key absent is missing"),
        ("arch", int, "arch is STRING 'qwen35', but must be an integer"),
        ("yes", int, "yes is BOOL True, but must be an integer"),
        ("f32", int, "f32 is FLOAT32 0.5, but must be an integer"),
        ("negative", bool, "negative is INT8 -5, but must be a boolean"),
        ("negative", str, "negative is INT8 -5, but must be a string"),
        ("yes", float, "yes is BOOL True, but must be a number"),
        ("nan", float, "nan is nan, but must be finite"),
        ("ints", int, "ints is an array of 3 INT32, but must be an integer"),
        ("tokens", str, "tokens is an array of 3 STRING, but must be a string"),
    ],
)
def test_wrong_scalars_are_named(meta: Metadata, name: str, kind: type, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        meta.require(name, kind)
    assert str(meta.path) in str(caught.value)


def test_bounds_and_choices_are_named(meta: Metadata) -> None:
    with pytest.raises(ModelError, match="negative is -5, but must be at least 1"):
        meta.require("negative", int, minimum=1)
    with pytest.raises(ModelError, match=r"large is 18446744073709551615, but .* at most 4096"):
        meta.require("large", int, minimum=1, maximum=4096)
    with pytest.raises(ModelError, match=r"f32 is 0\.5, but must be at most 0\.25"):
        meta.require("f32", float, maximum=0.25)
    with pytest.raises(UnsupportedError, match=r"arch is 'qwen35', which .* Supported: a, b"):
        meta.require("arch", str, choices=["a", "b"])
    with pytest.raises(ModelError, match="ints is -1, but must be at least 0"):
        meta.ints("ints", minimum=0)
    with pytest.raises(ModelError, match="ints is 3, but must be at most 2"):
        meta.ints("ints", maximum=2)


def test_wrong_arrays_are_named(meta: Metadata) -> None:
    with pytest.raises(ModelError, match=r"scores is an array of 2 FLOAT32, .* array of integers"):
        meta.ints("scores")
    with pytest.raises(ModelError, match=r"tokens is an array of 3 STRING, .* array of numbers"):
        meta.floats("tokens")
    with pytest.raises(ModelError, match=r"ints is an array of 3 INT32, .* array of booleans"):
        meta.bools("ints")
    with pytest.raises(ModelError, match=r"arch is STRING 'qwen35', .* array of strings"):
        meta.strings("arch")
    with pytest.raises(ModelError, match="metadata key absent is missing"):
        meta.strings("absent")
    with pytest.raises(ModelError, match="tokens has 3 elements, but 4 are needed"):
        meta.strings("tokens", length=4)


def test_damage_inside_arrays_is_found_when_they_are_read(tmp_path: Path) -> None:
    content = gguf_bytes(
        [
            array("flags", 7, 3, b"\0\1\2"),
            array("words", 8, 2, text("ok") + text(b"\xff")),
        ]
    )
    with open_gguf(written(tmp_path, content)) as file:
        with pytest.raises(GGUFError, match="key flags: 2 is not a boolean"):
            file.metadata.bools("flags")
        with pytest.raises(GGUFError, match="key words: element 1 is not UTF-8"):
            file.metadata.strings("words")


def test_values_can_be_copied_in_their_encoding(meta: Metadata, tmp_path: Path) -> None:
    copy = GGUFWriter(tmp_path / "copy.gguf")
    for name in meta:
        copy.add_encoded(name, *meta.encoded(name))
    copy.write()
    assert (tmp_path / "copy.gguf").read_bytes() == meta.path.read_bytes()


def test_long_values_are_shortened_in_messages(tmp_path: Path) -> None:
    content = gguf_bytes(
        [key("template", 8, text("x" * 10_000)), key("n", 4, struct.pack("<I", 1))]
    )
    with open_gguf(written(tmp_path, content)) as file, pytest.raises(ModelError) as caught:
        file.metadata.require("template", int)
    assert len(str(caught.value)) < len(str(tmp_path)) + 200
