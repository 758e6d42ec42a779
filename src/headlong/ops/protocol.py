"""The operations that a model is written in.

A model file calls these and nothing else, so a backend is a class with these methods, and what a
forward does can be recorded.  Contract of every operation: **row invariance**.  The bits of a row's
result depend on that row, its sequence's state and the weights; never on the other rows of the
batch, on the number of threads, or on how a prompt was cut into passes.  `reference.py` says what
each computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from headlong.gguf.types import GGMLType
from headlong.ops.batch import Batch, Float64Array, FloatArray, IntArray, Rope
from headlong.ops.best import Best, Bits
from headlong.ops.state import DeltaNetShape, KVLayer, RecurrentLayer

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")
"""A backend's own form of a weight matrix, ``[rows = outputs, cols = inputs]``."""


@dataclass(frozen=True, slots=True)
class DeltaNetWeights:
    """The small tensors of a delta-net layer, float32.

    ``conv`` ``[channels, taps]`` (tap 0 meets the oldest input), ``a`` ``[value_heads]``
    (``-exp(A_log)``), ``dt`` ``[value_heads]``, ``norm`` ``[value_dim]``.
    """

    shape: DeltaNetShape
    conv: FloatArray
    a: FloatArray
    dt: FloatArray
    norm: FloatArray


class RawMatrix(Protocol):
    """A matrix as it lies in the file."""

    @property
    def name(self) -> str:
        """Name of the tensor."""

    @property
    def type(self) -> GGMLType:
        """Block format of its bytes."""

    @property
    def rows(self) -> int:
        """Outputs."""

    @property
    def cols(self) -> int:
        """Inputs."""

    def read(self, first_row: int, rows: int) -> npt.NDArray[np.uint8]:
        """Bytes of some whole rows."""

    def done(self, rows: int) -> None:
        """Say that so many more rows are packed; after the last, the source's pages may go."""


class Ops(Protocol[W]):
    """A backend.  ``T`` rows, ``E`` hidden size; all activations float32."""

    def pack(self, matrix: RawMatrix) -> W:
        """Bring a matrix into the backend's form.

        Raises `UnsupportedError` for a type that it cannot compute with.
        """

    def leading_rows(self, weight: W, rows: int) -> W:
        """The first rows (outputs) of a weight, sharing its memory."""

    def embed(self, table: W, tokens: IntArray) -> FloatArray:
        """Rows ``tokens`` of ``table``: ``[T, E]``."""

    def angles(self, batch: Batch, frequencies: Float64Array) -> Rope:
        """Cosine and sine of ``position * frequency`` for every row."""

    def last_rows(self, x: FloatArray, batch: Batch) -> tuple[FloatArray, Batch]:
        """Each segment's last row of ``x``, ``[S, E]``, and the batch of these rows alone.

        They count as final and fold nothing.
        """

    def norm(self, x: FloatArray, weight: FloatArray, eps: float) -> FloatArray:
        """RMS norm: ``x / sqrt(mean(x^2) + eps) * weight``."""

    def norm_join(
        self, a: FloatArray, a_norm: FloatArray, b: FloatArray, b_norm: FloatArray, eps: float
    ) -> FloatArray:
        """RMS norms of ``a`` and ``b`` side by side: ``[T, 2 E]``."""

    def linear(
        self, x: FloatArray, *weights: W, norm: FloatArray | None = None, eps: float = 0.0
    ) -> tuple[FloatArray, ...]:
        """``x W^T`` for each weight, after an RMS norm of ``x`` where ``norm`` is given."""

    def best(
        self,
        x: FloatArray,
        weight: W,
        k: int,
        *,
        allowed: Bits | None = None,
        log_sums: bool = False,
    ) -> Best:
        """The ``k`` (1 to outputs) best of ``x W^T``, with the bits that `linear` gives them.

        Only allowed outputs, never -inf; but NaN, which comes before all numbers, and +inf are
        always returned, as they mean that something is wrong.  ``log_sums`` asks for each row's
        log(sum of e^logit) over what is allowed.
        """

    def linear_add(self, x: FloatArray, weight: W, residual: FloatArray) -> FloatArray:
        """``residual + x W^T``."""

    def ffn(
        self, x: FloatArray, norm: FloatArray, eps: float, gate: W, up: W, down: W
    ) -> FloatArray:
        """``x + down(silu(gate(n)) * up(n))`` with ``n`` the RMS norm of ``x``."""

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
        """Norm ``k`` per head, rotate it, and store both at the rows' positions.

        ``k``, ``v``: ``[T, kv_heads * head_dim]``; ``norm``: ``[head_dim]``.
        """

    def attend(
        self, qg: FloatArray, norm: FloatArray, eps: float, rope: Rope, cache: KVLayer, batch: Batch
    ) -> FloatArray:
        """Causal attention of every row over its sequence, times ``sigmoid(gate)``.

        ``qg``: ``[T, heads * 2 * head_dim]``, each head's query followed by its gate.  Query head
        ``h`` reads KV head ``h // (heads / kv_heads)``.  Returns ``[T, heads * head_dim]``.
        """

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
        """Convolution, gated delta rule and gated norm; commits and defers state.

        First the ``fold`` accepted pending rows of each segment are applied to its slot, then the
        segment's rows run one by one; the slot keeps the state after row ``final``, the later
        rows become the pending ones.  ``qkv`` ``[T, channels]``, ``z`` ``[T, value_heads *
        value_dim]``, ``beta``, ``alpha`` ``[T, value_heads]``.  Returns the shape of ``z``.
        """

    def program(
        self, function: Callable[Concatenate[Batch, P], R]
    ) -> Callable[Concatenate[Batch, P], R]:
        """The same function, which the backend may record once for a shape and then replay.

        ``function`` takes a batch and any number of float32 arrays, by position, and computes with
        operations alone: what it does besides is done only while it is recorded.  The arrays that
        it returns belong to the program: **its next call overwrites them**, so callers copy what
        they keep.  Not to be called from two threads at once.
        """
