"""The shape of the smallest models."""

from tiny import TinySpec

SMALL = TinySpec(
    hidden=64,
    ffn=64,
    heads=2,
    kv_heads=1,
    head_dim=32,
    n_rot=8,
    key_heads=1,
    value_heads=2,
    state_size=32,
)
