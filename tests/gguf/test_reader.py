"""Whole files read back; damaged ones give one clear error each."""

import os
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from raw_gguf import array, gguf_bytes, key, tensor, text, u32, written

from headlong.errors import GGUFError
from headlong.gguf import GGMLType, GGUFFile, GGUFWriter, open_gguf, quantise
from headlong.gguf import reader as reader_module

VOCABULARY = Path(__file__).parents[3] / "shared/data/qwen35/ggml-vocab-qwen35.gguf"

WEIGHTS = np.random.default_rng(0).standard_normal((6, 256)).astype(np.float32)


def model(path: Path, alignment: int = 32) -> Path:
    writer = GGUFWriter(path, alignment=alignment)
    writer.add_string("general.architecture", "qwen35")
    writer.add_strings("tokenizer.ggml.tokens", ["a", "Ġb", ""])
    writer.add_tensor("norm", WEIGHTS[0])
    writer.add_tensor("matrix", WEIGHTS, GGMLType.Q4_K)
    writer.add_tensor("cube", WEIGHTS.reshape(3, 2, 256), GGMLType.F16)
    writer.write()
    return path


@pytest.mark.parametrize("alignment", [1, 32, 8192])
def test_tensors_read_back(tmp_path: Path, alignment: int) -> None:
    path = model(tmp_path / "m.gguf", alignment)
    with open_gguf(path) as file:
        assert file.path == path
        assert file.paths == (path,)
        assert file.size == path.stat().st_size
        assert file.version == 3
        assert file.alignment == alignment
        assert list(file.tensors) == ["norm", "matrix", "cube"]
        cube = file.tensors["cube"]
        assert (cube.shape, cube.cols, cube.rows, cube.elements) == ((256, 2, 3), 256, 6, 1536)
        assert cube.type is GGMLType.F16
        assert cube.nbytes == 3072
        assert cube.offset % alignment == 0
        np.testing.assert_array_equal(file.data("matrix"), quantise(WEIGHTS, GGMLType.Q4_K))
        np.testing.assert_array_equal(file.data("norm").view("<f4"), WEIGHTS[0])
        assert not file.data("norm").flags.writeable
        file.release("matrix")
        np.testing.assert_array_equal(file.data("matrix"), quantise(WEIGHTS, GGMLType.Q4_K))


