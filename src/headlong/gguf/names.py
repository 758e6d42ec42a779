"""Which tensors a model must have, under which names and in which shapes.

The names are those of the GGUF files in circulation for the architectures `qwen35` (dense) and
`qwen35moe`. A list of what is expected makes it possible to say at once which tensors of a file are
missing, misshapen or unknown, before any of them is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headlong.gguf.header import TensorInfo

__all__ = [
    "EMBEDDING",
    "OUTPUT",
    "OUTPUT_NORM",
    "BlockShapes",
    "Difference",
    "ExpectedTensor",
    "ExpertShapes",
    "attention_block",
    "block_prefix",
    "compare_tensors",
    "delta_block",
    "expected_tensors",
    "global_tensors",
    "mtp_block",
]

EMBEDDING: Final = "token_embd.weight"
OUTPUT: Final = "output.weight"
"""The LM head; absent where it is tied to the embedding."""
OUTPUT_NORM: Final = "output_norm.weight"

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExpertShapes:
    """Sizes of a mixture-of-experts FFN."""

    experts: int
    ffn: int  # intermediate size of one expert
    shared_ffn: int  # intermediate size of the expert that every token passes through


@dataclass(frozen=True, slots=True)
class BlockShapes:
    """The sizes that determine all tensor shapes of a `qwen35` or `qwen35moe` model."""

    vocab: int
    hidden: int
    ffn: int  # intermediate size of the dense FFN; unused with experts
    heads: int
    kv_heads: int
    head_dim: int
    key_heads: int  # of a delta-net layer; value_heads is a multiple
    value_heads: int
    state: int  # key and value size of one delta-net head
    taps: int  # kernel of the causal convolution
    experts: ExpertShapes | None = None  # None: dense FFN

    @property
    def inner(self) -> int:
        """Width of a delta-net layer's values, gates and output."""
        return self.value_heads * self.state

    @property
    def conv_channels(self) -> int:
        """Queries, keys and values of a delta-net layer side by side."""
        return 2 * self.key_heads * self.state + self.inner


@dataclass(frozen=True, slots=True)
class ExpectedTensor:
    """One tensor of the list. Shapes are in GGUF order, ne0 first."""

    name: str
    shape: Shape
    optional: bool = False
    replaces: tuple[str, ...] = ()  # tensors that need not be there if this one is


@dataclass(frozen=True, slots=True)
class Difference:
    """What a file lacks, has in another shape, and has beyond the list."""

    missing: tuple[ExpectedTensor, ...]
    misshapen: tuple[tuple[ExpectedTensor, TensorInfo], ...]
    unexpected: tuple[str, ...]

    def problems(self) -> list[str]:
        """One sentence part for each missing or misshapen tensor."""
        missing = [f"tensor {one.name} {list(one.shape)} is missing" for one in self.missing]
        misshapen = [
            f"tensor {one.name} has shape {list(found.shape)} instead of {list(one.shape)}"
            for one, found in self.misshapen
        ]
        return missing + misshapen


def block_prefix(index: int) -> str:
    """What the names of a block's tensors start with."""
    return f"blk.{index}."


def expected_tensors(
    shapes: BlockShapes, recurrent: Sequence[bool], mtp_layers: int
) -> list[ExpectedTensor]:
    """All tensors of a model.

    Args:
        shapes: sizes; with `experts` they describe a `qwen35moe` model, else `qwen35`.
        recurrent: for each trunk block whether it is a delta-net layer (else full attention).
        mtp_layers: number of MTP blocks; they follow the trunk blocks.
    """
    listed = global_tensors(shapes)
    for index, is_delta in enumerate(recurrent):
        listed += delta_block(shapes, index) if is_delta else attention_block(shapes, index)
    for index in range(len(recurrent), len(recurrent) + mtp_layers):
        listed += mtp_block(shapes, index)
    return listed


def global_tensors(shapes: BlockShapes) -> list[ExpectedTensor]:
    """The tensors outside the blocks."""
    table = (shapes.hidden, shapes.vocab)
    return [
        ExpectedTensor(EMBEDDING, table),
        ExpectedTensor(OUTPUT_NORM, (shapes.hidden,)),
        ExpectedTensor(OUTPUT, table, optional=True),
    ]


def attention_block(shapes: BlockShapes, index: int) -> list[ExpectedTensor]:
    """A full-attention trunk block. `attn_q` holds queries and gates of each head in turn."""
    listed = _gated_attention(shapes, index) + _norms_and_ffn(shapes, index)
    prefix = block_prefix(index)
    parts = [f"{prefix}attn_{part}.weight" for part in "qkv"]
    rows = (2 * shapes.heads + 2 * shapes.kv_heads) * shapes.head_dim
    fused = ExpectedTensor(
        f"{prefix}attn_qkv.weight", (shapes.hidden, rows), optional=True, replaces=tuple(parts)
    )
    return [*listed, fused]


