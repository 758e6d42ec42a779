"""The bundled model in torch: a tiny Qwen3.5 (gated delta-net, gated attention, one MTP block).

Layout and arithmetic are those of the GGUF architecture "qwen35", so exporting only renames:
norm weights are plain multipliers, value head j uses key head j mod n_key_heads, attn_q holds per
head the query rows and then the gate rows, eh_proj takes the embedding first.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from training.delta_rule import chunked_delta_rule


@dataclass(frozen=True, slots=True)
class Config:
    """Shape of the model. `interval`: every `interval`-th trunk layer is full attention."""

    vocab: int = 4096
    hidden: int = 256
    layers: int = 8
    interval: int = 4
    ffn: int = 768
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    rope_dim: int = 16
    rope_base: float = 1e5
    key_heads: int = 4
    value_heads: int = 8
    state: int = 64
    kernel: int = 4
    eps: float = 1e-6

    @property
    def key_size(self) -> int:
        """Width of all delta-net keys together."""
        return self.key_heads * self.state

    @property
    def value_size(self) -> int:
        """Width of all delta-net values together."""
        return self.value_heads * self.state

    @property
    def conv_size(self) -> int:
        """Channels of the depthwise convolution: queries, keys, values."""
        return 2 * self.key_size + self.value_size


class Norm(nn.Module):
    """RMS norm with a plain multiplier."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x.float(), self.weight.shape, self.weight, self.eps)


def linear(inputs: int, outputs: int, zero: bool = False) -> nn.Linear:
    """A matrix without bias: uniform with standard deviation 0.5 / sqrt(inputs), or zero."""
    layer = nn.Linear(inputs, outputs, bias=False)
    bound = 0.0 if zero else 0.5 * (3 / inputs) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    return layer


