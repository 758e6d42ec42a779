"""`Ops` on the CPU: numpy arrays in, native kernels underneath, the GIL released while they run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate

import numpy as np

from headlong import _native
from headlong.errors import ParameterError, UnsupportedError
from headlong.gguf.types import GGMLType
from headlong.ops.batch import Batch, Float64Array, FloatArray, IntArray, Rope
from headlong.ops.best import Best, Bits
from headlong.ops.program import Recorder, Replay
from headlong.ops.protocol import DeltaNetWeights, P, R, RawMatrix
from headlong.ops.state import KVLayer, RecurrentLayer

PACK_BYTES = 64 << 20
"""Source bytes packed per call: a progress step, and what is held of the file at once.

Long enough (50 ms and more) that packing is seldom between two calls, waiting for the interpreter
while another thread has it.
"""

ROW_GROUP = 16
"""Rows that lie side by side in a packed tile; packing proceeds in whole groups."""


@dataclass(frozen=True, slots=True)
class CpuWeight:
    """A packed matrix ``[rows, cols]``; ``type`` names its packed form."""

    packed: _native.Packed

    @property
    def type(self) -> str:
        """Name of the packed form."""
        return self.packed.type

    @property
    def rows(self) -> int:
        """Outputs."""
        return self.packed.rows

    @property
    def nbytes(self) -> int:
        """Bytes that a pass reads of it."""
        return self.packed.nbytes


def packed_bytes(kind: GGMLType, rows: int, cols: int) -> int:
    """Bytes that a matrix of a file takes once packed; as stored for a type that cannot be."""
    if not _native.packable(int(kind)):
        return rows * kind.row_bytes(cols)
    return _native.Packed(int(kind), ROW_GROUP, cols).nbytes * -(-rows // ROW_GROUP)


class CpuOps:
    """Native kernels of one instruction set on a pool of threads.

    ``threads`` counts the caller (default: the processors this process may use); ``isa`` is one of
    ``instruction_sets()`` (default: the last, the fastest).
    """

    def __init__(self, threads: int | None = None, isa: str | None = None) -> None:
        known = instruction_sets()
        if isa is not None and isa not in known:
            raise ParameterError(
                f"instruction set '{isa}' does not run here; this machine has: {', '.join(known)}."
            )
        if threads is not None and not 1 <= threads <= 1024:
            raise ParameterError(f"threads = {threads} lies outside 1..1024.")
        self._backend = _native.Backend(threads or available_cores(), isa or known[-1])
        self._memory = Recorder(self._backend)
        self.reencoded: dict[str, tuple[str, int]] = {}

    @property
    def threads(self) -> int:
        """Threads that compute."""
        return self._backend.threads

    @property
    def isa(self) -> str:
        """Instruction set in use."""
        return self._backend.isa

    def read_bandwidth(self, nbytes: int, sweeps: int) -> float:
        """GB (10^9 bytes) per second at which these threads read memory in a plain loop.

        The best of ``sweeps`` over ``nbytes`` of fresh memory: what a pass could reach at most,
        where ``nbytes`` is more than the caches hold.
        """
        return _native.read_bandwidth(self._backend, nbytes, sweeps)

    def pack(self, matrix: RawMatrix) -> CpuWeight:
        """Pack piece by piece, letting go of the source as it goes."""
        packed_type = _native.packable(int(matrix.type))
        if not packed_type:
            raise UnsupportedError(
                f"tensor '{matrix.name}' is stored as {matrix.type.name}, which the CPU kernels "
                "cannot compute with; use a file of another quantisation."
            )
        if packed_type != matrix.type.name:
            _, tensors = self.reencoded.get(matrix.type.name, (packed_type, 0))
            self.reencoded[matrix.type.name] = (packed_type, tensors + 1)
        packed = _native.Packed(int(matrix.type), matrix.rows, matrix.cols)
        row_bytes = max(1, matrix.type.row_bytes(matrix.cols))
        step = max(ROW_GROUP, PACK_BYTES // row_bytes // ROW_GROUP * ROW_GROUP)
        for first in range(0, matrix.rows, step):
            rows = min(step, matrix.rows - first)
            packed.fill(self._backend, matrix.read(first, rows), first)
            matrix.done(rows)
        return CpuWeight(packed)

    def leading_rows(self, weight: CpuWeight, rows: int) -> CpuWeight:
        return CpuWeight(weight.packed.head(rows))

    def embed(self, table: CpuWeight, tokens: IntArray) -> FloatArray:
        out = self._memory.floats(tokens.size, table.packed.cols)
        _native.unpack_rows(self._backend, table.packed, tokens, out)
        return out

    def angles(self, batch: Batch, frequencies: Float64Array) -> Rope:
        cos = self._memory.floats(batch.tokens.size, frequencies.size)
        sin = self._memory.floats(batch.tokens.size, frequencies.size)
        _native.angles(
            self._backend, frequencies, batch.row_start, batch.rows, batch.pos_start, cos, sin
        )
        return Rope(cos, sin)

    def last_rows(self, x: FloatArray, batch: Batch) -> tuple[FloatArray, Batch]:
        count = len(batch.page_table)
        out, tokens = self._memory.floats(count, x.shape[1]), self._memory.ints(count)
        figures = self._memory.ints(*batch.figures.shape)
        _native.last_rows(self._backend, x, batch.tokens, batch.figures, out, tokens, figures)
        return out, Batch(tokens, figures, batch.page_table)

    def norm(self, x: FloatArray, weight: FloatArray, eps: float) -> FloatArray:
        out = self._memory.floats(*x.shape)
        _native.rms_norm(self._backend, x, weight, eps, out)
        return out

    def norm_join(
        self, a: FloatArray, a_norm: FloatArray, b: FloatArray, b_norm: FloatArray, eps: float
    ) -> FloatArray:
        out = self._memory.floats(a.shape[0], 2 * a.shape[1])
        _native.norm_join(self._backend, a, a_norm, b, b_norm, eps, out)
        return out

    def linear(
        self,
        x: FloatArray,
        *weights: CpuWeight,
        norm: FloatArray | None = None,
        eps: float = 0.0,
    ) -> tuple[FloatArray, ...]:
        outs = tuple(self._memory.floats(x.shape[0], w.packed.rows) for w in weights)
        _native.linear(self._backend, x, norm, eps, [w.packed for w in weights], list(outs))
        return outs

    def best(
        self,
        x: FloatArray,
        weight: CpuWeight,
        k: int,
        *,
        allowed: Bits | None = None,
        log_sums: bool = False,
    ) -> Best:
        logits = self._memory.floats(x.shape[0], k)
        ids = self._memory.ints(x.shape[0], k)
        sums = np.empty(x.shape[0], np.float64) if log_sums else None
        _native.best(self._backend, x, weight.packed, allowed, logits, ids, sums)
        return Best(logits, ids, sums)

    def linear_add(self, x: FloatArray, weight: CpuWeight, residual: FloatArray) -> FloatArray:
        out = self._memory.floats(*residual.shape)
        _native.linear_add(self._backend, x, weight.packed, residual, out)
        return out

    def ffn(
        self,
        x: FloatArray,
        norm: FloatArray,
        eps: float,
        gate: CpuWeight,
        up: CpuWeight,
        down: CpuWeight,
    ) -> FloatArray:
        out = self._memory.floats(*x.shape)
        _native.ffn(self._backend, x, norm, eps, gate.packed, up.packed, down.packed, out)
        return out

    def store_kv(
        self,
        k: FloatArray,
        v: FloatArray,
        norm: FloatArray,
        eps: float,
        rope: Rope,
        cache: KVLayer,
        batch: Batch,
    ) -> None:
        _native.kv_store(
            self._backend, k, v, norm, eps, rope.cos, rope.sin,
            cache.k, cache.v, cache.k_scale, cache.v_scale,
            batch.page_table, batch.row_start, batch.rows, batch.pos_start,
        )  # fmt: skip

    def attend(
        self, qg: FloatArray, norm: FloatArray, eps: float, rope: Rope, cache: KVLayer, batch: Batch
    ) -> FloatArray:
        out = self._memory.floats(qg.shape[0], qg.shape[1] // 2)
        _native.attend(
            self._backend, qg, norm, eps, rope.cos, rope.sin,
            cache.k, cache.v, cache.k_scale, cache.v_scale,
            batch.page_table, batch.row_start, batch.rows, batch.pos_start, out,
        )  # fmt: skip
        return out

    def delta_net(
        self,
        qkv: FloatArray,
        z: FloatArray,
        beta: FloatArray,
        alpha: FloatArray,
        weights: DeltaNetWeights,
        eps: float,
        state: RecurrentLayer,
        batch: Batch,
    ) -> FloatArray:
        out = self._memory.floats(*z.shape)
        _native.delta_net(
            self._backend, qkv, z, beta, alpha,
            weights.conv, weights.a, weights.dt, weights.norm, eps,
            state.s, state.conv, state.pending_k, state.pending_delta, state.pending_decay,
            state.pending_u, batch.slots, batch.row_start, batch.rows, batch.fold, batch.final,
            out,
        )  # fmt: skip
        return out

    def program(
        self, function: Callable[Concatenate[Batch, P], R]
    ) -> Callable[Concatenate[Batch, P], R]:
        return Replay(self._memory, function)


def instruction_sets() -> list[str]:
    """Instruction sets of this build that this processor runs, slowest first."""
    return _native.isas()


def available_cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
