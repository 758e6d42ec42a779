"""The multi-token prediction head of `qwen35`: one more attention block with its own KV cache.

Row ``j`` of the head joins the trunk's hidden state at position ``j`` (after the final norm) with
the embedding of the token at ``j + 1``, and predicts the token at ``j + 2``.  Its own output, put
in place of the trunk's hidden state, predicts one token further, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from headlong.models.config import Qwen35Config
from headlong.models.loader import Loader
from headlong.models.qwen35 import Attention, FeedForward, Qwen35
from headlong.ops.batch import Batch, Float64Array, FloatArray
from headlong.ops.protocol import Ops, W
from headlong.ops.state import KVLayer


@dataclass(frozen=True, slots=True)
class MTPHead(Generic[W]):
    """Shares embedding, final norm (unless it has its own) and LM head with the trunk.

    In every method the batch's ``tokens`` are the *next* tokens ``x[j + 1]`` and its positions
    are ``j``; the labels of positions only enter as differences.
    """

    config: Qwen35Config
    ops: Ops[W]
    frequencies: Float64Array
    embedding: W
    embedding_norm: FloatArray
    hidden_norm: FloatArray
    projection: W
    attention: Attention[W]
    ffn: FeedForward[W]
    norm: FloatArray
    head: W

    @classmethod
    def load(cls, load: Loader[W], trunk: Qwen35[W]) -> MTPHead[W]:
        """Pack the head's tensors.  Raises `ModelError` for a missing or misshapen one."""
        config = trunk.config
        block, hidden = f"blk.{config.mtp_block}", config.hidden

        def own_or(name: str, shared: W) -> W:
            full = f"{block}.nextn.{name}.weight"
            return load.matrix(full, config.vocab, hidden) if full in load else shared

        norm = f"{block}.nextn.shared_head_norm.weight"
        return cls(
            config=config,
            ops=trunk.ops,
            frequencies=trunk.frequencies,
            embedding=own_or("embed_tokens", trunk.embedding),
            embedding_norm=load.vector(f"{block}.nextn.enorm.weight", hidden),
            hidden_norm=load.vector(f"{block}.nextn.hnorm.weight", hidden),
            projection=load.matrix(f"{block}.nextn.eh_proj.weight", hidden, 2 * hidden),
            attention=Attention.load(load, block, config),
            ffn=FeedForward.load(load, block, config),
            norm=load.vector(norm, hidden) if norm in load else trunk.output_norm,
            head=own_or("shared_head_head", trunk.head),
        )

    def fill(self, batch: Batch, hidden: FloatArray, cache: KVLayer) -> None:
        """Store keys and values of rows, and nothing else: all that a prompt row is good for."""
        ops, eps = self.ops, self.config.eps
        x = self._join(batch, hidden)
        self.attention.store(ops, x, eps, ops.angles(batch, self.frequencies), cache, batch)

    def forward(self, batch: Batch, hidden: FloatArray, cache: KVLayer) -> FloatArray:
        """Store keys and values of all rows and compute each segment's last one.

        ``hidden`` ``[T, hidden]``; returns ``[S, hidden]``: the LM head's input, and the
        hidden state for the next step of a chain.
        """
        ops, eps = self.ops, self.config.eps
        x = self._join(batch, hidden)
        rope = ops.angles(batch, self.frequencies)
        if batch.single_rows:
            x = self.attention(ops, x, eps, rope, cache, batch)
        else:
            self.attention.store(ops, x, eps, rope, cache, batch)
            x, last = ops.last_rows(x, batch)
            rope = ops.angles(last, self.frequencies)
            x = self.attention.read(ops, x, eps, rope, cache, last)
        x = self.ffn(ops, x, eps)
        return ops.norm(x, self.norm, eps)

    def _join(self, batch: Batch, hidden: FloatArray) -> FloatArray:
        ops, eps = self.ops, self.config.eps
        embedded = ops.embed(self.embedding, batch.tokens)
        joined = ops.norm_join(embedded, self.embedding_norm, hidden, self.hidden_norm, eps)
        (x,) = ops.linear(joined, self.projection)
        return x