def delta_block(shapes: BlockShapes, index: int) -> list[ExpectedTensor]:
    """A Gated DeltaNet trunk block. `attn_qkv` holds all queries, then keys, then values."""
    hidden, inner, heads = shapes.hidden, shapes.inner, shapes.value_heads
    prefix = block_prefix(index)
    mixer: dict[str, Shape] = {
        "attn_qkv.weight": (hidden, shapes.conv_channels),
        "attn_gate.weight": (hidden, inner),
        "ssm_alpha.weight": (hidden, heads),
        "ssm_beta.weight": (hidden, heads),
        "ssm_conv1d.weight": (shapes.taps, shapes.conv_channels),
        "ssm_a": (heads,),
        "ssm_dt.bias": (heads,),
        "ssm_norm.weight": (shapes.state,),
        "ssm_out.weight": (inner, hidden),
    }
    return _required(prefix, mixer) + _norms_and_ffn(shapes, index)


def mtp_block(shapes: BlockShapes, index: int) -> list[ExpectedTensor]:
    """A multi-token prediction block: a full-attention block and what feeds and reads it.

    Where an optional tensor is absent, the trunk's `output_norm`, embedding or LM head stands in.
    """
    hidden = shapes.hidden
    prefix = f"{block_prefix(index)}nextn."
    around = _required(
        prefix,
        {
            "eh_proj.weight": (2 * hidden, hidden),
            "enorm.weight": (hidden,),
            "hnorm.weight": (hidden,),
        },
    )
    table = (hidden, shapes.vocab)
    own = [
        ExpectedTensor(f"{prefix}shared_head_norm.weight", (hidden,), optional=True),
        ExpectedTensor(f"{prefix}embed_tokens.weight", table, optional=True),
        ExpectedTensor(f"{prefix}shared_head_head.weight", table, optional=True),
    ]
    return _gated_attention(shapes, index) + _norms_and_ffn(shapes, index) + around + own


def compare_tensors(
    expected: Iterable[ExpectedTensor], found: Mapping[str, TensorInfo]
) -> Difference:
    """Hold a file's tensors against the list. Trailing dimensions of size 1 do not matter."""
    listed = list(expected)
    replaced = {name for one in listed if one.name in found for name in one.replaces}
    missing = []
    misshapen = []
    for one in listed:
        info = found.get(one.name)
        if info is None:
            if not one.optional and one.name not in replaced:
                missing.append(one)
        elif _trimmed(info.shape) != _trimmed(one.shape):
            misshapen.append((one, info))
    known = {one.name for one in listed}
    unexpected = tuple(name for name in found if name not in known)
    return Difference(tuple(missing), tuple(misshapen), unexpected)


def _trimmed(shape: Shape) -> Shape:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _required(prefix: str, tensors: Mapping[str, Shape]) -> list[ExpectedTensor]:
    return [ExpectedTensor(prefix + name, shape) for name, shape in tensors.items()]


def _gated_attention(shapes: BlockShapes, index: int) -> list[ExpectedTensor]:
    width, kv_width = shapes.heads * shapes.head_dim, shapes.kv_heads * shapes.head_dim
    return _required(
        block_prefix(index),
        {
            "attn_q.weight": (shapes.hidden, 2 * width),
            "attn_k.weight": (shapes.hidden, kv_width),
            "attn_v.weight": (shapes.hidden, kv_width),
            "attn_output.weight": (width, shapes.hidden),
            "attn_q_norm.weight": (shapes.head_dim,),
            "attn_k_norm.weight": (shapes.head_dim,),
        },
    )


def _norms_and_ffn(shapes: BlockShapes, index: int) -> list[ExpectedTensor]:
    hidden = shapes.hidden
    prefix = block_prefix(index)
    norms: dict[str, Shape] = {
        "attn_norm.weight": (hidden,),
        "post_attention_norm.weight": (hidden,),
    }
    if shapes.experts is None:
        dense: dict[str, Shape] = {
            "ffn_gate.weight": (hidden, shapes.ffn),
            "ffn_up.weight": (hidden, shapes.ffn),
            "ffn_down.weight": (shapes.ffn, hidden),
        }
        return _required(prefix, norms | dense)
    count, ffn, shared = shapes.experts.experts, shapes.experts.ffn, shapes.experts.shared_ffn
    experts: dict[str, Shape] = {
        "ffn_gate_inp.weight": (hidden, count),
        "ffn_gate_exps.weight": (hidden, ffn, count),
        "ffn_up_exps.weight": (hidden, ffn, count),
        "ffn_down_exps.weight": (ffn, hidden, count),
        "ffn_gate_inp_shexp.weight": (hidden,),
        "ffn_gate_shexp.weight": (hidden, shared),
        "ffn_up_shexp.weight": (hidden, shared),
        "ffn_down_shexp.weight": (shared, hidden),
    }
    fused = ExpectedTensor(
        f"{prefix}ffn_gate_up_exps.weight",
        (hidden, 2 * ffn, count),
        optional=True,
        replaces=(f"{prefix}ffn_gate_exps.weight", f"{prefix}ffn_up_exps.weight"),
    )
    return [*_required(prefix, norms | experts), fused]
