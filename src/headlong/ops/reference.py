"""Every operation in plain numpy: the oracle that kernels are checked against.

Written to be read beside the formulas, one row at a time where that is clearer, with sums in
float64.  Slow on purpose.  Weights are dequantised; with ``emulate_int8`` the activations meeting
a quantised weight are rounded as the kernels round them, so that what remains of a difference is
float rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate

import numpy as np
import numpy.typing as npt

from headlong.gguf.dequant import dequantise
from headlong.gguf.types import GGMLType
from headlong.ops.batch import PAGE, Batch, Float64Array, FloatArray, IntArray, Rope
from headlong.ops.best import Best, Bits
from headlong.ops.protocol import DeltaNetWeights, P, R, RawMatrix
from headlong.ops.state import Q8_BLOCK, KVLayer, RecurrentLayer

ACTIVATION_BLOCK = 256
_FLOAT_TYPES = (GGMLType.F32, GGMLType.F16, GGMLType.BF16)


@dataclass(frozen=True, slots=True)
class ReferenceWeight:
    """A dequantised matrix, float32 ``[rows, cols]``, and whether its file type was quantised."""

    values: FloatArray
    quantised: bool


class ReferenceOps:
    """`Ops` in numpy.  ``emulate_int8`` rounds activations as the native kernels do."""

    def __init__(self, *, emulate_int8: bool = False) -> None:
        self._emulate_int8 = emulate_int8

    def pack(self, matrix: RawMatrix) -> ReferenceWeight:
        raw = matrix.read(0, matrix.rows)
        values = dequantise(raw, matrix.type, matrix.rows, matrix.cols)
        matrix.done(matrix.rows)
        return ReferenceWeight(values, matrix.type not in _FLOAT_TYPES)

    def leading_rows(self, weight: ReferenceWeight, rows: int) -> ReferenceWeight:
        return ReferenceWeight(weight.values[:rows], weight.quantised)

    def embed(self, table: ReferenceWeight, tokens: IntArray) -> FloatArray:
        return table.values[tokens].copy()

    def angles(self, batch: Batch, frequencies: Float64Array) -> Rope:
        angles = batch.positions[:, None] * frequencies
        return Rope(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))

    def last_rows(self, x: FloatArray, batch: Batch) -> tuple[FloatArray, Batch]:
        last = batch.row_start + batch.rows - 1
        ones = np.ones_like(batch.rows)
        position = batch.pos_start + batch.rows - 1
        figures = np.stack(
            [batch.slots, np.arange(last.size, dtype=np.int32), ones, position, 0 * ones, ones]
        )
        return x[last], Batch(batch.tokens[last], figures, batch.page_table)

    def norm(self, x: FloatArray, weight: FloatArray, eps: float) -> FloatArray:
        return rms_norm(x, weight, eps).astype(np.float32)

    def norm_join(
        self, a: FloatArray, a_norm: FloatArray, b: FloatArray, b_norm: FloatArray, eps: float
    ) -> FloatArray:
        return np.concatenate([self.norm(a, a_norm, eps), self.norm(b, b_norm, eps)], axis=1)

    def linear(
        self,
        x: FloatArray,
        *weights: ReferenceWeight,
        norm: FloatArray | None = None,
        eps: float = 0.0,
    ) -> tuple[FloatArray, ...]:
        if norm is not None:
            x = self.norm(x, norm, eps)
        return tuple(self._product(x, weight).astype(np.float32) for weight in weights)

    def best(
        self,
        x: FloatArray,
        weight: ReferenceWeight,
        k: int,
        *,
        allowed: Bits | None = None,
        log_sums: bool = False,
    ) -> Best:
        (logits,) = self.linear(x, weight)
        return best_of(logits, k, allowed, log_sums)

    def linear_add(
        self, x: FloatArray, weight: ReferenceWeight, residual: FloatArray
    ) -> FloatArray:
        return (residual + self._product(x, weight)).astype(np.float32)

    def ffn(
        self,
        x: FloatArray,
        norm: FloatArray,
        eps: float,
        gate: ReferenceWeight,
        up: ReferenceWeight,
        down: ReferenceWeight,
    ) -> FloatArray:
        g, u = self.linear(x, gate, up, norm=norm, eps=eps)
        return self.linear_add((silu(g) * u).astype(np.float32), down, x)

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
        heads, dim = cache.k.shape[1], cache.k.shape[3]
        keys = rotate(rms_norm(k.reshape(-1, heads, dim), norm, eps), rope)
        values = v.reshape(-1, heads, dim)
        for row, (page, offset) in enumerate(_places(batch)):
            _store(cache.k, cache.k_scale, page, offset, keys[row])
            _store(cache.v, cache.v_scale, page, offset, values[row])

    def attend(
        self, qg: FloatArray, norm: FloatArray, eps: float, rope: Rope, cache: KVLayer, batch: Batch
    ) -> FloatArray:
        kv_heads, dim = cache.k.shape[1], cache.k.shape[3]
        queries = qg.reshape(qg.shape[0], -1, 2, dim)
        heads = queries.shape[1]
        q = rotate(rms_norm(queries[:, :, 0], norm, eps), rope) / np.sqrt(dim)
        out = np.empty((qg.shape[0], heads, dim), np.float32)
        for s in range(batch.rows.size):
            for i in range(int(batch.rows[s])):
                row = int(batch.row_start[s]) + i
                length = int(batch.pos_start[s]) + i + 1
                pages = batch.page_table[s, : -(-length // PAGE)]
                keys = _load(cache.k, cache.k_scale, pages)[:, :length]
                values = _load(cache.v, cache.v_scale, pages)[:, :length]
                for h in range(heads):
                    group = h // (heads // kv_heads)
                    scores = keys[group] @ q[row, h]
                    weights = np.exp(scores - scores.max())
                    out[row, h] = (weights / weights.sum()) @ values[group]
        gated = out * sigmoid(queries[:, :, 1])
        return gated.reshape(qg.shape[0], heads * dim).astype(np.float32)

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
        shape = weights.shape
        out = np.empty_like(z)
        for s, slot in enumerate(batch.slots):
            self._fold(state, int(slot), int(batch.fold[s]), shape.key_heads)
            current = state.s[slot].copy()
            window = state.conv[slot].copy()
            for i in range(int(batch.rows[s])):
                row = int(batch.row_start[s]) + i
                window = np.concatenate([window, qkv[row : row + 1]])
                mixed = silu(np.einsum("tc,ct->c", window, weights.conv, dtype=np.float64))
                q, k, v = _split_heads(mixed, weights, eps)
                gate = weights.a * softplus(alpha[row].astype(np.float64) + weights.dt)
                decay = np.exp(gate).astype(np.float32)
                k32 = k.astype(np.float32)
                head_keys = np.tile(k32, (shape.value_heads // shape.key_heads, 1))
                head_queries = np.tile(q, (shape.value_heads // shape.key_heads, 1))
                decayed = decay[:, None, None] * current
                predicted = np.einsum("hkv,hk->hv", decayed, head_keys, dtype=np.float64)
                delta = (sigmoid(beta[row])[:, None] * (v - predicted)).astype(np.float32)
                current = decayed + head_keys[:, :, None] * delta[:, None, :]
                o = np.einsum("hkv,hk->hv", current, head_queries, dtype=np.float64)
                normed = rms_norm(o, weights.norm, eps) * silu(z[row].reshape(o.shape))
                out[row] = normed.reshape(-1)
                window = window[1:]
                if i < batch.final[s]:
                    state.s[slot], state.conv[slot] = current, window
                else:
                    pending = i - int(batch.final[s])
                    state.pending_k[slot, pending] = k32.reshape(-1)
                    state.pending_delta[slot, pending] = delta.reshape(-1)
                    state.pending_decay[slot, pending] = decay
                    state.pending_u[slot, pending] = qkv[row]
        return out

    def program(
        self, function: Callable[Concatenate[Batch, P], R]
    ) -> Callable[Concatenate[Batch, P], R]:
        return function

    @staticmethod
    def _fold(state: RecurrentLayer, slot: int, count: int, key_heads: int) -> None:
        value_heads, key_dim, value_dim = state.s.shape[1:]
        for i in range(count):
            keys = state.pending_k[slot, i].reshape(key_heads, key_dim)
            keys = np.tile(keys, (value_heads // key_heads, 1))
            delta = state.pending_delta[slot, i].reshape(value_heads, value_dim)
            decayed = state.pending_decay[slot, i][:, None, None] * state.s[slot]
            state.s[slot] = decayed + keys[:, :, None] * delta[:, None, :]
            state.conv[slot, :-1] = state.conv[slot, 1:].copy()
            state.conv[slot, -1] = state.pending_u[slot, i]

    def _product(self, x: FloatArray, weight: ReferenceWeight) -> Float64Array:
        if weight.quantised and self._emulate_int8:
            x = round_activations(x)
        return np.asarray(x.astype(np.float64) @ weight.values.T.astype(np.float64))


def best_of(
    logits: FloatArray, k: int, allowed: Bits | None = None, log_sums: bool = False
) -> Best:
    """`Ops.best` of rows of logits ``[T, outputs]``."""
    rows = logits.copy()
    if allowed is not None:
        mask = np.unpackbits(allowed, count=rows.shape[1], bitorder="little").astype(np.bool_)
        rows[(rows < np.inf) & ~mask] = -np.inf
    # Stable sorts keep equal logits in the order of ids; NaN goes before all numbers.
    order = np.argsort(-rows, axis=1, kind="stable")
    nan_first = np.argsort(~np.isnan(np.take_along_axis(rows, order, 1)), axis=1, kind="stable")
    ids = np.take_along_axis(order, nan_first, 1)[:, :k].astype(np.int32)
    values = np.take_along_axis(rows, ids, 1)
    ids[values == -np.inf] = -1
    sums = np.logaddexp.reduce(rows.astype(np.float64), axis=1) if log_sums else None
    return Best(values, ids, sums)


def rms_norm(x: npt.NDArray[np.floating], weight: FloatArray, eps: float) -> Float64Array:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axis, in float64."""
    wide = x.astype(np.float64)
    return np.asarray(wide / np.sqrt((wide * wide).mean(-1, keepdims=True) + eps) * weight)


