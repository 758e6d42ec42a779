"""What a model needs in memory, and what one decode step moves, from sizes alone.

Decoding is bound by memory: tokens per second are bandwidth over the bytes of a step, so these
figures tell before anything is loaded whether a model fits and how fast it can be at best. Nothing
here is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headlong.errors import ModelError
from headlong.gguf import BlockShapes, ExpertShapes, Metadata, TensorInfo
from headlong.gguf.names import EMBEDDING, OUTPUT, block_prefix

__all__ = ["KNOWN_ARCHITECTURES", "MemoryNeed", "ModelSizes", "StepBytes", "read_sizes"]

KNOWN_ARCHITECTURES: Final = ("qwen35", "qwen35moe")
"""Architectures whose sizes and tensors are understood (not all of them can be run)."""

_F16: Final = 2
_F32: Final = 4


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Dimensions of a known architecture, from the metadata."""

    context: int  # tokens the model was trained for
    recurrent: tuple[bool, ...]  # for each trunk layer: delta net (else full attention)
    mtp_layers: int  # as the metadata declare; the tensors may be missing
    experts_used: int  # per token; 0 for a dense FFN
    blocks: BlockShapes

    @property
    def layers(self) -> int:
        """Trunk layers."""
        return len(self.recurrent)

    @property
    def delta_layers(self) -> int:
        """Trunk layers with a recurrent state."""
        return sum(self.recurrent)

    @property
    def attention_layers(self) -> int:
        """Trunk layers with a KV cache."""
        return self.layers - self.delta_layers

    @property
    def mtp_blocks(self) -> range:
        """Indices of the blocks that make up the MTP head."""
        return range(self.layers, self.layers + self.mtp_layers)

    def kv_bytes(self, layers: int, context: int) -> int:
        """KV cache of some layers: float16 keys and values of `context` tokens."""
        return layers * context * 2 * self.blocks.kv_heads * self.blocks.head_dim * _F16

    @property
    def state_bytes(self) -> int:
        """Recurrent state of one sequence: float32 matrices and the convolution's last inputs."""
        matrices = self.blocks.value_heads * self.blocks.state**2
        window = (self.blocks.taps - 1) * self.blocks.conv_channels
        return self.delta_layers * (matrices + window) * _F32


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes to hold a model and one sequence."""

    context: int  # tokens of the sequence
    weights: int  # as stored, MTP head included
    kv_trunk: int
    kv_mtp: int
    state: int
    total: int

    @classmethod
    def of(
        cls, sizes: ModelSizes, tensors: Mapping[str, TensorInfo], context: int, *, mtp: bool
    ) -> "MemoryNeed":
        """Add up; `mtp` says whether there is a head to run."""
        weights = sum(info.nbytes for info in tensors.values())
        kv_trunk = sizes.kv_bytes(sizes.attention_layers, context)
        kv_mtp = sizes.kv_bytes(sizes.mtp_layers, context) if mtp else 0
        state = sizes.state_bytes
        return cls(context, weights, kv_trunk, kv_mtp, state, weights + kv_trunk + kv_mtp + state)


@dataclass(frozen=True, slots=True)
class StepBytes:
    """Bytes that move between memory and cores for one token of one sequence."""

    context: int  # tokens before this one
    weights: int  # every trunk weight once; of a separate embedding one row; of experts those used
    state: int  # recurrent state, read and written
    kv: int  # trunk KV cache, read
    total: int
    draft: int  # one MTP draft step on top: its block, the full LM head and its own KV; 0 without

    @classmethod
    def of(
        cls, sizes: ModelSizes, tensors: Mapping[str, TensorInfo], context: int, *, mtp: bool
    ) -> "StepBytes":
        """Add up; `mtp` says whether there is a head to run."""
        head_prefixes = tuple(block_prefix(index) for index in sizes.mtp_blocks)
        weights = draft = 0
        for name, info in tensors.items():
            if name == EMBEDDING and OUTPUT in tensors:
                moved = info.type.row_bytes(info.cols)
            elif "_exps." in name and sizes.blocks.experts is not None:
                moved = info.nbytes * sizes.experts_used // sizes.blocks.experts.experts
            else:
                moved = info.nbytes
            if name.startswith(head_prefixes):
                draft += moved
            else:
                weights += moved
        head = tensors.get(OUTPUT) or tensors.get(EMBEDDING)
        if not mtp:
            draft = 0
        else:
            draft += (head.nbytes if head else 0) + sizes.kv_bytes(sizes.mtp_layers, context)
        state = 2 * sizes.state_bytes
        kv = sizes.kv_bytes(sizes.attention_layers, context)
        return cls(context, weights, state, kv, weights + state + kv, draft)


def read_sizes(meta: Metadata, tensors: Mapping[str, TensorInfo], architecture: str) -> ModelSizes:
    """Sizes of one of `KNOWN_ARCHITECTURES`.

    Raises:
        ModelError: a key is missing, of the wrong type or out of any sensible range.
        GGUFError: the per-layer flags are damaged.
    """

    def size(key: str, maximum: int = 1 << 24) -> int:
        return meta.require(f"{architecture}.{key}", int, minimum=1, maximum=maximum)

    blocks = size("block_count", 1 << 12)
    mtp = meta.get(f"{architecture}.nextn_predict_layers", int, 0, minimum=0, maximum=blocks - 1)
    embedding = tensors.get(EMBEDDING)
    vocab = embedding.rows if embedding else meta.entry("tokenizer.ggml.tokens").count
    experts = None
    if architecture == "qwen35moe":
        expert_ffn = size("expert_feed_forward_length")
        experts = ExpertShapes(
            size("expert_count", 1 << 16),
            expert_ffn,
            meta.get(f"{architecture}.expert_shared_feed_forward_length", int, expert_ffn),
        )
    return ModelSizes(
        context=size("context_length", 1 << 32),
        recurrent=_recurrent(meta, architecture, blocks - mtp),
        mtp_layers=mtp,
        experts_used=size("expert_used_count", 1 << 16) if experts else 0,
        blocks=BlockShapes(
            vocab=vocab,
            hidden=size("embedding_length"),
            ffn=0 if experts else size("feed_forward_length"),
            heads=size("attention.head_count", 1 << 16),
            kv_heads=size("attention.head_count_kv", 1 << 16),
            head_dim=size("attention.key_length", 1 << 16),
            key_heads=size("ssm.group_count", 1 << 16),
            value_heads=size("ssm.time_step_rank", 1 << 16),
            state=size("ssm.state_size", 1 << 16),
            taps=size("ssm.conv_kernel", 1 << 10),
            experts=experts,
        ),
    )


def _recurrent(meta: Metadata, architecture: str, layers: int) -> tuple[bool, ...]:
    key = f"{architecture}.attention.recurrent_layers"
    if key in meta:
        flags = meta.bools(key)
        if len(flags) < layers:
            raise ModelError(
                f"{meta.path}: metadata key {key} has {len(flags)} elements for {layers} layers."
            )
        return tuple(flags[:layers])
    interval = meta.get(
        f"{architecture}.full_attention_interval", int, 4, minimum=1, maximum=1 << 12
    )
    return tuple((index + 1) % interval != 0 for index in range(layers))
