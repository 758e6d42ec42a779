"""Packed weight matrices: filling, looking rows up, and every wrong argument by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from linear_cases import TYPES, Matrix, activations, backend, best, linear, same_bits

from headlong import _native
from headlong.gguf.types import GGMLType

ISAS = _native.isas()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_rows_come_back_as_the_format_defines_them(kind: GGMLType, isa: str) -> None:
    for cols in {kind.block_size * 3, 512}:
        matrix = Matrix.random(kind, 37, cols)
        ids = np.array([36, 0, 15, 16, 36, 20], np.int32)
        out = np.empty((len(ids), cols), np.float32)
        _native.unpack_rows(backend(isa), matrix.pack(), ids, out)
        assert same_bits(out, matrix.values[ids])


def test_every_code_of_mxfp4_scales() -> None:
    raw = np.random.default_rng(5).integers(0, 256, (256, 17), dtype=np.uint8)
    raw[:, 0] = np.arange(256)
    matrix = Matrix.of(GGMLType.MXFP4, raw, 32)
    out = np.empty((256, 32), np.float32)
    _native.unpack_rows(best(), matrix.pack(), np.arange(256, dtype=np.int32), out)
    assert same_bits(out, matrix.values)
    x = np.full((1, 32), 127, np.float32)  # quantised without loss
    exact = matrix.values[:240].astype(np.float64).sum(1) * 127  # larger scales overflow
    for isa in ISAS:
        (product,) = linear(backend(isa), x, matrix.pack())
        np.testing.assert_allclose(product[0, :240], exact, rtol=1e-6)


def test_packing_takes_the_bytes_of_the_file() -> None:
    for kind in TYPES:
        matrix = Matrix.random(kind, 64, 1024)
        packed = matrix.pack()
        assert (packed.rows, packed.cols, packed.filled) == (64, 1024, 64)
        if kind is GGMLType.Q3_K:
            assert packed.type == _native.packable(int(kind)) == "Q6_K"
        else:
            assert packed.type == _native.packable(int(kind)) == kind.name
            assert packed.nbytes == matrix.raw.size
    assert _native.packable(int(GGMLType.IQ2_XXS)) == ""
    assert _native.packable(-1) == ""


@pytest.mark.parametrize("kind", ["Q4_K", "Q8_0", "F16"])
def test_filling_in_pieces_is_filling_at_once(kind: str) -> None:
    matrix = Matrix.random(GGMLType[kind], 75, 512)
    pieces = _native.Packed(int(matrix.type), 75, 512)
    for first, rows in ((0, 16), (16, 48), (64, 11)):
        assert pieces.filled == first
        pieces.fill(best(), matrix.raw[first : first + rows], first)
    x = activations(3, 512)
    assert same_bits(linear(best(), x, pieces)[0], linear(best(), x, matrix.pack())[0])


def test_a_large_matrix_and_its_head() -> None:
    matrix = Matrix.random(GGMLType.Q8_0, 5000, 512)  # 2.7 MB: huge pages
    packed = matrix.pack()
    head = packed.head(1001)
    del packed  # the memory is shared, not borrowed
    x = activations(2, 512)
    (out,) = linear(best(), x, head)
    whole = linear(best(), x, matrix.pack())[0]
    assert out.shape == (2, 1001)
    assert same_bits(out, np.ascontiguousarray(whole[:, :1001]))


def f32(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


Q4_K = int(GGMLType.Q4_K)


def run_linear(x: object, outs: list, norm: object = None, weights: list | None = None) -> None:
    weight = Matrix.random(GGMLType.Q4_K, 20, 256).pack()
    _native.linear(best(), x, norm, 1e-6, [weight] if weights is None else weights, outs)


def shared(rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    both = f32(rows * cols + 8)
    return both[:-8].reshape(rows, cols), both[8:].reshape(rows, cols)


def square() -> _native.Packed:
    return Matrix.random(GGMLType.Q4_K, 256, 256).pack()


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "type": (lambda: _native.Packed(16, 16, 256), "type: ggml type 16 has no packed form"),
    "rows": (lambda: _native.Packed(Q4_K, 0, 256), "rows: 0 is not in"),
    "cols": (lambda: _native.Packed(Q4_K, 16, 100), "cols: 100 is not a multiple of 256"),
    "no cols": (lambda: _native.Packed(0, 16, 0), "cols: 0"),
    "huge": (lambda: _native.Packed(0, 2**40, 256), "rows: "),
    "pack type": (lambda: _native.pack(best(), np.zeros(4, np.uint8), 99, 1, 1), "type: ggml"),
    "pack bytes": (
        lambda: _native.pack(best(), np.zeros(100, np.uint8), Q4_K, 16, 256),
        "raw: 100 bytes are not 16 rows of 256 Q4_K weights",
    ),
    "pack shape": (
        lambda: _native.pack(best(), np.zeros(144, np.uint8), Q4_K, 2**31, 256),
        "raw: 144 bytes are not",
    ),
    "raw dtype": (
        lambda: _native.pack(best(), f32(36), Q4_K, 1, 256), "raw must be uint8"
    ),
    "raw strides": (
        lambda: _native.pack(best(), np.zeros(288, np.uint8)[::2], Q4_K, 1, 256),
        "raw must be a C-contiguous",
    ),
    "x dtype": (lambda: run_linear(np.zeros((1, 256)), [f32(1, 20)]), "x must be float32"),
    "x dims": (lambda: run_linear(f32(256), [f32(1, 20)]), "x must have shape"),
    "x object": (lambda: run_linear("x", [f32(1, 20)]), "x must be"),
    "x cols": (
        lambda: run_linear(f32(1, 512), [f32(1, 20)]), "weights has 256 columns, needs 512"
    ),
    "no x cols": (lambda: run_linear(f32(1, 0), [f32(1, 20)]), "x needs"),
    "norm": (
        lambda: run_linear(f32(1, 256), [f32(1, 20)], norm=f32(255)), "norm must have shape"
    ),
    "out shape": (lambda: run_linear(f32(2, 256), [f32(1, 20)]), "outs must have shape"),
    "out count": (lambda: run_linear(f32(2, 256), []), "equal length"),
    "no weights": (lambda: run_linear(f32(2, 256), [], weights=[]), "equal length"),
    "x is out": (
        lambda: (lambda x: _native.linear(best(), x, None, 0.0, [square()], [x]))(f32(1, 256)),
        "outs must not overlap x",
    ),
    "outs overlap": (
        lambda: _native.linear(
            best(), f32(2, 256), None, 0.0, [square(), square()], list(shared(2, 256))
        ),
        "outs must not overlap each other",
    ),
    "residual": (
        lambda: _native.linear_add(best(), f32(1, 256), square(), f32(1, 255), f32(1, 256)),
        "residual must have shape",
    ),
    "residual overlaps": (
        lambda: _native.linear_add(best(), f32(2, 256), square(), *shared(2, 256)),
        "out must be residual or not overlap it",
    ),
    "ids": (
        lambda: _native.unpack_rows(best(), square(), np.array([256], np.int32), f32(1, 256)),
        "ids: row 256 is not in 0..255",
    ),
    "negative id": (
        lambda: _native.unpack_rows(best(), square(), np.array([-1], np.int32), f32(1, 256)),
        "ids: row -1",
    ),
    "ffn up": (
        lambda: _native.ffn(
            best(), f32(1, 256), f32(256), 0.0, square(),
            Matrix.random(GGMLType.Q4_K, 255, 256).pack(), square(), f32(1, 256),
        ),
        "up must have as many rows as gate",
    ),
    "ffn down": (
        lambda: _native.ffn(
            best(), f32(1, 256), f32(256), 0.0, square(), square(),
            Matrix.random(GGMLType.Q4_K, 255, 256).pack(), f32(1, 256),
        ),
        "down must have as many rows as x has columns",
    ),
    "ffn out": (
        lambda: _native.ffn(
            best(), (pair := shared(2, 256))[0], f32(256), 0.0, square(), square(), square(),
            pair[1],
        ),
        "out must be x or not overlap it",
    ),
    "unfilled": (
        lambda: run_linear(f32(1, 256), [f32(1, 16)], weights=[_native.Packed(Q4_K, 16, 256)]),
        "weights: only 0 of 16 rows are filled",
    ),
    "head": (lambda: square().head(257), "rows: 257 is not in 1..256"),
    "argmax": (
        lambda: _native.argmax_rows(best(), f32(2, 3), np.zeros(1, np.int32), f32(2)),
        "out_index must have shape",
    ),
    "bandwidth": (lambda: _native.read_bandwidth(best(), 10), "bytes must be 4096"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.replace(" ", "-"))
def test_a_wrong_argument_is_refused_by_name(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("first", "rows", "message"),
    [
        (16, 16, "row 0 comes next"),
        (0, 10, "multiple of 16"),
        (0, 48, "go past the 40 rows"),
    ],
)
def test_rows_are_filled_in_order_and_whole_groups(first: int, rows: int, message: str) -> None:
    matrix = Matrix.random(GGMLType.Q4_K, 48, 256)
    packed = _native.Packed(Q4_K, 40, 256)
    with pytest.raises(ValueError, match=message):
        packed.fill(best(), matrix.raw[:rows], first)
    with pytest.raises(ValueError, match="not whole rows"):
        packed.fill(best(), np.zeros(145, np.uint8), 0)


def test_no_rows_is_nothing_to_do() -> None:
    out = f32(0, 256)
    _native.linear(best(), f32(0, 256), None, 0.0, [square()], [out])
    _native.ffn(best(), f32(0, 256), f32(256), 0.0, square(), square(), square(), f32(0, 256))
    _native.unpack_rows(best(), square(), np.zeros(0, np.int32), out)
    assert out.shape == (0, 256)


def test_reading_has_a_rate() -> None:
    assert 0.1 < _native.read_bandwidth(best(), 1 << 20, 2) < 10_000
