"""What GGUFWriter writes, the format's own reader understands; what fails leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from headlong.errors import GGUFError, UnsupportedError
from headlong.gguf import GGMLType, GGUFWriter, ValueType, open_gguf, quantise


def rows(count: int, cols: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, cols)).astype(np.float32)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("alignment", [32, 1, 64, 4096])
def test_metadata_and_tensors_read_back_by_the_reference_reader(
    tmp_path: Path, alignment: int
) -> None:
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, alignment=alignment)
    scalars = {
        "u8": (200, ValueType.UINT8),
        "i8": (-100, ValueType.INT8),
        "u16": (60000, ValueType.UINT16),
        "i16": (-30000, ValueType.INT16),
        "u32": (4_000_000_000, ValueType.UINT32),
        "i32": (-2_000_000_000, ValueType.INT32),
        "u64": (1 << 63, ValueType.UINT64),
        "i64": (-(1 << 63), ValueType.INT64),
        "f32": (0.5, ValueType.FLOAT32),
        "f64": (1e-300, ValueType.FLOAT64),
        "yes": (True, ValueType.BOOL),
        "no": (False, ValueType.BOOL),
        "text": ("größer\x00 als 🙂", ValueType.STRING),
        "empty": ("", ValueType.STRING),
    }
    for key, (value, kind) in scalars.items():
        writer.add(key, value, kind)
    writer.add_strings("tokens", ["a", "", "Ġthe", "\n"])
    writer.add_ints("ints", [1, -2, 3])
    writer.add_floats("floats", np.arange(4, dtype=np.float64))
    writer.add_bools("flags", [True, False, True])
    weights = rows(3, 64)
    writer.add_tensor("f32", weights)
    writer.add_tensor("f16", weights, GGMLType.F16)
    writer.add_tensor("raw", quantise(weights, GGMLType.Q8_0), GGMLType.Q8_0, (64, 3))
    writer.add_tensor("vector", np.ones(5, np.float32))
    writer.add_tensor("cube", weights.reshape(3, 2, 32), GGMLType.Q4_0)

    def row_by_row() -> Iterator[np.ndarray]:
        yield from weights

    writer.add_tensor_stream("stream", row_by_row, GGMLType.F32, (64, 3))
    size = writer.write()

    assert size == path.stat().st_size
    assert size % alignment == 0
    assert leftovers(tmp_path) == ["model.gguf"]
    reader = gguf.GGUFReader(path)
    found = {key: field.contents() for key, field in reader.fields.items()}
    assert {key: found[key] for key in scalars} == {key: v for key, (v, _) in scalars.items()}
    assert found["tokens"] == ["a", "", "Ġthe", "\n"]
    assert found["ints"] == [1, -2, 3]
    assert found["floats"] == [0, 1, 2, 3]
    assert found["flags"] == [True, False, True]
    assert found.get("general.alignment", 32) == alignment
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert list(tensors) == ["f32", "f16", "raw", "vector", "cube", "stream"]
    assert all(tensor.data_offset % alignment == 0 for tensor in tensors.values())
    assert list(tensors["cube"].shape) == [32, 2, 3]
    np.testing.assert_array_equal(tensors["f32"].data, weights)
    np.testing.assert_array_equal(tensors["stream"].data, weights)
    np.testing.assert_array_equal(tensors["f16"].data, weights.astype(np.float16))
    np.testing.assert_array_equal(
        tensors["raw"].data, gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
    )


def test_an_existing_file_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"before")
    writer = GGUFWriter(path)

    def breaks() -> Iterator[bytes]:
        yield bytes(8)
        raise KeyboardInterrupt

    writer.add_tensor_stream("t", breaks, GGMLType.F32, (4,))
    with pytest.raises(KeyboardInterrupt):
        writer.write()
    assert path.read_bytes() == b"before"
    assert leftovers(tmp_path) == ["model.gguf"]
    whole = GGUFWriter(path)
    whole.add_uint32("a", 1)
    whole.write()
    assert path.read_bytes()[:4] == b"GGUF"
    assert leftovers(tmp_path) == ["model.gguf"]


@pytest.mark.parametrize("size", [12, 20])
def test_a_stream_of_the_wrong_length_is_refused(tmp_path: Path, size: int) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf")
    writer.add_tensor_stream("blk.0.x", lambda: [bytes(size)], GGMLType.F32, (4,))
    with pytest.raises(GGUFError, match=r"tensor blk\.0\.x: its stream gave .* 16 bytes"):
        writer.write()
    assert leftovers(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match=r"cannot write .*nowhere.*No such file"):
        GGUFWriter(tmp_path / "nowhere" / "model.gguf").write()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (256, ValueType.UINT8),
        (-1, ValueType.UINT64),
        (1 << 64, ValueType.UINT64),
        (1.5, ValueType.INT32),
        (True, ValueType.INT32),
        (1, ValueType.BOOL),
        ("1", ValueType.FLOAT32),
        (1, ValueType.STRING),
        ("\ud800", ValueType.STRING),
        (1, ValueType.ARRAY),
    ],
)
def test_values_that_do_not_fit_their_type_are_refused(
    tmp_path: Path, value: int | float | str, kind: ValueType
) -> None:
    with pytest.raises(GGUFError, match=r"metadata key some\.key"):
        GGUFWriter(tmp_path / "m.gguf").add("some.key", value, kind)


@pytest.mark.parametrize(
    ("values", "element"),
    [
        ([1, 300], ValueType.UINT8),
        ([1, "a"], ValueType.STRING),
        ([[1], [2]], ValueType.INT32),
        ([1], ValueType.ARRAY),
    ],
)
def test_arrays_that_do_not_fit_their_type_are_refused(
    tmp_path: Path, values: list[int], element: ValueType
) -> None:
    with pytest.raises(GGUFError, match=r"metadata key some\.key"):
        GGUFWriter(tmp_path / "m.gguf").add_array("some.key", values, element)


def test_keys_and_names_are_checked(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf")
    writer.add_uint32("a", 1)
    with pytest.raises(GGUFError, match="metadata key a is added twice"):
        writer.add_uint32("a", 1)
    with pytest.raises(GGUFError, match="cannot be a metadata key"):
        writer.add_uint32("", 1)
    with pytest.raises(GGUFError, match="alignment="):
        writer.add_uint32("general.alignment", 64)
    writer.add_tensor("t", np.ones(2, np.float32))
    with pytest.raises(GGUFError, match="tensor t is added twice"):
        writer.add_tensor("t", np.ones(2, np.float32))
    with pytest.raises(GGUFError, match="cannot be a tensor name"):
        writer.add_tensor("é" * 32, np.ones(2, np.float32))
    with pytest.raises(GGUFError, match="not a power of two"):
        GGUFWriter(tmp_path / "m.gguf", alignment=48)


def test_tensors_are_checked(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf")
    with pytest.raises(GGUFError, match=r"tensor t: a row of 40 .* Q8_0"):
        writer.add_tensor("t", rows(2, 40), GGMLType.Q8_0)
    with pytest.raises(GGUFError, match="tensor t: encoded blocks need a shape"):
        writer.add_tensor("t", bytes(34), GGMLType.Q8_0)
    with pytest.raises(GGUFError, match="tensor t: 33 bytes given, but Q8_0"):
        writer.add_tensor("t", bytes(33), GGMLType.Q8_0, (32,))
    with pytest.raises(GGUFError, match="tensor t: 8 elements do not make the shape"):
        writer.add_tensor("t", np.ones(8, np.float32), GGMLType.F32, (3, 3))
    with pytest.raises(GGUFError, match="1 to 4 sizes"):
        writer.add_tensor("t", np.ones((1,) * 5, np.float32))
    with pytest.raises(GGUFError, match="tensor t"):
        writer.add_tensor("t", np.ones((0, 4), np.float32))
    with pytest.raises(GGUFError, match="tensor t: an array of int64"):
        writer.add_tensor("t", np.ones(4, np.int64))
    with pytest.raises(UnsupportedError, match="tensor t: there is no encoder for IQ2_XXS"):
        writer.add_tensor("t", rows(1, 256), GGMLType.IQ2_XXS)


def test_metadata_can_be_copied_from_another_file(tmp_path: Path) -> None:
    first = GGUFWriter(tmp_path / "a.gguf", alignment=64)
    first.add_string("general.architecture", "qwen35")
    first.add_uint16("split.count", 1)
    first.add_uint32("qwen35.block_count", 24)
    first.add_strings("tokenizer.ggml.tokens", ["a", "b"])
    first.write()
    with open_gguf(tmp_path / "a.gguf") as source:
        second = GGUFWriter(tmp_path / "b.gguf")
        second.copy_metadata(source.metadata, leave_out={"qwen35.block_count"})
        second.add_uint32("qwen35.block_count", 25)
        with pytest.raises(GGUFError, match=r"general\.architecture is added twice"):
            second.copy_metadata(source.metadata)
    second.write()
    with open_gguf(tmp_path / "b.gguf") as copy:
        assert list(copy.metadata) == [
            "general.architecture",
            "tokenizer.ggml.tokens",
            "qwen35.block_count",
        ]
        assert copy.metadata.require("qwen35.block_count", int) == 25
        assert copy.metadata.strings("tokenizer.ggml.tokens") == ["a", "b"]
        assert copy.alignment == 32


def test_arrays_of_numpy_values_are_written(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf")
    writer.add_ints("bytes", np.array([1, 255], np.int64), ValueType.UINT8)
    writer.add_array("flags", np.array([True, False]), ValueType.BOOL)
    writer.add_floats("mixed", [1, 0.5, np.float32(2)])
    with pytest.raises(GGUFError, match="metadata key two: ndarray of 2 does not fit INT32"):
        writer.add_ints("two", np.zeros((2, 2), np.int32))
    writer.write()
    with open_gguf(tmp_path / "m.gguf") as file:
        assert file.metadata.ints("bytes") == [1, 255]
        assert file.metadata.bools("flags") == [True, False]
        assert file.metadata.floats("mixed") == [1.0, 0.5, 2.0]
