"""Sizes that no published model has, so that rehearsal files are written in a moment."""

from __future__ import annotations

from dataclasses import replace

from headlong.gguf.names import BlockShapes
from headlong.tools.synth.sizes import Size

TIED = Size(
    name="Test-6M",
    shapes=BlockShapes(
        vocab=2048,
        hidden=1024,  # the smallest that holds three codes and a constant part
        ffn=512,
        heads=4,
        kv_heads=1,
        head_dim=64,
        key_heads=2,
        value_heads=4,
        state=64,
        taps=4,
    ),
    layers=4,
    tied=True,
    rotary=16,
    context=4096,
)

UNTIED = replace(TIED, name="Test-8M", tied=False)