def test_files_of_the_reference_writer_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "qwen35")
    writer.add_uint32("qwen35.block_count", 7)
    writer.add_array("tokenizer.ggml.tokens", ["x", "y"])
    writer.add_tensor("t", WEIGHTS)
    quants = gguf.quants.quantize(WEIGHTS, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("q", quants, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_gguf(path) as file:
        assert file.metadata.require("qwen35.block_count", int) == 7
        assert file.metadata.strings("tokenizer.ggml.tokens") == ["x", "y"]
        np.testing.assert_array_equal(file.data("t").view("<f4").reshape(6, 256), WEIGHTS)
        assert file.tensors["q"].type is GGMLType.Q8_0
        np.testing.assert_array_equal(file.data("q"), quants.reshape(-1))


def test_version_2_is_read(tmp_path: Path) -> None:
    content = gguf_bytes([u32("a", 5)], [tensor("t", (4,))], 16, version=2)
    with open_gguf(written(tmp_path, content)) as file:
        assert file.version == 2
        assert file.metadata.require("a", int) == 5
        assert file.data("t").tolist() == [0] * 16


def strings_at(content: bytes, at: int) -> list[str]:
    """The string array whose element type lies at `at`, read one length after the other."""
    element, count = struct.unpack_from("<IQ", content, at)
    assert element == 8
    at += 12
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", content, at)
        found.append(content[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return found


def test_a_real_vocabulary_is_read() -> None:
    if not VOCABULARY.exists():
        pytest.skip(f"{VOCABULARY} is not there")
    content = VOCABULARY.read_bytes()
    with open_gguf(VOCABULARY) as file:
        for name in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges"):
            wanted = strings_at(content, content.index(name.encode()) + len(name) + 4)
            assert len(wanted) > 100_000
            assert file.metadata.strings(name) == wanted
        assert file.metadata.require("tokenizer.ggml.pre", str) == "qwen35"
        assert len(file.tensors) == 0


def test_views_outlive_the_file_and_nothing_else_does(tmp_path: Path) -> None:
    file = open_gguf(model(tmp_path / "m.gguf"))
    view = file.data("norm")
    file.close()
    file.close()
    np.testing.assert_array_equal(view.view("<f4"), WEIGHTS[0])
    with pytest.raises(GGUFError, match="is closed: read tensor norm"):
        file.data("norm")
    with pytest.raises(GGUFError, match="is closed"):
        file.release("norm")


def test_arrays_of_a_closed_file_are_gone(tmp_path: Path) -> None:
    file = open_gguf(model(tmp_path / "m.gguf"))
    file.close()
    assert file.metadata.require("general.architecture", str) == "qwen35"
    with pytest.raises(GGUFError, match="is closed: read its metadata"):
        file.metadata.strings("tokenizer.ggml.tokens")


def test_unknown_tensors_are_named(tmp_path: Path) -> None:
    file = open_gguf(model(tmp_path / "m.gguf"))
    with file, pytest.raises(GGUFError, match=r"m\.gguf: there is no tensor blk\.0\.x"):
        file.data("blk.0.x")


# --- What is not a file to map


def test_missing_files_folders_pipes_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match=r"cannot open .*none\.gguf: No such file"):
        open_gguf(tmp_path / "none.gguf")
    with pytest.raises(GGUFError, match="is a folder"):
        open_gguf(tmp_path)
    with pytest.raises(GGUFError, match="cannot open"):
        open_gguf("a\0b.gguf")
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    with pytest.raises(GGUFError, match="not a regular file"):
        open_gguf(pipe)
    with pytest.raises(GGUFError, match="is empty"):
        open_gguf(written(tmp_path, b""))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"GG", "not a GGUF file: it starts with b'GG'"),
        (b"\0" * 64, "not a GGUF file"),
        (b"lmgg" + bytes(64), "older GGML format"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "HTML page"),
        (b"PK\x03\x04" + bytes(64), "ZIP"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<III", 1, 0, 0), "version 1 is not read"),
        (b"GGUF" + struct.pack("<IQQ", 0, 0, 0), "version 0 is not known"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4 is not known"),
        (b"GGUF\3\0\0", "ends inside the version"),
        (b"GGUF\3\0\0\0\0", "ends inside the number of tensors"),
    ],
)
def test_other_files_are_refused_by_what_they_are(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(GGUFError, match=reason) as caught:
        open_gguf(path)
    assert str(caught.value).startswith(f"{path}: ")


# --- Damage, one kind each

HUGE = (1 << 64) - 1
F32_ROW = tensor("t", (4,))

DAMAGED = {
    "key count beyond the file": (gguf_bytes(key_count=HUGE), "18446744073709551615 metadata keys"),
    "tensor count beyond the file": (gguf_bytes(tensor_count=1 << 40), "1099511627776 tensors"),
    "key length beyond the file": (
        gguf_bytes([text("abc", length=HUGE) + bytes(16)]),
        "ends inside metadata key 0",
    ),
    "empty key": (gguf_bytes([u32("", 1)]), "metadata key 0 is empty"),
    "key not UTF-8": (gguf_bytes([key(b"\xff\xfe", 4, bytes(4))]), "metadata key 0 is not UTF-8"),
    "key twice": (gguf_bytes([u32("a", 1), u32("a", 2)]), "metadata key a is there twice"),
    "unknown value type": (gguf_bytes([key("a", 13, bytes(8))]), "key a has .* type 13"),
    "boolean of 2": (gguf_bytes([key("a", 7, b"\2")]), "key a: 2 is not a boolean"),
    "value cut": (gguf_bytes([key("abcdef", 10, b"1234")]), "ends inside metadata key abcdef"),
    "string not UTF-8": (gguf_bytes([key("a", 8, text(b"\xc3("))]), "key a is not UTF-8"),
    "string length beyond the file": (
        gguf_bytes([key("a", 8, text("x", length=1 << 62))]),
        "ends inside metadata key a",
    ),
    "array count beyond the file": (
        gguf_bytes([array("a", 4, HUGE, bytes(64))]),
        "18446744073709551615 values in metadata key a",
    ),
    "string count beyond the file": (
        gguf_bytes([array("a", 8, 1 << 61, bytes(64))]),
        "strings in metadata key a",
    ),
    "string array cut": (
        gguf_bytes([array("a", 8, 2, text("x") + text("y", length=100))]),
        "ends inside metadata key a",
    ),
    "string array led far away": (
        gguf_bytes([array("a", 8, 3, text("x", length=HUGE) + bytes(64))]),
        "ends inside metadata key a, element 1",
    ),
    "array of unknown type": (gguf_bytes([array("a", 99, 1, bytes(8))]), "key a has .* type 99"),
    "array of arrays": (
        gguf_bytes([array("a", 9, 1, struct.pack("<IQ", 4, 0))]),
        "array of arrays",
    ),
    "alignment of 0": (gguf_bytes([u32("general.alignment", 0)]), "not a power of two"),
    "alignment of 48": (gguf_bytes([u32("general.alignment", 48)]), "is 48, not a power of two"),
    "alignment as text": (
        gguf_bytes([key("general.alignment", 8, text("32"))]),
        "general.alignment is STRING, not an integer",
    ),
    "alignment as array": (
        gguf_bytes([array("general.alignment", 4, 1, bytes(4))]),
        "general.alignment is ARRAY, not an integer",
    ),
    "alignment as boolean": (
        gguf_bytes([key("general.alignment", 7, b"\1")]),
        "general.alignment is BOOL, not an integer",
    ),
    "negative alignment": (
        gguf_bytes([key("general.alignment", 5, struct.pack("<i", -32))]),
        "is -32, not a power of two",
    ),
    "tensor description cut": (
        gguf_bytes([u32("padding", 0)], [F32_ROW])[:-20],
        "ends inside tensor t",
    ),
    "tensor without name": (gguf_bytes([], [tensor("", (4,))], 16), "tensor 0 has an empty name"),
    "tensor name not UTF-8": (gguf_bytes([], [tensor(b"\x80", (4,))], 16), "tensor 0 is not UTF-8"),
    "tensor twice": (gguf_bytes([], [F32_ROW, F32_ROW], 64), "tensor t is there twice"),
    "no dimensions": (gguf_bytes([], [tensor("t", ())], 64), "tensor t has 0 dimensions"),
    "five dimensions": (
        gguf_bytes([], [tensor("t", (1, 1, 1, 1, 1))], 64),
        "tensor t has 5 dimensions",
    ),
    "four billion dimensions": (
        gguf_bytes([], [tensor("t", (1,), dims=0xFFFFFFFF)], 64),
        "tensor t has 4294967295 dimensions",
    ),
    "dimension of 0": (gguf_bytes([], [tensor("t", (4, 0))], 64), "tensor t .* size 0"),
    "unknown tensor type": (gguf_bytes([], [tensor("t", (4,), 77)], 64), r"type 77 \(not known\)"),
    "removed tensor type": (gguf_bytes([], [tensor("t", (32,), 31)], 64), r"type 31 \(Q4_0_4_4"),
    "foreign tensor type": (gguf_bytes([], [tensor("t", (256,), 139)], 64), r"139 \(IQ4_K of ik"),
    "row not whole blocks": (
        gguf_bytes([], [tensor("t", (128,), 12)], 144),
        "rows of 128 elements are not whole Q4_K blocks of 256",
    ),
    "offset not aligned": (
        gguf_bytes([], [tensor("t", (4,), 0, 16)], 64),
        "tensor t lies at offset 16, not a multiple of the alignment 32",
    ),
    "sizes that overflow": (
        gguf_bytes([], [tensor("t", (1 << 63, 1 << 63, 1 << 63))], 64),
        "tensor t ends at byte",
    ),
    "sizes that wrap to nothing": (
        gguf_bytes([], [tensor("t", (1 << 32, 1 << 32))], 64),
        "tensor t ends at byte",
    ),
    "offset beyond the file": (
        gguf_bytes([], [tensor("t", (4,), 0, 1 << 63)], 64),
        "tensor t ends at byte",
    ),
    "data cut": (gguf_bytes([], [F32_ROW], 15), "tensor t ends at byte .* the file has"),
    "data overlap": (
        gguf_bytes([], [tensor("a", (16,)), tensor("b", (4,), 0, 32)], 64),
        "tensors a and b overlap",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    content, reason = DAMAGED[name]
    path = written(tmp_path, content)
    with pytest.raises(GGUFError, match=reason) as caught:
        open_gguf(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message) < 400


def test_every_cut_of_a_whole_file_is_refused(tmp_path: Path) -> None:
    content = model(tmp_path / "m.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    data = content.rindex(WEIGHTS.astype("<f2").tobytes()) + WEIGHTS.size * 2
    cuts = [*range(0, 400), *range(400, data, 97), data - 1]
    for cut in cuts:
        path.write_bytes(content[:cut])
        with pytest.raises(GGUFError):
            open_gguf(path)
    path.write_bytes(content[:data])  # only the padding after the last tensor is gone
    open_gguf(path).close()


def test_a_failed_open_leaves_no_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    true_map = reader_module._map

    def recording(path: Path) -> object:
        made.append(true_map(path))
        return made[-1]

    monkeypatch.setattr(reader_module, "_map", recording)
    with pytest.raises(GGUFError):
        open_gguf(written(tmp_path, gguf_bytes(key_count=HUGE)))
    split_model(tmp_path, 2)[1].write_bytes(gguf_bytes([u32("split.count", 3)]))
    with pytest.raises(GGUFError):
        open_gguf(tmp_path / "big-00001-of-00002.gguf")
    assert len(made) == 4
    assert all(mapping.closed for mapping in made)


# --- Split models


def split_model(folder: Path, count: int) -> list[Path]:
    """Parts with one tensor each; part k's tensor is filled with k."""
    paths = []
    for index in range(count):
        path = folder / f"big-{index + 1:05}-of-{count:05}.gguf"
        writer = GGUFWriter(path)
        if index == 0:
            writer.add_string("general.architecture", "qwen35")
        writer.add_uint16("split.no", index)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", count)
        writer.add_tensor(f"t{index}", np.full(8, index, np.float32))
        writer.write()
        paths.append(path)
    return paths


def check_split(file: GGUFFile, paths: list[Path]) -> None:
    assert file.paths == tuple(paths)
    assert file.path == paths[0]
    assert file.size == sum(path.stat().st_size for path in paths)
    assert file.metadata.require("general.architecture", str) == "qwen35"
    for index in range(len(paths)):
        assert file.tensors[f"t{index}"].part == index
        assert set(file.data(f"t{index}").view("<f4").tolist()) == {index}
        file.release(f"t{index}")


@pytest.mark.parametrize("given", [0, 1, 2])
def test_a_split_model_opens_from_any_part(tmp_path: Path, given: int) -> None:
    paths = split_model(tmp_path, 3)
    with open_gguf(paths[given]) as file:
        check_split(file, paths)


def test_one_part_of_one_is_a_plain_file(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 1)
    renamed = paths[0].rename(tmp_path / "any-name.gguf")
    with open_gguf(renamed) as file:
        assert file.paths == (renamed,)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 3)
    paths[1].unlink()
    for given in (0, 2):
        with pytest.raises(
            GGUFError, match=r"part 2 of 3 is missing: .*00002-of-00003\.gguf.*1 missing"
        ):
            open_gguf(paths[given])


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 2)
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    with pytest.raises(GGUFError, match=r"00002-of-00002\.gguf: tensor t1 ends"):
        open_gguf(paths[0])


def test_renamed_and_mixed_parts_are_named(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 2)
    odd = paths[0].with_name("model.gguf")
    odd.write_bytes(paths[0].read_bytes())
    with pytest.raises(GGUFError, match=r"one of 2 parts .* name does not say so"):
        open_gguf(odd)
    first = paths[0].read_bytes()
    paths[0].write_bytes(paths[1].read_bytes())
    paths[1].write_bytes(first)
    with pytest.raises(GGUFError, match=r"says it is part 1 \(from 0\) of 2.*part 0 of 2"):
        open_gguf(paths[0])


def test_parts_of_different_models_do_not_mix(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 2)

    def second(tensor_name: str, total: int) -> None:
        writer = GGUFWriter(paths[1])
        writer.add_uint16("split.no", 1)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", total)
        writer.add_tensor(tensor_name, np.ones(8, np.float32))
        writer.add_tensor("more", np.ones(8, np.float32))
        writer.write()

    second("t1", 3)
    with pytest.raises(GGUFError, match=r"hold 3 tensors, but split\.tensors\.count is 2"):
        open_gguf(paths[0])
    split_model(tmp_path, 2)
    first = gguf_bytes(
        [u32("split.no", 0), u32("split.count", 2), u32("split.tensors.count", 2)],
        [tensor("t1", (4,))],
        32,
    )
    paths[0].write_bytes(first)
    with pytest.raises(GGUFError, match="tensor t1 is also in"):
        open_gguf(paths[0])