class FeedForward(nn.Module):
    """down(silu(gate x) * up x)."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.ffn_gate = linear(c.hidden, c.ffn)
        self.ffn_up = linear(c.hidden, c.ffn)
        self.ffn_down = linear(c.ffn, c.hidden, zero=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ffn_down(functional.silu(self.ffn_gate(x)) * self.ffn_up(x))


def rotate(x: torch.Tensor, positions: torch.Tensor, c: Config) -> torch.Tensor:
    """RoPE on the first rope_dim dims of x (B, H, T, head_dim), pairs (d, d + rope_dim / 2)."""
    half = c.rope_dim // 2
    exponents = torch.arange(half, dtype=torch.float32) / half
    angles = positions.float()[:, None] * c.rope_base**-exponents
    cos, sin = angles.cos(), angles.sin()
    a, b, rest = x[..., :half], x[..., half : c.rope_dim], x[..., c.rope_dim :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)


class GatedAttention(nn.Module):
    """Grouped-query attention with normed q and k, partial RoPE and a sigmoid output gate."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.attn_q = linear(c.hidden, 2 * c.heads * c.head_dim)
        self.attn_k = linear(c.hidden, c.kv_heads * c.head_dim)
        self.attn_v = linear(c.hidden, c.kv_heads * c.head_dim)
        self.attn_output = linear(c.heads * c.head_dim, c.hidden, zero=True)
        self.attn_q_norm = Norm(c.head_dim, c.eps)
        self.attn_k_norm = Norm(c.head_dim, c.eps)

    def project(
        self, x: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """q (B, H, T, D), gate (B, T, H * D), k and v (B, Hkv, T, D), rotated."""
        c, (batch, length, _) = self.c, x.shape
        qg = self.attn_q(x).view(batch, length, c.heads, 2, c.head_dim)
        q = self.attn_q_norm(qg[..., 0, :]).transpose(1, 2)
        gate = qg[..., 1, :].reshape(batch, length, -1)
        k = self.attn_k(x).view(batch, length, c.kv_heads, c.head_dim)
        k = self.attn_k_norm(k).transpose(1, 2)
        v = self.attn_v(x).view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        return rotate(q, positions, c), gate, rotate(k, positions, c), v

    def finish(
        self,
        q: torch.Tensor,
        gate: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attend (causally when `mask` is None), gate, project back to the hidden size."""
        out = functional.scaled_dot_product_attention(
            q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask, is_causal=mask is None, enable_gqa=True
        )
        out = out.transpose(1, 2).flatten(2)
        return self.attn_output(out * gate.sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, gate, k, v = self.project(x, torch.arange(x.shape[1]))
        return self.finish(q, gate, k, v, None)


class GatedDeltaNet(nn.Module):
    """Short convolution, gated delta rule, per-head norm, SiLU gate."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.attn_qkv = linear(c.hidden, c.conv_size)
        self.attn_gate = linear(c.hidden, c.value_size)
        self.ssm_alpha = linear(c.hidden, c.value_heads)
        self.ssm_beta = linear(c.hidden, c.value_heads)
        self.ssm_conv1d = nn.Parameter(torch.empty(c.conv_size, c.kernel).uniform_(-0.5, 0.5))
        self.a_log = nn.Parameter(torch.empty(c.value_heads).uniform_(1, 16).log())
        # softplus(ssm_dt) is spread over 0.001..0.1, so heads forget at different speeds.
        step = torch.exp(torch.linspace(-6.9, -2.3, c.value_heads))
        self.ssm_dt = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        self.ssm_norm = Norm(c.state, c.eps)
        self.ssm_out = linear(c.value_size, c.hidden, zero=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c, (batch, length, _) = self.c, x.shape
        # Four shifted products instead of conv1d, whose backward is 20 times slower on a CPU.
        u = functional.pad(self.attn_qkv(x), (0, 0, c.kernel - 1, 0))
        taps = self.ssm_conv1d.to(u.dtype).unbind(1)  # tap 0 is the oldest
        u = functional.silu(sum(u[:, j : j + length] * tap for j, tap in enumerate(taps)))
        q, k, v = u.split([c.key_size, c.key_size, c.value_size], dim=-1)
        q = unit(q.float().reshape(batch, length, c.key_heads, c.state)) * c.state**-0.5
        k = unit(k.float().reshape(batch, length, c.key_heads, c.state))
        v = v.float().reshape(batch, length, c.value_heads, c.state)
        beta = self.ssm_beta(x).float().sigmoid()
        g = -self.a_log.exp() * functional.softplus(self.ssm_alpha(x).float() + self.ssm_dt)
        with torch.autocast("cpu", enabled=False):
            o = chunked_delta_rule(q, k, v, g, beta)
        z = self.attn_gate(x).view(batch, length, c.value_heads, c.state)
        return self.ssm_out((self.ssm_norm(o).to(z.dtype) * functional.silu(z)).flatten(2))


def unit(x: torch.Tensor) -> torch.Tensor:
    """x (..., size) scaled to Euclidean length one."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


class Block(nn.Module):
    """h + mixer(norm h), then h + ffn(norm h)."""

    def __init__(self, c: Config, recurrent: bool) -> None:
        super().__init__()
        self.attn_norm = Norm(c.hidden, c.eps)
        self.mixer: GatedDeltaNet | GatedAttention = (
            GatedDeltaNet(c) if recurrent else GatedAttention(c)
        )
        self.post_attention_norm = Norm(c.hidden, c.eps)
        self.ffn = FeedForward(c)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        h = h + self.mixer(self.attn_norm(h))
        return h + self.ffn(self.post_attention_norm(h))


class MtpBlock(nn.Module):
    """Predicts one token further from a hidden state and the token that follows it.

    Row j takes the embedding of x_{j+1} and the trunk's normed hidden state of position j, and its
    output m_j predicts x_{j+2}. Chained, the next row takes m_j in place of the hidden state.
    """

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.enorm = Norm(c.hidden, c.eps)
        self.hnorm = Norm(c.hidden, c.eps)
        self.eh_proj = linear(2 * c.hidden, c.hidden)
        self.attn_norm = Norm(c.hidden, c.eps)
        self.mixer = GatedAttention(c)
        self.post_attention_norm = Norm(c.hidden, c.eps)
        self.ffn = FeedForward(c)
        self.shared_head_norm = Norm(c.hidden, c.eps)

    def mix(self, embedded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """eh_proj of [norm(embedding); norm(hidden)], both (B, T, hidden)."""
        return self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], dim=-1)).float()

    def complete(self, y: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Residual, FFN and the head's norm."""
        y = y + attended
        return self.shared_head_norm(y + self.ffn(self.post_attention_norm(y)))

    def forward(
        self, embedded: torch.Tensor, hidden: torch.Tensor, steps: int = 1
    ) -> list[torch.Tensor]:
        """Outputs m of `steps` chained steps, each (B, T, hidden).

        embedded: (B, T + steps - 1, hidden), embedded[:, j] belonging to x_{j+1};
        hidden: (B, T, hidden) from the trunk. Row j of step s takes x_{j+1+s} and the m of step
        s - 1 and attends as it will when drafting: to the first step's rows 0..j and to the rows
        of its own chain.
        """
        length = hidden.shape[1]
        y = self.mix(embedded[:, :length], hidden)
        q, gate, k, v = self.mixer.project(self.attn_norm(y), torch.arange(length))
        outputs = [self.complete(y, self.mixer.finish(q, gate, k, v, None))]
        keys, values = [k], [v]
        eye = torch.eye(length, dtype=torch.bool)
        masks = [torch.ones(length, length, dtype=torch.bool).tril()]
        for step in range(1, steps):
            y = self.mix(embedded[:, step : step + length], outputs[-1])
            positions = torch.arange(step, step + length)
            q, gate, k, v = self.mixer.project(self.attn_norm(y), positions)
            keys.append(k)
            values.append(v)
            masks.append(eye)
            attended = self.mixer.finish(
                q, gate, torch.cat(keys, 2), torch.cat(values, 2), torch.cat(masks, 1)
            )
            outputs.append(self.complete(y, attended))
        return outputs


class Model(nn.Module):
    """Trunk, tied head and MTP block."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.token_embd = nn.Embedding(c.vocab, c.hidden)
        nn.init.normal_(self.token_embd.weight, std=0.02)
        self.blk = nn.ModuleList(
            Block(c, recurrent=(i + 1) % c.interval != 0) for i in range(c.layers)
        )
        self.output_norm = Norm(c.hidden, c.eps)
        self.mtp = MtpBlock(c)

    def trunk(self, tokens: torch.Tensor) -> torch.Tensor:
        """Normed hidden states (B, T, hidden) float32 of tokens (B, T)."""
        h = self.token_embd(tokens)
        for block in self.blk:
            h = block(h)
        return self.output_norm(h)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The tied head, for the trunk's hidden states and for the MTP block's alike."""
        return functional.linear(hidden, self.token_embd.weight)
