"""The metadata of a rehearsal file: those of a published model of its size, and the mark."""

from typing import Final

import numpy as np

from headlong.gguf.types import ValueType
from headlong.gguf.writer import GGUFWriter
from headlong.models.rehearsal import ACCEPT, SEED, Rehearsal
from headlong.tokenizer import Vocabulary
from headlong.tools.synth.mixes import Mix
from headlong.tools.synth.sizes import Size

__all__ = ["add_metadata"]

_ARCHITECTURE: Final = "qwen35"


def add_metadata(
    writer: GGUFWriter, size: Size, mix: Mix, vocab: Vocabulary, rehearsal: Rehearsal
) -> None:
    """Add all keys of the file."""
    shapes = size.shapes
    writer.add_string("general.architecture", _ARCHITECTURE)
    writer.add_string("general.type", "model")
    writer.add_string("general.name", f"Rehearsal of {size.name} (synthetic)")
    writer.add_string(
        "general.description",
        "Made-up weights of real dimensions for measuring speed; the text means nothing.",
    )
    writer.add_uint32("general.file_type", mix.file_type)
    writer.add_uint32("general.quantization_version", 2)
    writer.add_float64(ACCEPT, rehearsal.accept)
    writer.add_uint32(SEED, rehearsal.seed)
    pairs = size.rotary // 2
    numbers = {
        "block_count": size.layers + 1,
        "nextn_predict_layers": 1,
        "context_length": size.context,
        "embedding_length": shapes.hidden,
        "feed_forward_length": shapes.ffn,
        "attention.head_count": shapes.heads,
        "attention.head_count_kv": shapes.kv_heads,
        "attention.key_length": shapes.head_dim,
        "attention.value_length": shapes.head_dim,
        "rope.dimension_count": size.rotary,
        "full_attention_interval": size.full_attention_interval,
        "ssm.conv_kernel": shapes.taps,
        "ssm.state_size": shapes.state,
        "ssm.group_count": shapes.key_heads,
        "ssm.time_step_rank": shapes.value_heads,
        "ssm.inner_size": shapes.inner,
    }
    for key, value in numbers.items():
        writer.add_uint32(f"{_ARCHITECTURE}.{key}", value)
    writer.add_float32(f"{_ARCHITECTURE}.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_float32(f"{_ARCHITECTURE}.rope.freq_base", 1e7)
    # Time, height and width take turns at the pairs: 11, 11, 10 of 32.
    sections = [(pairs + 2) // 3, (pairs + 1) // 3, pairs // 3, 0]
    writer.add_array(f"{_ARCHITECTURE}.rope.dimension_sections", sections, ValueType.INT32)
    _add_vocabulary(writer, vocab)


def _add_vocabulary(writer: GGUFWriter, vocab: Vocabulary) -> None:
    prefix = "tokenizer.ggml."
    writer.add_string(f"{prefix}model", vocab.model)
    writer.add_string(f"{prefix}pre", vocab.pre)
    writer.add_array(f"{prefix}tokens", vocab.tokens, ValueType.STRING)
    types = np.array(vocab.types, dtype=np.int32)
    writer.add_array(f"{prefix}token_type", types, ValueType.INT32)
    writer.add_array(f"{prefix}merges", vocab.merges, ValueType.STRING)
    for name, token in {"eos": vocab.eos_id, "padding": vocab.padding_id}.items():
        if token is not None:
            writer.add_uint32(f"{prefix}{name}_token_id", token)
    if vocab.add_bos is not None:
        writer.add_bool(f"{prefix}add_bos_token", vocab.add_bos)
    if vocab.chat_template is not None:
        writer.add_string("tokenizer.chat_template", vocab.chat_template)
