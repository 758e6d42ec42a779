"""Sizes of a `qwen35` model, read from GGUF metadata and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass

from headlong.errors import ModelError, UnsupportedError
from headlong.gguf.metadata import Metadata
from headlong.ops.state import DeltaNetShape

ARCHITECTURES = ("qwen35",)

_KNOWN_KEYS = frozenset(
    (
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.layer_norm_rms_epsilon",
        "attention.recurrent_layers",
        "attention.value_length",
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "full_attention_interval",
        "nextn_predict_layers",
        "rope.dimension_count",
        "rope.dimension_sections",
        "rope.freq_base",
        "rope.scaling.type",
        "ssm.conv_kernel",
        "ssm.group_count",
        "ssm.inner_size",
        "ssm.state_size",
        "ssm.time_step_rank",
        "vocab_size",  # repeats the rows of the embedding
    )
)


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Sizes of a gated attention layer; ``rotary`` leading dimensions of a head are rotated."""

    heads: int
    kv_heads: int
    head_dim: int
    rotary: int


@dataclass(frozen=True, slots=True)
class Qwen35Config:
    """What the forward pass needs to know.

    ``recurrent[i]`` tells whether trunk layer ``i`` is a delta-net layer.  ``mtp_layers`` (0 or 1)
    blocks follow the ``layers`` trunk blocks in the file.
    """

    name: str
    layers: int
    mtp_layers: int
    hidden: int
    ffn: int
    vocab: int
    context: int
    eps: float
    rope_base: float
    attention: AttentionShape
    delta: DeltaNetShape
    recurrent: tuple[bool, ...]

    @property
    def mtp_block(self) -> int:
        """Index of the MTP block's tensors in the file."""
        return self.layers


def architecture(meta: Metadata) -> str:
    """Read ``general.architecture``; raises `UnsupportedError` unless it can be run."""
    name = meta.require("general.architecture", str)
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedError(
            f"{meta.path}: architecture '{name}' cannot be run; Headlong runs: {known}. "
            "'headlong inspect' shows what the file holds."
        )
    return name


def unknown_keys(meta: Metadata) -> list[str]:
    """Keys of the architecture that nothing here reads."""
    prefix = architecture(meta) + "."
    return [k for k in meta if k.startswith(prefix) and k.removeprefix(prefix) not in _KNOWN_KEYS]


def read_config(meta: Metadata, vocab: int) -> Qwen35Config:
    """Read and check the configuration; ``vocab`` is the number of rows of ``token_embd``.

    Raises `ModelError` for a key that is missing, mistyped or contradicts another, and
    `UnsupportedError` for what is valid but not built.
    """
    arch = architecture(meta)

    def size(key: str, maximum: int = 1 << 20) -> int:
        return meta.require(f"{arch}.{key}", int, minimum=1, maximum=maximum)

    blocks = size("block_count", 4096)
    mtp = meta.get(f"{arch}.nextn_predict_layers", int, 0, minimum=0, maximum=64)
    if mtp > 1:
        raise UnsupportedError(
            f"{meta.path}: {arch}.nextn_predict_layers = {mtp}, but only heads of one layer can "
            "be run."
        )
    if mtp >= blocks:
        raise ModelError(f"{meta.path}: {arch}.block_count = {blocks} leaves no trunk layer.")
    _refuse_rope_scaling(meta, arch)
    attention = AttentionShape(
        heads=size("attention.head_count"),
        kv_heads=size("attention.head_count_kv"),
        head_dim=size("attention.key_length"),
        rotary=size("rope.dimension_count"),
    )
    state = size("ssm.state_size")
    delta = DeltaNetShape(
        key_heads=size("ssm.group_count"),
        value_heads=size("ssm.time_step_rank"),
        key_dim=state,
        value_dim=state,
        taps=size("ssm.conv_kernel", 8),
    )
    _check(meta, arch, attention, delta)
    layers = blocks - mtp
    return Qwen35Config(
        name=meta.get("general.name", str, meta.path.stem),
        layers=layers,
        mtp_layers=mtp,
        hidden=size("embedding_length"),
        ffn=size("feed_forward_length", 1 << 24),
        vocab=vocab,
        context=size("context_length", 1 << 30),
        eps=meta.require(f"{arch}.attention.layer_norm_rms_epsilon", float, minimum=0.0),
        rope_base=meta.require(f"{arch}.rope.freq_base", float, minimum=1.0),
        attention=attention,
        delta=delta,
        recurrent=_recurrent_layers(meta, arch, layers),
    )


def _recurrent_layers(meta: Metadata, arch: str, layers: int) -> tuple[bool, ...]:
    key = f"{arch}.attention.recurrent_layers"
    if key in meta:
        flags = meta.bools(key)
        if len(flags) < layers:
            raise ModelError(f"{meta.path}: {key} has {len(flags)} entries for {layers} layers.")
        return tuple(flags[:layers])
    interval = meta.get(f"{arch}.full_attention_interval", int, 4, minimum=1, maximum=4096)
    return tuple((i + 1) % interval != 0 for i in range(layers))


def _refuse_rope_scaling(meta: Metadata, arch: str) -> None:
    key = f"{arch}.rope.scaling.type"
    scaling = meta.get(key, str, "none")
    if scaling != "none":
        raise UnsupportedError(
            f"{meta.path}: {key} = '{scaling}'; only unscaled rotary positions ('none') are "
            "supported."
        )


def _check(meta: Metadata, arch: str, attention: AttentionShape, delta: DeltaNetShape) -> None:
    def fail(text: str) -> None:
        raise ModelError(f"{meta.path}: {text}.")

    value_length = meta.get(f"{arch}.attention.value_length", int, attention.head_dim)
    if value_length != attention.head_dim:
        fail(f"{arch}.attention.value_length = {value_length} differs from key_length")
    if attention.heads % attention.kv_heads:
        fail(f"{attention.heads} attention heads do not divide into {attention.kv_heads} KV heads")
    if attention.head_dim % 16 or attention.head_dim > 512:
        fail(
            f"{arch}.attention.key_length = {attention.head_dim} is not a multiple of 16 up to 512"
        )
    if attention.rotary % 2 or attention.rotary > attention.head_dim:
        fail(f"{arch}.rope.dimension_count = {attention.rotary} is odd or exceeds the head size")
    if delta.key_dim % 16 or delta.key_dim > 256:
        fail(f"{arch}.ssm.state_size = {delta.key_dim} is not a multiple of 16 up to 256")
    if delta.taps < 2:
        fail(f"{arch}.ssm.conv_kernel = {delta.taps} is below 2")
    if delta.value_heads % delta.key_heads:
        fail(
            f"{arch}.ssm.time_step_rank = {delta.value_heads} is no multiple of "
            f"ssm.group_count = {delta.key_heads}"
        )
    inner = meta.get(f"{arch}.ssm.inner_size", int, delta.value_heads * delta.value_dim)
    if inner != delta.value_heads * delta.value_dim:
        fail(f"{arch}.ssm.inner_size = {inner} is not time_step_rank x state_size")
    sections = f"{arch}.rope.dimension_sections"
    if sections in meta:
        widths = meta.ints(sections)
        if len(widths) > 3 and widths[3] != 0:
            fail(f"{sections}[3] = {widths[3]}; a fourth position stream has no meaning for text")
