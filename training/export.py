"""Write a checkpoint as the GGUF file that Headlong ships.

    python -m training.export [--run training/runs/tiny] [--out FILE]

Matrices become Q8_0; norms, the delta-net's vectors, its convolution and its two flat gates stay
F32, as in published files of this architecture.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from headlong.gguf import GGMLType, GGUFWriter
from training.checkpoint import load_model
from training.model import Config, Model
from training.prepare import DEFAULT_DATA
from training.tokenizer import CONTROL, END_OF_TEXT, TURN_END, USER_DEFINED, load_tokenizer
from training.train import DEFAULT_RUN

BUNDLED = Path("src/headlong/bundled/headlong-tiny-Q8_0.gguf")
CONTEXT = 4096  # positions; rows of up to 2048 were trained on
NORMAL, CONTROL_TYPE, USER_DEFINED_TYPE = 1, 3, 4
FILE_TYPES = {GGMLType.F32: 0, GGMLType.Q8_0: 7}  # general.file_type
ARCHITECTURE = "qwen35"


def tensor_names(model: Model) -> dict[str, torch.Tensor]:
    """Every tensor under its GGUF name, in file order; each parameter exactly once."""
    named: dict[str, torch.Tensor] = {
        "token_embd.weight": model.token_embd.weight,
        "output_norm.weight": model.output_norm.weight,
    }
    blocks = [*model.blk, model.mtp]
    for i, block in enumerate(blocks):
        for name, parameter in block.named_parameters():
            name = name.removeprefix("mixer.").removeprefix("ffn.")
            if name.startswith(("eh_proj", "enorm", "hnorm", "shared_head_norm")):
                name = f"nextn.{name}"
            if name == "a_log":
                named[f"blk.{i}.ssm_a"] = -parameter.exp()
            elif name == "ssm_dt":
                named[f"blk.{i}.ssm_dt.bias"] = parameter
            elif name == "ssm_conv1d":
                named[f"blk.{i}.ssm_conv1d.weight"] = parameter
            else:
                named[f"blk.{i}.{name}"] = parameter
    return named


def tensor_type(name: str, tensor: torch.Tensor, matrices: GGMLType) -> GGMLType:
    """`matrices` for what a pass multiplies by, F32 for the rest."""
    keep = tensor.ndim == 1 or name.split(".")[-2] in ("ssm_conv1d", "ssm_alpha", "ssm_beta")
    return GGMLType.F32 if keep else matrices


def write_metadata(writer: GGUFWriter, c: Config, file_type: int) -> None:
    """The architecture's keys."""
    writer.add_string("general.architecture", ARCHITECTURE)
    writer.add_string("general.type", "model")
    writer.add_string("general.name", "Headlong tiny")
    writer.add_string("general.size_label", "10M")
    writer.add_string(
        "general.description",
        "A very small Qwen3.5-style model with a multi-token-prediction head, trained from "
        "scratch on the sources of Python's standard library, to show and test Headlong.",
    )
    writer.add_string("general.license", "PSF-2.0")
    writer.add_strings("general.languages", ["en"])
    writer.add_uint32("general.file_type", file_type)
    writer.add_uint32("general.quantization_version", 2)
    sizes = {
        "block_count": c.layers + 1,
        "nextn_predict_layers": 1,
        "context_length": CONTEXT,
        "embedding_length": c.hidden,
        "feed_forward_length": c.ffn,
        "attention.head_count": c.heads,
        "attention.head_count_kv": c.kv_heads,
        "attention.key_length": c.head_dim,
        "attention.value_length": c.head_dim,
        "rope.dimension_count": c.rope_dim,
        "full_attention_interval": c.interval,
        "ssm.conv_kernel": c.kernel,
        "ssm.state_size": c.state,
        "ssm.group_count": c.key_heads,
        "ssm.time_step_rank": c.value_heads,
        "ssm.inner_size": c.value_size,
    }
    for key, value in sizes.items():
        writer.add_uint32(f"{ARCHITECTURE}.{key}", value)
    writer.add_float32(f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon", c.eps)
    writer.add_float32(f"{ARCHITECTURE}.rope.freq_base", c.rope_base)
    # Time, height and width take turns over the rotated pairs; text uses one position for all.
    sections = [len(range(start, c.rope_dim // 2, 3)) for start in range(3)] + [0]
    writer.add_ints(f"{ARCHITECTURE}.rope.dimension_sections", sections)


def write_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    """Vocabulary, merges, special ids and the chat template."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary]
    types = dict.fromkeys(CONTROL, CONTROL_TYPE) | dict.fromkeys(USER_DEFINED, USER_DEFINED_TYPE)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "qwen2")
    writer.add_strings("tokenizer.ggml.tokens", tokens)
    writer.add_ints("tokenizer.ggml.token_type", [types.get(token, NORMAL) for token in tokens])
    writer.add_strings("tokenizer.ggml.merges", [" ".join(pair) for pair in merges])
    writer.add_uint32("tokenizer.ggml.eos_token_id", tokenizer.token_to_id(TURN_END))
    for name in ("bos", "padding"):
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", tokenizer.token_to_id(END_OF_TEXT))
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    template = Path(__file__).with_name("chat_template.jinja").read_text()
    writer.add_string("tokenizer.chat_template", template)


def export(
    model: Model, tokenizer: Tokenizer, out: Path, matrices: GGMLType = GGMLType.Q8_0
) -> int:
    """Write `out` whole or not at all; returns its size in bytes."""
    writer = GGUFWriter(out)
    write_metadata(writer, model.c, FILE_TYPES[matrices])
    write_tokenizer(writer, tokenizer)
    for name, tensor in tensor_names(model).items():
        data = tensor.detach().float().numpy().astype(np.float32)
        writer.add_tensor(name, data, tensor_type(name, tensor, matrices))
    return writer.write()


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--out", type=Path, default=BUNDLED)
    options = parser.parse_args()
    model, clock = load_model(options.run / "checkpoint.pt")
    size = export(model, load_tokenizer(options.data / "tokenizer.json"), options.out)
    print(f"{options.out}: {size} bytes, step {clock.step}, {clock.tokens} tokens")


if __name__ == "__main__":
    main()
