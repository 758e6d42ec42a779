"""Random inputs for the operations along a sequence, and every way the kernels can run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from headlong.ops.batch import PAGE, Batch, FloatArray, IntArray, Rope, Segment, rotary_frequencies
from headlong.ops.cpu import CpuOps, instruction_sets
from headlong.ops.protocol import DeltaNetWeights
from headlong.ops.state import DeltaNetShape, KVLayer, RecurrentLayer

EPS = 1e-6
WAYS = [(isa, threads) for isa in instruction_sets() for threads in (1, 2)]


@cache
def cpu(isa: str, threads: int) -> CpuOps:
    """One pool of threads per way, kept for the whole run."""
    return CpuOps(threads, isa)


def best() -> CpuOps:
    """The fastest instruction set of this machine, two threads."""
    return cpu(*WAYS[-1])


def bits(x: FloatArray) -> bytes:
    """What "the same" means in these tests."""
    return x.tobytes()


def tokens(rows: int) -> IntArray:
    return np.zeros(rows, np.int32)


@dataclass(frozen=True, slots=True)
class Attention:
    """A stream of rows of one sequence, from position ``start``, over a cache filled before it."""

    heads: int
    kv_heads: int
    dim: int
    rotated: int
    start: int
    qg: FloatArray
    k: FloatArray
    v: FloatArray
    q_norm: FloatArray
    k_norm: FloatArray
    pages: IntArray
    cache: KVLayer

    @classmethod
    def random(
        cls,
        rows: int,
        *,
        heads: int = 6,
        kv_heads: int = 2,
        dim: int = 32,
        rotated: int = 16,
        start: int = 0,
        kind: str = "f16",
        seed: int = 0,
    ) -> Attention:
        """The sequence's pages are scattered over a cache in which other pages hold NaN."""
        rng = np.random.default_rng(seed)

        def normal(*shape: int) -> FloatArray:
            return rng.standard_normal(shape).astype(np.float32)

        used = -(-(start + rows) // PAGE)
        cache = KVLayer.allocate(used + 3, kv_heads, dim, kind)
        pages = rng.permutation(used + 3)[:used].astype(np.int32)
        for name in ("k", "v"):
            fill(getattr(cache, name), getattr(cache, f"{name}_scale"), pages, start, rng)
        return cls(
            heads, kv_heads, dim, rotated, start,
            qg=normal(rows, heads * 2 * dim), k=normal(rows, kv_heads * dim),
            v=normal(rows, kv_heads * dim), q_norm=1 + 0.2 * normal(dim),
            k_norm=1 + 0.2 * normal(dim), pages=pages, cache=cache,
        )  # fmt: skip

    @property
    def rows(self) -> int:
        return len(self.qg)

    def batch(self, first: int, rows: int) -> Batch:
        """Some of the stream's rows as a pass of their own."""
        end = self.start + first + rows
        pages = self.pages[: -(-end // PAGE)]
        return Batch.of([Segment(0, self.start + first, tokens(rows), pages, rows)])

    def rope(self, batch: Batch) -> Rope:
        return best().angles(batch, rotary_frequencies(self.rotated, 1e4))

    def store(self, ops: CpuOps, first: int, rows: int) -> None:
        batch, part = self.batch(first, rows), slice(first, first + rows)
        rope = self.rope(batch)
        ops.store_kv(self.k[part], self.v[part], self.k_norm, EPS, rope, self.cache, batch)

    def attend(self, ops: CpuOps, first: int, rows: int) -> FloatArray:
        batch, part = self.batch(first, rows), slice(first, first + rows)
        return ops.attend(self.qg[part], self.q_norm, EPS, self.rope(batch), self.cache, batch)


def fill(
    cells: np.ndarray,
    scale: np.ndarray | None,
    pages: IntArray,
    length: int,
    rng: np.random.Generator,
) -> None:
    """Random values at positions below ``length``; NaN wherever no position was stored."""
    stored = np.zeros((len(cells), PAGE), bool)
    for page in range(len(pages)):
        stored[pages[page]] = np.arange(PAGE) + page * PAGE < length
    mask = stored[:, None, :, None]
    nan = np.float16(np.nan).view(np.uint16)
    if scale is None:
        values = rng.standard_normal(cells.shape).astype(np.float16).view(np.uint16)
        cells[...] = np.where(mask, values, nan)
    else:
        cells[...] = rng.integers(-127, 128, cells.shape)
        sizes = (0.01 + 0.02 * rng.random(scale.shape)).astype(np.float16).view(np.uint16)
        scale[...] = np.where(mask, sizes, nan)


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """Inputs of a delta-net layer for a stream of rows."""

    weights: DeltaNetWeights
    qkv: FloatArray
    z: FloatArray
    beta: FloatArray
    alpha: FloatArray

    @classmethod
    def random(
        cls,
        rows: int,
        shape: DeltaNetShape = DeltaNetShape(2, 4, 32, 48, 4),  # noqa: B008 (frozen)
        seed: int = 0,
    ) -> DeltaNet:
        """Random rows; the weights of a shape are always the same."""
        rng = np.random.default_rng(7)

        def normal(*dims: int) -> FloatArray:
            return rng.standard_normal(dims).astype(np.float32)

        weights = DeltaNetWeights(
            shape, conv=normal(shape.channels, shape.taps), a=-np.exp(normal(shape.value_heads)),
            dt=normal(shape.value_heads), norm=1 + 0.2 * normal(shape.value_dim),
        )  # fmt: skip
        heads = shape.value_heads
        rng = np.random.default_rng(seed)
        return cls(
            weights, normal(rows, shape.channels), normal(rows, heads * shape.value_dim),
            normal(rows, heads), normal(rows, heads),
        )  # fmt: skip

    def rows(self, index: IntArray | slice) -> DeltaNet:
        """The same layer with other rows."""
        return DeltaNet(
            self.weights, self.qkv[index], self.z[index], self.beta[index], self.alpha[index]
        )

    def state(self, slots: int = 1, pending: int = 4) -> RecurrentLayer:
        return RecurrentLayer.allocate(slots, self.weights.shape, pending)

    def run(self, ops: CpuOps, state: RecurrentLayer, batch: Batch) -> FloatArray:
        return ops.delta_net(
            self.qkv, self.z, self.beta, self.alpha, self.weights, EPS, state, batch
        )


NO_PAGES = np.zeros(1, np.int32)


def rows_of(slot: int, rows: int, final: int | None = None, fold: int = 0) -> Segment:
    """A segment for the delta-net, which does not look at pages or positions."""
    return Segment(slot, 0, tokens(rows), NO_PAGES, rows if final is None else final, fold)
