"""transformers' answers in float32: its own GGUF loader for the trunk, its decoder layer for MTP.

transformers has no MTP head for this architecture. `MtpHead` therefore builds one from its
full-attention decoder layer, which is somebody else's arithmetic for everything but the few lines
that join embedding and hidden state; those are checked against llama.cpp, which accepts the drafts
computed here (`test_mtp_oracle.py`).
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

MISSING = any(
    importlib.util.find_spec(name) is None for name in ("torch", "transformers", "accelerate")
)
REASON = "torch, transformers and accelerate are not installed"

if not MISSING:
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask
    from transformers.models.qwen3_5.modeling_qwen3_5 import (
        Qwen3_5DecoderLayer,
        Qwen3_5ForCausalLM,
        eager_attention_forward,
    )
    from transformers.utils import logging

    torch.set_num_threads(1)  # tiny matrices: more threads only wait for each other
    logging.disable_progress_bar()
    logging.set_verbosity_error()

    def _f16_cache(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention over keys and values rounded as a cache of type f16 rounds them."""
        key, value = key.half().float(), value.half().float()
        return eager_attention_forward(module, query, key, value, *args, **kwargs)

    AttentionInterface.register("f16_cache", _f16_cache)
    AttentionMaskInterface.register("f16_cache", eager_mask)

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings of these libraries are theirs, not failures of our tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True, slots=True)
class TrunkOutput:
    """Hidden states after the final norm [n, hidden] and logits [n, vocab], one row per token."""

    hidden: Floats
    logits: Floats


class Trunk:
    """The trunk of the model at `path`, every weight in float32.

    `kv_type` "F16" rounds keys and values to float16, "F32" leaves them.
    """

    def __init__(self, path: Path, *, kv_type: str = "F16") -> None:
        with _quiet():
            self.model = Qwen3_5ForCausalLM.from_pretrained(
                str(path.parent),
                gguf_file=path.name,
                dtype=torch.float32,
                attn_implementation={"F16": "f16_cache", "F32": "eager"}[kv_type],
            )

    def run(self, tokens: Sequence[int]) -> TrunkOutput:
        """One pass over all tokens of one sequence, from nothing."""
        with torch.no_grad(), _quiet():
            hidden = self.model.model(torch.tensor([list(tokens)])).last_hidden_state
            return TrunkOutput(hidden[0].numpy(), self.model.lm_head(hidden)[0].numpy())


class MtpHead:
    """The MTP head of the model at `path`, over that model's trunk and with its type of KV cache.

    `zero_row` adds the row that llama.cpp puts before the others: the first token, joined with a
    hidden state of zeros. Without it the rows start with the second token, as in vLLM.
    """

    def __init__(self, path: Path, trunk: Trunk, *, zero_row: bool) -> None:
        self._trunk = trunk
        self._zero_row = zero_row
        config = trunk.model.config
        self._block = config.num_hidden_layers
        self._eps = config.rms_norm_eps
        prefix = f"blk.{self._block}."
        self._tensors = {
            t.name.removeprefix(prefix): torch.from_numpy(
                np.array(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32)
            )
            for t in gguf.GGUFReader(path).tensors
            if t.name.startswith(prefix)
        }
        # What the head has no copy of, it shares with the trunk; transformers' norm weights are
        # centred on zero.
        model = trunk.model
        shared = {
            "nextn.embed_tokens.weight": model.model.embed_tokens.weight,
            "nextn.shared_head_head.weight": model.lm_head.weight,
            "nextn.shared_head_norm.weight": model.model.norm.weight + 1,
        }
        self._tensors = {name: value.detach() for name, value in shared.items()} | self._tensors
        attention = next(i for i, kind in enumerate(config.layer_types) if kind == "full_attention")
        with _quiet():
            self._layer = Qwen3_5DecoderLayer(config, attention).to(torch.float32).eval()
        self._load_layer()

    def draft(self, tokens: Sequence[int], count: int) -> list[Floats]:
        """Draft logits [vocab] for the `count` tokens after `tokens`, each of the ones before.

        The last of `tokens` has not been through the trunk yet, as after sampling it.
        """
        with torch.no_grad(), _quiet():
            trunk = self._trunk.model.model
            true = trunk(torch.tensor([list(tokens[:-1])])).last_hidden_state[0]
            hidden = list(torch.cat([torch.zeros_like(true[:1]), true]))
            following = list(tokens)
            if not self._zero_row:
                hidden, following = hidden[1:], following[1:]
            drafts: list[Floats] = []
            for _ in range(count):
                output = self._rows(following, torch.stack(hidden))[-1]
                logits = output @ self._tensors["nextn.shared_head_head.weight"].T
                drafts.append(logits.numpy())
                hidden.append(output)
                following.append(int(drafts[-1].argmax()))
            return drafts

    def _rows(self, tokens: list[int], hidden: torch.Tensor) -> torch.Tensor:
        embedded = self._tensors["nextn.embed_tokens.weight"][torch.tensor(tokens)]
        joined = torch.cat([self._norm("enorm", embedded), self._norm("hnorm", hidden)], dim=-1)
        x = (joined @ self._tensors["nextn.eh_proj.weight"].T)[None]
        count = x.shape[1]
        positions = torch.arange(count).view(1, 1, -1).expand(3, 1, -1)
        mask = torch.full((count, count), float("-inf")).triu(1)[None, None]
        rotary = self._trunk.model.model.rotary_emb(x, positions)
        out = self._layer(x, position_embeddings=rotary, attention_mask=mask)
        return self._norm("shared_head_norm", out[0])

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self._eps)
        return x * scale * self._tensors[f"nextn.{name}.weight"]

    def _load_layer(self) -> None:
        layer = self._layer
        plain = {
            "attn_q": layer.self_attn.q_proj,
            "attn_k": layer.self_attn.k_proj,
            "attn_v": layer.self_attn.v_proj,
            "attn_output": layer.self_attn.o_proj,
            "ffn_gate": layer.mlp.gate_proj,
            "ffn_up": layer.mlp.up_proj,
            "ffn_down": layer.mlp.down_proj,
        }
        # transformers keeps these norms centred on zero, GGUF on one.
        offset = {
            "attn_norm": layer.input_layernorm,
            "post_attention_norm": layer.post_attention_layernorm,
            "attn_q_norm": layer.self_attn.q_norm,
            "attn_k_norm": layer.self_attn.k_norm,
        }
        with torch.no_grad():
            for name, module in plain.items():
                module.weight.copy_(self._tensors[f"{name}.weight"])
            for name, module in offset.items():
                module.weight.copy_(self._tensors[f"{name}.weight"] - 1)
