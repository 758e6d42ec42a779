"""Writes tiny random `qwen35` GGUF models, so that tests run the real format in milliseconds.

The files are written with the `gguf` package, not with ours: reading them is then a test against
someone else's writer. They hold everything a published file holds (metadata, tensor names, a
byte-level vocabulary, norms and recurrence parameters in F32), only smaller, and llama.cpp and
transformers load them too.

Two kinds of weights:

* random (`chain=None`): every matrix is noise of a sane scale, logits have a standard deviation of
  about 3. Nothing is predictable, so drafts of the MTP head are almost never accepted.
* a chain (`chain=Chain(...)`): the next token is mostly a permutation of the current one, and the
  MTP head knows that permutation except on a chosen share of tokens, so speculation accepts some
  drafts and rejects others. See `Chain` for the construction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

from tiny_blocks import encode, random_blocks
from tiny_vocab import TinyVocab, tiny_vocab

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

ARCHITECTURE = "qwen35"


@dataclass(frozen=True, slots=True)
class Chain:
    """Makes the next token depend mostly on the current one, and the MTP head right on some.

    Every embedding is two halves, `[a_t ; b_t]`, of unit variance. The output row of `next[t]`
    is `certainty / hidden * [a_t ; b_t]` plus noise, so the residual stream, in which the embedding
    outweighs what the layers add (`mix`), gives `next[t]` a logit of about `certainty`.

    A share `misleading` of the tokens carries another token's first half, `a_decoy`, and an output
    row made of `b_t` alone: whoever sees both halves still finds `next[t]`. `eh_proj` lets only the
    first half through to the MTP block, so there the head drafts `next[decoy]` and is wrong.

    The layers' contribution depends on the whole context and moves every logit a little, so that a
    wrong KV cache or recurrent state shows. With the defaults, greedy text follows the chain on
    98 % of tokens and llama.cpp accepts drafts of length 1 at a rate of `1 - misleading`, within
    0.02 over 450 tokens; the probability of the best token runs from 0.1 to 0.8. A larger `mix` or
    `noise` makes the text depend more on the context, and lowers both rates.
    """

    misleading: float = 0.3
    """Share of tokens, 0 to 1, on which the MTP head is wrong."""
    certainty: float = 8.0
    """Logit of the next token; the others have a standard deviation of about `noise`."""
    noise: float = 1.0
    mix: float = 0.8
    """Takes the place of `TinySpec.mix`."""
    ends: bool = False
    """Put `<|im_end|>` on the chain, so that generation ends within `vocab` tokens."""


@dataclass(frozen=True, slots=True)
class TinySpec:
    """Shape and weights of a tiny model; the defaults make a file of about 3 MB.

    Every row length of the defaults is a multiple of 256, so any weight type fits any matrix.
    """

    hidden: int = 256
    layers: int = 4
    """Trunk layers, without the MTP block."""
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    n_rot: int = 16
    ffn: int = 256
    vocab: int = 320
    key_heads: int = 2
    value_heads: int = 4
    state_size: int = 64
    """Key and value head dimension of the delta net."""
    conv_kernel: int = 4
    full_attention_interval: int = 4
    tied: bool = False
    mtp: bool = True
    weights: str = "Q8_0"
    """Type of every matrix except `ssm_alpha`, `ssm_beta` and `ssm_conv1d`, which stay F32."""
    weights_by_name: tuple[tuple[str, str], ...] = ()
    """(substring of a tensor name, type): the first match wins over `weights`."""
    random_blocks: bool = False
    """Fill quantised blocks with random bits, so that every code point of the type occurs, instead
    of encoding the random values; not with a chain."""
    fused_qkv: bool = False
    """Store the q, k and v matrices of full attention as one, `attn_qkv`."""
    lists_recurrent_layers: bool = False
    """Name the recurrent layers one by one instead of by `full_attention_interval`."""
    mtp_norm: bool = True
    """Give the MTP head a final norm of its own; it falls back to `output_norm`."""
    mtp_tables: bool = False
    """Give the MTP head an embedding table and an output matrix of its own; not with a chain."""
    printable: bool = False
    """Make only tokens of whole, printable ASCII characters likely, so that every token is text."""
    mix: float = 1.5
    """Size of the layers' summed contribution to the residual stream, relative to 1."""
    chain: Chain | None = None
    context: int = 4096
    rope_base: float = 1e7
    eps: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.chain is not None and (self.tied or self.random_blocks or self.mtp_tables):
            raise ValueError(
                "a chain needs encoded values and one output matrix for trunk and head"
            )
        if self.value_heads % self.key_heads or self.heads % self.kv_heads:
            raise ValueError("value_heads and heads must be multiples of key_heads and kv_heads")

    @property
    def blocks(self) -> int:
        """Trunk layers plus the MTP block: the file's `block_count`."""
        return self.layers + int(self.mtp)

    @property
    def value_dim(self) -> int:
        return self.value_heads * self.state_size

    @property
    def conv_dim(self) -> int:
        return 2 * self.key_heads * self.state_size + self.value_dim

    def is_full_attention(self, block: int) -> bool:
        return block >= self.layers or (block + 1) % self.full_attention_interval == 0

    def type_of(self, name: str) -> gguf.GGMLQuantizationType:
        """The stored type of the matrix called `name`."""
        chosen = next((t for part, t in self.weights_by_name if part in name), None)
        if chosen is None:
            chosen = "F32" if "ssm_alpha" in name or "ssm_beta" in name else self.weights
        return gguf.GGMLQuantizationType[chosen]