def rotate(x: Float64Array, rope: Rope) -> Float64Array:
    """Rotate the pairs ``(d, d + n_rot / 2)`` of ``x`` ``[T, heads, dim]``; the rest passes."""
    half = rope.cos.shape[1]
    cos, sin = rope.cos[:, None, :], rope.sin[:, None, :]
    out = x.copy()
    a, b = x[..., :half], x[..., half : 2 * half]
    out[..., :half] = a * cos - b * sin
    out[..., half : 2 * half] = b * cos + a * sin
    return out


def round_activations(x: FloatArray) -> FloatArray:
    """Round each run of up to 256 values to int8 times one scale ``max|x| / 127``."""
    out = np.empty_like(x)
    for start in range(0, x.shape[1], ACTIVATION_BLOCK):
        block = x[:, start : start + ACTIVATION_BLOCK]
        amax = np.abs(block).max(1, keepdims=True)
        inverse = np.divide(127.0, amax, out=np.zeros_like(amax), where=amax > 0)
        out[:, start : start + ACTIVATION_BLOCK] = np.rint(block * inverse) * (amax / 127.0)
    return out


def sigmoid(x: npt.NDArray[np.floating]) -> Float64Array:
    """``1 / (1 + e^-x)``."""
    return np.asarray(1.0 / (1.0 + np.exp(-x.astype(np.float64))))


