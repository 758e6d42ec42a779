"""Greedy generation with the torch model, one token at a time from its states.

Slow and plain: it is the yardstick for exported files and the way to get text that the model wrote
itself. All rows of a batch advance together.
"""

import torch
from torch.nn import functional

from training.model import GatedAttention, GatedDeltaNet, Model, unit


class Decoder:
    """Trunk state of a batch; every `step` appends one token to each row."""

    def __init__(self, model: Model, batch: int) -> None:
        c = model.c
        self.model, self.position = model, 0
        self.conv = [torch.zeros(batch, c.kernel, c.conv_size) for _ in model.blk]
        self.state = [torch.zeros(batch, c.value_heads, c.state, c.state) for _ in model.blk]
        self.keys = [torch.zeros(batch, c.kv_heads, 0, c.head_dim) for _ in model.blk]
        self.values = [torch.zeros(batch, c.kv_heads, 0, c.head_dim) for _ in model.blk]

    @torch.no_grad()
    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, vocab) after appending tokens (B,)."""
        h = self.model.token_embd(tokens)
        for i, block in enumerate(self.model.blk):
            x = block.attn_norm(h)
            mixer = block.mixer
            recurrent = isinstance(mixer, GatedDeltaNet)
            h = h + (self._recur(i, mixer, x) if recurrent else self._attend(i, mixer, x))
            h = h + block.ffn(block.post_attention_norm(h))
        self.position += 1
        return self.model.logits(self.model.output_norm(h))

    def _recur(self, i: int, mixer: GatedDeltaNet, x: torch.Tensor) -> torch.Tensor:
        c, batch = self.model.c, x.shape[0]
        self.conv[i] = torch.cat([self.conv[i][:, 1:], mixer.attn_qkv(x)[:, None]], dim=1)
        u = functional.silu(torch.einsum("btc,ct->bc", self.conv[i], mixer.ssm_conv1d))
        q, k, v = u.split([c.key_size, c.key_size, c.value_size], dim=-1)
        repeats = c.value_heads // c.key_heads
        q = unit(q.view(batch, c.key_heads, c.state)).repeat(1, repeats, 1) * c.state**-0.5
        k = unit(k.view(batch, c.key_heads, c.state)).repeat(1, repeats, 1)
        v = v.view(batch, c.value_heads, c.state)
        beta = mixer.ssm_beta(x).sigmoid()
        g = -mixer.a_log.exp() * functional.softplus(mixer.ssm_alpha(x) + mixer.ssm_dt)
        state = self.state[i] * g.exp()[..., None, None]
        delta = beta[..., None] * (v - torch.einsum("bhkv,bhk->bhv", state, k))
        state = self.state[i] = state + k[..., None] * delta[:, :, None]
        o = torch.einsum("bhkv,bhk->bhv", state, q)
        z = mixer.attn_gate(x).view(batch, c.value_heads, c.state)
        return mixer.ssm_out((mixer.ssm_norm(o) * functional.silu(z)).flatten(1))

    def _attend(self, i: int, mixer: GatedAttention, x: torch.Tensor) -> torch.Tensor:
        q, gate, k, v = mixer.project(x[:, None], torch.tensor([self.position]))
        self.keys[i] = torch.cat([self.keys[i], k], dim=2)
        self.values[i] = torch.cat([self.values[i], v], dim=2)
        everything = torch.ones(1, self.position + 1, dtype=torch.bool)
        return mixer.finish(q, gate, self.keys[i], self.values[i], everything)[:, 0]


def generate(model: Model, prompts: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """Greedy continuations (B, n_tokens) of prompts (B, T), T >= 1; nothing stops them."""
    decoder = Decoder(model, prompts.shape[0])
    for column in prompts.unbind(1):
        logits = decoder.step(column)
    tokens = [logits.argmax(-1)]
    while len(tokens) < n_tokens:
        tokens.append(decoder.step(tokens[-1]).argmax(-1))
    return torch.stack(tokens, dim=1)