@dataclass(frozen=True, slots=True)
class Tiny:
    """A written model and what is known of it."""

    path: Path
    spec: TinySpec
    vocab: TinyVocab
    likely: tuple[int, ...]
    """Token ids that the model may generate."""
    next_token: tuple[int, ...] = ()
    """With a chain: the likely successor of every token id; empty without."""
    misleading: frozenset[int] = frozenset()
    """With a chain: the token ids after which the MTP head is wrong."""


def write_tiny(
    path: Path | str, spec: TinySpec | None = None, vocab: TinyVocab | None = None
) -> Tiny:
    """Write the model that `spec` describes to `path`; the same spec gives the same bytes.

    `vocab`, of `spec.vocab` tokens, takes the place of the tiny vocabulary.
    """
    spec = spec or TinySpec()
    vocab = vocab or tiny_vocab(spec.vocab)
    writer = gguf.GGUFWriter(str(path), ARCHITECTURE)
    _write_metadata(writer, spec, vocab)
    weights = _Weights(writer, spec, np.random.default_rng(spec.seed))
    likely = vocab.printable if spec.printable else vocab.normal
    if spec.chain and spec.chain.ends:
        likely += (vocab.end_of_turn,)
    chain = _plan_chain(spec, likely, weights.rng) if spec.chain else None
    _write_vocabulary_matrices(weights, likely, chain)
    for block in range(spec.blocks):
        _write_block(weights, block)
    if spec.mtp:
        _write_nextn(weights, likely, chain)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if chain is None:
        return Tiny(Path(path), spec, vocab, likely)
    return Tiny(
        Path(path),
        spec,
        vocab,
        likely,
        tuple(int(t) for t in chain.successor),
        frozenset(int(t) for t in np.flatnonzero(chain.decoy >= 0)),
    )


def _write_metadata(writer: gguf.GGUFWriter, spec: TinySpec, vocab: TinyVocab) -> None:
    pairs = spec.n_rot // 2
    first, second = -(-pairs // 3), (pairs + 1) // 3
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_block_count(spec.blocks)
    writer.add_context_length(spec.context)
    writer.add_embedding_length(spec.hidden)
    writer.add_feed_forward_length(spec.ffn)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.kv_heads)
    writer.add_key_length(spec.head_dim)
    writer.add_value_length(spec.head_dim)
    writer.add_layer_norm_rms_eps(spec.eps)
    writer.add_rope_freq_base(spec.rope_base)
    writer.add_rope_dimension_count(spec.n_rot)
    writer.add_rope_dimension_sections([first, second, pairs - first - second, 0])
    if spec.lists_recurrent_layers:
        flags = [not spec.is_full_attention(block) for block in range(spec.blocks)]
        writer.add_array(f"{ARCHITECTURE}.attention.recurrent_layers", flags)
    else:
        writer.add_full_attention_interval(spec.full_attention_interval)
    writer.add_ssm_conv_kernel(spec.conv_kernel)
    writer.add_ssm_state_size(spec.state_size)
    writer.add_ssm_group_count(spec.key_heads)
    writer.add_ssm_time_step_rank(spec.value_heads)
    writer.add_ssm_inner_size(spec.value_dim)
    if spec.mtp:
        writer.add_nextn_predict_layers(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list(list(vocab.tokens))
    writer.add_token_types(list(vocab.types))
    writer.add_token_merges(list(vocab.merges))
    writer.add_eos_token_id(vocab.end_of_turn)
    writer.add_pad_token_id(vocab.end_of_text)
    writer.add_add_bos_token(False)
    writer.add_chat_template(vocab.chat_template)


@dataclass(slots=True)
class _Weights:
    """Draws tensors from one generator and adds them to the file."""

    writer: gguf.GGUFWriter
    spec: TinySpec
    rng: np.random.Generator
    branch: float = field(init=False)
    """Gain of a branch's last matrix: `2 * layers` branches of size ~0.6 sum to `mix`."""

    def __post_init__(self) -> None:
        mix = self.spec.chain.mix if self.spec.chain else self.spec.mix
        self.branch = mix / (0.6 * (2 * self.spec.layers) ** 0.5)

    def noise(self, *shape: int) -> Floats:
        return self.rng.standard_normal(shape, dtype=np.float32)

    def vector(self, name: str, values: Floats) -> None:
        """A tensor that every file keeps in F32."""
        self.writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))

    def norm(self, name: str, size: int, scale: float = 1.0) -> None:
        self.vector(name, scale * (1 + 0.1 * self.noise(size)))

    def values(self, name: str, values: Floats) -> None:
        """A matrix (rows, columns), stored in the type the spec wants for it."""
        kind = self.spec.type_of(name)
        self.writer.add_tensor(name, encode(values, kind), raw_dtype=kind)

    def matrix(self, name: str, rows: int, columns: int, gain: float | Floats = 1.0) -> None:
        """A random matrix that maps an input of unit variance to one of variance gain ** 2.

        `gain` is one number or one per row.
        """
        kind = self.spec.type_of(name)
        std = np.broadcast_to(np.float32(gain / columns**0.5), rows)
        if self.spec.random_blocks:
            data = random_blocks(self.rng, std, columns, kind)
            self.writer.add_tensor(name, data, raw_dtype=kind)
        else:
            self.values(name, std[:, None] * self.noise(rows, columns))


