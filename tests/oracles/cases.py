"""What is compared: shapes, weight types, token sequences, and how far apart two answers are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiny import TinySpec

WEIGHT_TYPES = (
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4",
)  # fmt: skip

SHAPES = {
    "default": TinySpec(weights="F32"),
    "value heads share key heads": TinySpec(
        weights="F32", key_heads=2, value_heads=8, state_size=32
    ),
    "real head sizes": TinySpec(
        weights="F32", state_size=128, value_heads=6, heads=3, kv_heads=1, head_dim=256, n_rot=64
    ),
    "tied": TinySpec(weights="F32", tied=True),
    "no MTP head": TinySpec(weights="F32", mtp=False),
    "every other layer attends": TinySpec(weights="F32", full_attention_interval=2, conv_kernel=3),
    "all of the head rotates": TinySpec(weights="F32", heads=8, head_dim=32, n_rot=32),
    "odd widths": TinySpec(
        weights="F32", hidden=96, ffn=160, heads=3, kv_heads=3, head_dim=48, n_rot=12, vocab=301,
        key_heads=1, value_heads=3, state_size=16, rope_base=1e4,
    ),
}  # fmt: skip

# What transformers does not read, but published files may hold and llama.cpp reads.
LAYOUTS = {
    "fused q, k and v": TinySpec(weights="F32", fused_qkv=True),
    "recurrent layers listed": TinySpec(
        weights="F32", lists_recurrent_layers=True, full_attention_interval=3
    ),
}

HEADS = {
    "own output matrix": TinySpec(weights="F32", printable=True),
    "tied": TinySpec(weights="F32", printable=True, tied=True),
    "trunk's norm": TinySpec(weights="F32", printable=True, mtp_norm=False),
    "own tables": TinySpec(weights="F32", printable=True, mtp_tables=True),
}


def random_tokens(count: int, seed: int = 0) -> list[int]:
    """Token ids of any kind in a tiny vocabulary: text, control, unused."""
    return [int(t) for t in np.random.default_rng(seed).integers(0, 290, count)]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural log-probabilities over the last axis, in float64."""
    wide = np.asarray(logits, np.float64)
    wide = wide - wide.max(axis=-1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True)))


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two sets of log-probabilities [n, vocab] lie apart."""

    rms: float
    largest: float

    @classmethod
    def between(cls, ours: np.ndarray, theirs: np.ndarray) -> Difference:
        gap = ours - theirs
        assert np.isfinite(gap).all()
        return cls(float(np.sqrt((gap**2).mean())), float(np.abs(gap).max()))
