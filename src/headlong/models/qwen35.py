"""The dense Qwen3.5 trunk, top to bottom.

Layers alternate between gated delta-net (recurrent, constant state) and, every few layers, gated
full attention (KV cache); each is followed by a SwiGLU feed-forward block.  Shapes and formulas
are those of the GGUF architecture ``qwen35``; norms are stored ready to multiply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from headlong.models.config import AttentionShape, Qwen35Config
from headlong.models.loader import Loader
from headlong.ops.batch import Batch, Float64Array, FloatArray, Rope, rotary_frequencies
from headlong.ops.best import Best, Bits
from headlong.ops.protocol import DeltaNetWeights, Ops, W
from headlong.ops.state import KVLayer, RecurrentLayer


@dataclass(frozen=True, slots=True)
class FeedForward(Generic[W]):
    """SwiGLU block: ``x + down(silu(gate(n)) * up(n))``, n = norm(x)."""

    norm: FloatArray
    gate: W
    up: W
    down: W

    @classmethod
    def load(cls, load: Loader[W], block: str, config: Qwen35Config) -> FeedForward[W]:
        """Pack the tensors of a block whose names begin with ``block``."""
        hidden, ffn = config.hidden, config.ffn
        return cls(
            norm=load.vector(f"{block}.post_attention_norm.weight", hidden),
            gate=load.matrix(f"{block}.ffn_gate.weight", ffn, hidden),
            up=load.matrix(f"{block}.ffn_up.weight", ffn, hidden),
            down=load.matrix(f"{block}.ffn_down.weight", hidden, ffn),
        )

    def __call__(self, ops: Ops[W], x: FloatArray, eps: float) -> FloatArray:
        return ops.ffn(x, self.norm, eps, self.gate, self.up, self.down)


@dataclass(frozen=True, slots=True)
class Attention(Generic[W]):
    """Gated full attention; ``q`` yields each head's query and then its gate."""

    shape: AttentionShape
    norm: FloatArray
    q: W
    k: W
    v: W
    output: W
    q_norm: FloatArray
    k_norm: FloatArray

    @classmethod
    def load(cls, load: Loader[W], block: str, config: Qwen35Config) -> Attention[W]:
        """Pack the tensors of a block whose names begin with ``block``."""
        shape, hidden = config.attention, config.hidden
        query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        fused = f"{block}.attn_qkv.weight"
        if fused in load:
            q, k, v = load.stacked(fused, (2 * query, key, key), hidden)
        else:
            q = load.matrix(f"{block}.attn_q.weight", 2 * query, hidden)
            k = load.matrix(f"{block}.attn_k.weight", key, hidden)
            v = load.matrix(f"{block}.attn_v.weight", key, hidden)
        return cls(
            shape=shape,
            norm=load.vector(f"{block}.attn_norm.weight", hidden),
            q=q,
            k=k,
            v=v,
            output=load.matrix(f"{block}.attn_output.weight", hidden, query),
            q_norm=load.vector(f"{block}.attn_q_norm.weight", shape.head_dim),
            k_norm=load.vector(f"{block}.attn_k_norm.weight", shape.head_dim),
        )

    def __call__(
        self, ops: Ops[W], x: FloatArray, eps: float, rope: Rope, cache: KVLayer, batch: Batch
    ) -> FloatArray:
        qg, k, v = ops.linear(x, self.q, self.k, self.v, norm=self.norm, eps=eps)
        ops.store_kv(k, v, self.k_norm, eps, rope, cache, batch)
        o = ops.attend(qg, self.q_norm, eps, rope, cache, batch)
        return ops.linear_add(o, self.output, x)

    def store(
        self, ops: Ops[W], x: FloatArray, eps: float, rope: Rope, cache: KVLayer, batch: Batch
    ) -> None:
        """Only what later rows need of these: keys and values."""
        k, v = ops.linear(x, self.k, self.v, norm=self.norm, eps=eps)
        ops.store_kv(k, v, self.k_norm, eps, rope, cache, batch)

    def read(
        self, ops: Ops[W], x: FloatArray, eps: float, rope: Rope, cache: KVLayer, batch: Batch
    ) -> FloatArray:
        """Attend rows whose keys and values are stored already."""
        (qg,) = ops.linear(x, self.q, norm=self.norm, eps=eps)
        o = ops.attend(qg, self.q_norm, eps, rope, cache, batch)
        return ops.linear_add(o, self.output, x)