@dataclass(frozen=True, slots=True)
class _ChainPlan:
    successor: np.ndarray[tuple[int], np.dtype[np.int64]]
    decoy: np.ndarray[tuple[int], np.dtype[np.int64]]
    """The token whose first half a misleading token carries; -1 for the others."""


def _plan_chain(spec: TinySpec, likely: tuple[int, ...], rng: np.random.Generator) -> _ChainPlan:
    """One random cycle through the likely tokens; the others lead into it."""
    assert spec.chain is not None
    cycle = rng.permutation(likely)
    successor = rng.choice(likely, spec.vocab)
    successor[cycle] = np.roll(cycle, -1)
    wrong = rng.permutation(cycle)[: round(spec.chain.misleading * len(cycle))]
    decoy = np.full(spec.vocab, -1)
    others = np.setdiff1d(cycle, wrong)
    decoy[wrong] = rng.choice(others if len(others) else cycle, len(wrong))
    return _ChainPlan(successor, decoy)


def _write_vocabulary_matrices(
    weights: _Weights, likely: tuple[int, ...], chain: _ChainPlan | None
) -> None:
    spec = weights.spec
    scale = _row_scale(spec, likely)
    weights.norm("output_norm.weight", spec.hidden)
    if chain is not None:
        _write_chain(weights, likely, chain, scale)
    elif spec.tied:
        weights.matrix("token_embd.weight", spec.vocab, spec.hidden, 3 * scale)
    else:
        weights.matrix("token_embd.weight", spec.vocab, spec.hidden, spec.hidden**0.5)
        weights.matrix("output.weight", spec.vocab, spec.hidden, 3 * scale)


def _row_scale(spec: TinySpec, likely: tuple[int, ...]) -> Floats:
    """Output rows of the other tokens are small, as those of unused tokens in trained models."""
    scale = np.full(spec.vocab, 0.2, dtype=np.float32)
    scale[list(likely)] = 1
    return scale


def _write_chain(
    weights: _Weights, likely: tuple[int, ...], chain: _ChainPlan, scale: Floats
) -> None:
    """Embedding and output rows as `Chain` describes them."""
    spec = weights.spec
    assert spec.chain is not None
    half = spec.hidden // 2
    unit = spec.chain.certainty / spec.hidden
    embedding = weights.noise(spec.vocab, spec.hidden)
    head = weights.noise(spec.vocab, spec.hidden)
    head *= spec.chain.noise / spec.hidden**0.5 * scale[:, None]
    # Less of the noise in the half that the MTP block sees: mean square 1 over both.
    head[:, :half] *= 0.5
    head[:, half:] *= 1.75**0.5
    for token in likely:
        follower = chain.successor[token]
        if chain.decoy[token] < 0:
            head[follower] += unit * embedding[token]
        else:
            head[follower, half:] += 2 * unit * embedding[token, half:]
    wrong = np.flatnonzero(chain.decoy >= 0)
    embedding[wrong, :half] = embedding[chain.decoy[wrong], :half]
    weights.values("token_embd.weight", embedding)
    weights.values("output.weight", head)