def silu(x: npt.NDArray[np.floating]) -> Float64Array:
    """``x * sigmoid(x)``."""
    return np.asarray(x * sigmoid(x))


def softplus(x: Float64Array) -> Float64Array:
    """``log(1 + e^x)``."""
    return np.asarray(np.logaddexp(0.0, x))


def _split_heads(
    mixed: Float64Array, weights: DeltaNetWeights, eps: float
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Queries and keys of unit length (queries also over sqrt(key_dim)), values."""
    shape = weights.shape
    width = shape.key_heads * shape.key_dim
    q = mixed[:width].reshape(shape.key_heads, shape.key_dim)
    k = mixed[width : 2 * width].reshape(shape.key_heads, shape.key_dim)
    v = mixed[2 * width :].reshape(shape.value_heads, shape.value_dim)
    return _unit(q, eps) / np.sqrt(shape.key_dim), _unit(k, eps), v


def _unit(x: Float64Array, eps: float) -> Float64Array:
    return np.asarray(x / np.sqrt((x * x).sum(-1, keepdims=True) + eps))


def _places(batch: Batch) -> list[tuple[int, int]]:
    """Page and offset of every row, in row order."""
    places = []
    for s in range(batch.rows.size):
        for i in range(int(batch.rows[s])):
            position = int(batch.pos_start[s]) + i
            places.append((int(batch.page_table[s, position // PAGE]), position % PAGE))
    return places


def _store(
    cache: npt.NDArray[np.uint16] | npt.NDArray[np.int8],
    scale: npt.NDArray[np.uint16] | None,
    page: int,
    offset: int,
    x: npt.NDArray[np.floating],
) -> None:
    if scale is None:
        cache[page, :, offset] = x.astype(np.float16).view(np.uint16)
        return
    blocks = x.astype(np.float32).reshape(x.shape[0], -1, Q8_BLOCK)
    amax = np.abs(blocks).max(-1, keepdims=True)
    inverse = np.divide(127.0, amax, out=np.zeros_like(amax), where=amax > 0)
    cache[page, :, offset] = np.rint(blocks * inverse).astype(np.int8).reshape(x.shape)
    scale[page, :, offset] = (amax[..., 0] / 127.0).astype(np.float16).view(np.uint16)


def _load(
    cache: npt.NDArray[np.uint16] | npt.NDArray[np.int8],
    scale: npt.NDArray[np.uint16] | None,
    pages: IntArray,
) -> Float64Array:
    """Positions of some pages in order: ``[kv_heads, pages * PAGE, head_dim]``."""
    picked = cache[pages]
    if scale is None:
        values = picked.view(np.float16).astype(np.float64)
    else:
        scales = scale[pages].view(np.float16).astype(np.float64)
        values = picked.astype(np.float64) * np.repeat(scales, Q8_BLOCK, axis=-1)
    count, heads, size, dim = values.shape
    return values.transpose(1, 0, 2, 3).reshape(heads, count * size, dim)