@dataclass(frozen=True, slots=True)
class DeltaNet(Generic[W]):
    """Gated delta-net: a matrix of associations per head, decayed and corrected by every row."""

    norm: FloatArray
    qkv: W
    z: W
    beta: W
    alpha: W
    output: W
    weights: DeltaNetWeights

    @classmethod
    def load(cls, load: Loader[W], block: str, config: Qwen35Config) -> DeltaNet[W]:
        """Pack the tensors of a block whose names begin with ``block``."""
        shape, hidden = config.delta, config.hidden
        inner = shape.value_heads * shape.value_dim
        return cls(
            norm=load.vector(f"{block}.attn_norm.weight", hidden),
            qkv=load.matrix(f"{block}.attn_qkv.weight", shape.channels, hidden),
            z=load.matrix(f"{block}.attn_gate.weight", inner, hidden),
            beta=load.matrix(f"{block}.ssm_beta.weight", shape.value_heads, hidden),
            alpha=load.matrix(f"{block}.ssm_alpha.weight", shape.value_heads, hidden),
            output=load.matrix(f"{block}.ssm_out.weight", hidden, inner),
            weights=DeltaNetWeights(
                shape=shape,
                conv=load.vector(f"{block}.ssm_conv1d.weight", shape.channels, shape.taps),
                a=load.vector(f"{block}.ssm_a", shape.value_heads),
                dt=load.vector(f"{block}.ssm_dt.bias", shape.value_heads),
                norm=load.vector(f"{block}.ssm_norm.weight", shape.value_dim),
            ),
        )

    def __call__(
        self, ops: Ops[W], x: FloatArray, eps: float, state: RecurrentLayer, batch: Batch
    ) -> FloatArray:
        qkv, z, beta, alpha = ops.linear(
            x, self.qkv, self.z, self.beta, self.alpha, norm=self.norm, eps=eps
        )
        y = ops.delta_net(qkv, z, beta, alpha, self.weights, eps, state, batch)
        return ops.linear_add(y, self.output, x)


@dataclass(frozen=True, slots=True)
class Qwen35(Generic[W]):
    """The trunk: embedding, layers, final norm, LM head (the embedding table when tied)."""

    config: Qwen35Config
    ops: Ops[W]
    frequencies: Float64Array
    embedding: W
    mixers: tuple[Attention[W] | DeltaNet[W], ...]
    ffns: tuple[FeedForward[W], ...]
    output_norm: FloatArray
    head: W

    @classmethod
    def load(cls, load: Loader[W], ops: Ops[W], config: Qwen35Config) -> Qwen35[W]:
        """Pack all trunk tensors.  Raises `ModelError` for a missing or misshapen one."""
        embedding = load.matrix("token_embd.weight", config.vocab, config.hidden)
        mixers: list[Attention[W] | DeltaNet[W]] = []
        ffns = []
        for i, recurrent in enumerate(config.recurrent):
            block = f"blk.{i}"
            mixer = DeltaNet if recurrent else Attention
            mixers.append(mixer.load(load, block, config))
            ffns.append(FeedForward.load(load, block, config))
        tied = "output.weight" not in load
        return cls(
            config=config,
            ops=ops,
            frequencies=rotary_frequencies(config.attention.rotary, config.rope_base),
            embedding=embedding,
            mixers=tuple(mixers),
            ffns=tuple(ffns),
            output_norm=load.vector("output_norm.weight", config.hidden),
            head=embedding if tied else load.matrix("output.weight", config.vocab, config.hidden),
        )

    def forward(
        self, batch: Batch, kv: Sequence[KVLayer], recurrent: Sequence[RecurrentLayer]
    ) -> FloatArray:
        """Run all rows; returns their hidden states after the final norm, ``[T, hidden]``.

        ``kv`` and ``recurrent`` hold one entry per attention and delta-net layer, in order.
        """
        ops, eps = self.ops, self.config.eps
        rope = ops.angles(batch, self.frequencies)
        caches, states = iter(kv), iter(recurrent)
        x = ops.embed(self.embedding, batch.tokens)
        for mixer, ffn in zip(self.mixers, self.ffns, strict=True):
            if isinstance(mixer, DeltaNet):
                x = mixer(ops, x, eps, next(states), batch)
            else:
                x = mixer(ops, x, eps, rope, next(caches), batch)
            x = ffn(ops, x, eps)
        return ops.norm(x, self.output_norm, eps)

    def logits(self, hidden: FloatArray) -> FloatArray:
        """Logits of normed hidden states: ``[n, vocab]``."""
        (logits,) = self.ops.linear(hidden, self.head)
        return logits

    def best(self, hidden: FloatArray, k: int, allowed: Bits | None = None) -> Best:
        """The best ``k`` of each row's logits, among the ids that are allowed."""
        return self.ops.best(hidden, self.head, k, allowed=allowed)