def _write_block(weights: _Weights, block: int) -> None:
    spec, prefix = weights.spec, f"blk.{block}."
    weights.norm(prefix + "attn_norm.weight", spec.hidden)
    if spec.is_full_attention(block):
        _write_attention(weights, prefix)
    else:
        _write_delta_net(weights, prefix)
    weights.norm(prefix + "post_attention_norm.weight", spec.hidden)
    weights.matrix(prefix + "ffn_gate.weight", spec.ffn, spec.hidden)
    weights.matrix(prefix + "ffn_up.weight", spec.ffn, spec.hidden)
    weights.matrix(prefix + "ffn_down.weight", spec.hidden, spec.ffn, weights.branch)


def _write_attention(weights: _Weights, prefix: str) -> None:
    spec = weights.spec
    width, kv_width = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    if spec.fused_qkv:
        weights.matrix(prefix + "attn_qkv.weight", 2 * width + 2 * kv_width, spec.hidden)
    else:
        weights.matrix(prefix + "attn_q.weight", 2 * width, spec.hidden)
        weights.matrix(prefix + "attn_k.weight", kv_width, spec.hidden)
        weights.matrix(prefix + "attn_v.weight", kv_width, spec.hidden)
    # 1.4 * 1.4 doubles the scores: attention then prefers some positions clearly.
    weights.norm(prefix + "attn_q_norm.weight", spec.head_dim, 1.4)
    weights.norm(prefix + "attn_k_norm.weight", spec.head_dim, 1.4)
    weights.matrix(prefix + "attn_output.weight", spec.hidden, width, 2 * weights.branch)


def _write_delta_net(weights: _Weights, prefix: str) -> None:
    spec, rng = weights.spec, weights.rng
    weights.matrix(prefix + "attn_qkv.weight", spec.conv_dim, spec.hidden)
    weights.matrix(prefix + "attn_gate.weight", spec.value_dim, spec.hidden)
    weights.matrix(prefix + "ssm_alpha.weight", spec.value_heads, spec.hidden)
    weights.matrix(prefix + "ssm_beta.weight", spec.value_heads, spec.hidden)
    weights.vector(
        prefix + "ssm_conv1d.weight",
        weights.noise(spec.conv_dim, spec.conv_kernel) / spec.conv_kernel**0.5,
    )
    # Decays per token from nearly 1 (long memory) to nearly 0 (none), head by head.
    low, high = np.log(0.02), np.log(8)
    weights.vector(prefix + "ssm_a", -np.exp(rng.uniform(low, high, spec.value_heads)))
    weights.vector(prefix + "ssm_dt.bias", rng.uniform(-4, 1, spec.value_heads))
    weights.norm(prefix + "ssm_norm.weight", spec.state_size)
    weights.matrix(prefix + "ssm_out.weight", spec.hidden, spec.value_dim, weights.branch)


def _write_nextn(weights: _Weights, likely: tuple[int, ...], chain: _ChainPlan | None) -> None:
    spec, prefix = weights.spec, f"blk.{weights.spec.layers}.nextn."
    weights.norm(prefix + "enorm.weight", spec.hidden)
    weights.norm(prefix + "hnorm.weight", spec.hidden)
    if chain is None:
        weights.matrix(prefix + "eh_proj.weight", spec.hidden, 2 * spec.hidden)
        if spec.mtp_norm:
            weights.norm(prefix + "shared_head_norm.weight", spec.hidden)
        if spec.mtp_tables:
            weights.matrix(prefix + "embed_tokens.weight", spec.vocab, spec.hidden)
            scale = 3 * _row_scale(spec, likely)
            weights.matrix(prefix + "shared_head_head.weight", spec.vocab, spec.hidden, scale)
        return
    half = spec.hidden // 2
    projection = np.zeros((spec.hidden, 2 * spec.hidden), dtype=np.float32)
    # A little of the hidden half, so that drafts depend on the trunk's state as well.
    projection[:, spec.hidden :] = 0.2 / spec.hidden**0.5 * weights.noise(spec.hidden, spec.hidden)
    projection[np.arange(half), np.arange(half)] = 2**0.5
    weights.values(prefix + "eh_proj.weight", projection)
    # Half of the stream carries all of its power here: norm and head give certainty / sqrt(2)
    # without this factor.
    weights.norm(prefix + "shared_head_norm.weight", spec.hidden, 2**0.5)
