"""A backend that passes every operation on to another and keeps a log of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, Generic

from headlong.ops.batch import Batch, Float64Array, FloatArray, IntArray, Rope
from headlong.ops.best import Best, Bits
from headlong.ops.protocol import DeltaNetWeights, Ops, P, R, RawMatrix, W
from headlong.ops.state import KVLayer, RecurrentLayer


@dataclass(frozen=True, slots=True)
class Call(Generic[W]):
    """One operation: how many rows it computed, with which weights or on which cache."""

    name: str
    rows: int
    weights: tuple[W, ...] = ()
    cache: KVLayer | None = None
    batch: Batch | None = None

    def uses(self, *weights: W) -> bool:
        """Whether any of these took part."""
        return any(mine is other for mine in self.weights for other in weights)


class RecordingOps(Generic[W]):
    """`Ops` around other `Ops`; `before` is called first and may raise."""

    def __init__(self, inner: Ops[W]) -> None:
        self.inner = inner
        self.calls: list[Call[W]] = []
        self.before: Callable[[str], None] = lambda name: None

    def _record(self, call: Call[W]) -> None:
        self.before(call.name)
        self.calls.append(call)

    def pack(self, matrix: RawMatrix) -> W:
        return self.inner.pack(matrix)

    def leading_rows(self, weight: W, rows: int) -> W:
        return self.inner.leading_rows(weight, rows)

    def embed(self, table: W, tokens: IntArray) -> FloatArray:
        self._record(Call("embed", tokens.size, (table,)))
        return self.inner.embed(table, tokens)

    def angles(self, batch: Batch, frequencies: Float64Array) -> Rope:
        self._record(Call("angles", batch.tokens.size, batch=batch))
        return self.inner.angles(batch, frequencies)

    def last_rows(self, x: FloatArray, batch: Batch) -> tuple[FloatArray, Batch]:
        self._record(Call("last_rows", len(x), batch=batch))
        return self.inner.last_rows(x, batch)

    def norm_join(
        self, a: FloatArray, a_norm: FloatArray, b: FloatArray, b_norm: FloatArray, eps: float
    ) -> FloatArray:
        self._record(Call("norm_join", len(a)))
        return self.inner.norm_join(a, a_norm, b, b_norm, eps)

    def norm(self, x: FloatArray, weight: FloatArray, eps: float) -> FloatArray:
        self._record(Call("norm", len(x)))
        return self.inner.norm(x, weight, eps)

    def linear(
        self, x: FloatArray, *weights: W, norm: FloatArray | None = None, eps: float = 0.0
    ) -> tuple[FloatArray, ...]:
        self._record(Call("linear", len(x), weights))
        return self.inner.linear(x, *weights, norm=norm, eps=eps)

    def best(
        self,
        x: FloatArray,
        weight: W,
        k: int,
        *,
        allowed: Bits | None = None,
        log_sums: bool = False,
    ) -> Best:
        self._record(Call("best", len(x), (weight,)))
        return self.inner.best(x, weight, k, allowed=allowed, log_sums=log_sums)

    def linear_add(self, x: FloatArray, weight: W, residual: FloatArray) -> FloatArray:
        self._record(Call("linear_add", len(x), (weight,)))
        return self.inner.linear_add(x, weight, residual)

    def ffn(
        self, x: FloatArray, norm: FloatArray, eps: float, gate: W, up: W, down: W
    ) -> FloatArray:
        self._record(Call("ffn", len(x), (gate, up, down)))
        return self.inner.ffn(x, norm, eps, gate, up, down)

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
        self._record(Call("store_kv", len(k), cache=cache, batch=batch))
        self.inner.store_kv(k, v, norm, eps, rope, cache, batch)

    def attend(
        self, qg: FloatArray, norm: FloatArray, eps: float, rope: Rope, cache: KVLayer, batch: Batch
    ) -> FloatArray:
        self._record(Call("attend", len(qg), cache=cache, batch=batch))
        return self.inner.attend(qg, norm, eps, rope, cache, batch)

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
        self._record(Call("delta_net", len(qkv), batch=batch))
        return self.inner.delta_net(qkv, z, beta, alpha, weights, eps, state, batch)

    def program(
        self, function: Callable[Concatenate[Batch, P], R]
    ) -> Callable[Concatenate[Batch, P], R]:
        """Never replayed: every operation of every call is to be logged."""
        return function
