"""Files with random damage: one clear error, or a file all of whose views can be read.

A small whole model is mutated (bytes flipped, pieces cut out, copied or moved, eight- and four-byte
fields replaced by boundary values), opened, and read through to the end. Nothing but the project's
own errors may come out, and memory must stay within a small multiple of the file.
"""

import struct
import tracemalloc
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from raw_gguf import array, gguf_bytes, tensor, text, u32

from headlong.errors import GGUFError, HeadlongError
from headlong.gguf import DECODABLE, GGMLType, GGUFWriter, dequantise, open_gguf

# A header of a few hundred bytes costs Python objects of a few hundred bytes for each of its keys
# and tensors, and importing and tracing cost a constant.
MEMORY_BASE = 1 << 20
MEMORY_PER_BYTE = 64

WIDE = [0, 1, 2, 31, 33, 255, 1 << 31, 1 << 32, (1 << 62) + 32, 1 << 63, (1 << 64) - 1]
NARROW = [0, 1, 4, 5, 8, 9, 13, 31, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def whole_model(folder: Path) -> bytes:
    weights = np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256)
    writer = GGUFWriter(folder / "whole.gguf", alignment=64)
    writer.add_string("general.architecture", "qwen35")
    writer.add_uint32("qwen35.block_count", 2)
    writer.add_float32("qwen35.rope.freq_base", 1e7)
    writer.add_bool("flag", True)
    writer.add_strings("tokenizer.ggml.tokens", ["a", "bc", "Ġdé"])
    writer.add_ints("tokenizer.ggml.token_type", [1, 1, 3])
    writer.add_bools("layers", [True, False])
    writer.add_tensor("token_embd.weight", weights, GGMLType.Q4_K)
    writer.add_tensor("blk.0.attn_norm.weight", weights[0])
    writer.add_tensor("blk.0.ffn_up.weight", weights, GGMLType.Q8_0)
    writer.write()
    return (folder / "whole.gguf").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def original(folder: Path) -> bytes:
    return whole_model(folder)


def read_through(path: Path) -> bool:
    """Open and read everything; whether the file opened. Raises anything but HeadlongError."""
    try:
        file = open_gguf(path)
    except GGUFError as error:
        assert str(path) in str(error)
        return False
    with file:
        for name, info in file.tensors.items():
            view = file.data(name)
            assert view.size == info.nbytes == info.rows * info.type.row_bytes(info.cols)
            assert info.offset + info.nbytes <= file.size
            int(view.sum(dtype=np.uint64))  # touches every byte: beyond the end would be a crash
            if info.type in DECODABLE:
                assert dequantise(view, info.type, info.rows, info.cols).size == info.elements
            file.release(name)
        meta = file.metadata
        for key in meta:
            for read in (meta.ints, meta.floats, meta.bools, meta.strings, meta.encoded):
                try:
                    read(key)
                except HeadlongError as error:
                    assert str(path) in str(error)
    return True


def check(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    tracemalloc.start()
    try:
        opened = read_through(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY_BASE + MEMORY_PER_BYTE * len(content)
    return opened


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[str, float, float, int]]:
    """Kind, place and extent (as shares of the file), and a value, one to three times."""
    share = st.floats(0, 1, exclude_max=True)
    # Half of the damage goes to the first tenth, where most of the structure is.
    place = st.one_of(share, share.map(lambda x: x / 10))
    kinds = st.sampled_from(["flip", "byte", "cut", "remove", "repeat", "wide", "narrow", "swap"])
    one = st.tuples(kinds, place, share, st.integers(0, 255))
    return draw(st.lists(one, min_size=1, max_size=3))


def mutate(content: bytes, steps: list[tuple[str, float, float, int]]) -> bytes:
    data = bytearray(content)
    for kind, place, extent, value in steps:
        if not data:
            break
        at = int(place * len(data))
        length = 1 + int(extent * 64)
        if kind == "flip":
            data[at] ^= 1 << value % 8
        elif kind == "byte":
            data[at] = value
        elif kind == "cut":
            del data[at:]
        elif kind == "remove":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        elif kind == "wide":
            data[at : at + 8] = struct.pack("<Q", WIDE[value % len(WIDE)])
        elif kind == "narrow":
            data[at : at + 4] = struct.pack("<I", NARROW[value % len(NARROW)])
        else:
            other = int(extent * len(data))
            piece = bytes(data[at : at + 16])
            data[at : at + 16] = data[other : other + 16]
            data[other : other + 16] = piece
    return bytes(data)


def test_the_original_opens(folder: Path, original: bytes) -> None:
    assert check(folder / "original.gguf", original)


@settings(
    max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=mutations())
def test_random_damage(folder: Path, original: bytes, steps: list) -> None:
    check(folder / "mutated.gguf", mutate(original, steps))


def test_every_length_field_replaced_by_every_boundary_value(folder: Path, original: bytes) -> None:
    """All eight-byte windows of the header in turn; some must still open, most must not."""
    header = original.index(b"blk.0.ffn_up.weight") + 48
    opened = refused = 0
    for at in range(4, header):
        for value in (WIDE[at % len(WIDE)], (1 << 64) - 1):
            content = original[:at] + struct.pack("<Q", value) + original[at + 8 :]
            if check(folder / "field.gguf", content):
                opened += 1
            else:
                refused += 1
    assert refused > opened


def test_many_small_things_stay_within_memory(folder: Path) -> None:
    """The densest files that are well formed, and the same with one more claimed than is there."""
    keys = [u32(f"k{i}", i) for i in range(6_000)]
    tensors = [tensor(f"t{i}", (1,), offset=32 * i) for i in range(6_000)]
    empty = array("a", 8, 60_000, text("") * 60_000)
    assert check(folder / "keys.gguf", gguf_bytes(keys))
    assert check(folder / "tensors.gguf", gguf_bytes([], tensors, 32 * 6_000))
    assert check(folder / "strings.gguf", gguf_bytes([empty]))
    assert not check(folder / "keys.gguf", gguf_bytes(keys, key_count=6_001))
    assert not check(folder / "keys.gguf", gguf_bytes(keys, key_count=1 << 17))


def test_an_endless_array_is_refused_without_walking_it(tmp_path: Path) -> None:
    """A sparse gigabyte that holds as many empty strings as it claims."""
    path = tmp_path / "sparse.gguf"
    with path.open("wb") as file:
        file.write(gguf_bytes([array("a", 8, 1 << 26, b"")]))
        file.truncate(1 << 30)
    with pytest.raises(GGUFError, match="it claims 67108864 strings in metadata key a"):
        open_gguf(path)


def test_noise_after_a_sound_beginning(folder: Path) -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        counts = struct.pack("<IQQ", 3, rng.integers(0, 4), rng.integers(0, 4))
        noise = rng.integers(0, 256, int(rng.integers(0, 400)), dtype=np.uint8)
        # Mostly small numbers, so that lengths and types are often plausible.
        noise[rng.random(noise.size) < 0.7] = rng.integers(0, 3)
        check(folder / "noise.gguf", b"GGUF" + counts + noise.tobytes())
