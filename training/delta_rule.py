"""The gated delta rule, token by token and in chunks.

Per value head, with state S (key dim x value dim), S = 0 before the first token:

    S' = exp(g_t) S;  delta_t = beta_t (v_t - S'^T k_t);  S = S' + k_t delta_t^T;  o_t = S^T q_t

The chunked form computes the same numbers with matrix products over chunks of tokens, which is
what training needs. Value head j uses key head j mod (number of key heads), the order GGUF files
use. Both forms work in float32.
"""

import torch
from torch.nn import functional


def tile_heads(x: torch.Tensor, n_value_heads: int) -> torch.Tensor:
    """(B, Hk, ...) -> (B, Hv, ...): value head j gets key head j mod Hk."""
    return torch.cat([x] * (n_value_heads // x.shape[1]), dim=1)


def recurrent_delta_rule(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, beta: torch.Tensor
) -> torch.Tensor:
    """Token by token: the definition.

    q, k: (B, T, Hk, Dk), normalised and q scaled by the caller; v: (B, T, Hv, Dv);
    g (log decay, <= 0), beta: (B, T, Hv). Returns (B, T, Hv, Dv) float32.
    """
    n_value_heads = v.shape[2]
    q, k, v = (x.float().transpose(1, 2) for x in (q, k, v))
    q, k = tile_heads(q, n_value_heads), tile_heads(k, n_value_heads)
    g, beta = g.float().transpose(1, 2), beta.float().transpose(1, 2)
    state = q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3])
    outputs = []
    for t in range(q.shape[2]):
        state = state * g[:, :, t, None, None].exp()
        predicted = torch.einsum("bhkv,bhk->bhv", state, k[:, :, t])
        delta = beta[:, :, t, None] * (v[:, :, t] - predicted)
        state = state + k[:, :, t, :, None] * delta[:, :, None, :]
        outputs.append(torch.einsum("bhkv,bhk->bhv", state, q[:, :, t]))
    return torch.stack(outputs, dim=1)


class UnitLowerInverse(torch.autograd.Function):
    """(I + A)^-1 for strictly lower triangular A, by merging inverted diagonal blocks."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, a: torch.Tensor) -> torch.Tensor:
        size = a.shape[-1]
        eye = torch.eye(size, dtype=a.dtype, device=a.device)
        lower = a + eye
        block = min(size, 16)
        inverse = torch.zeros_like(a)
        small_eye = eye[:block, :block].expand(*a.shape[:-2], block, block)
        for start in range(0, size, block):
            part = slice(start, start + block)
            inverse[..., part, part] = torch.linalg.solve_triangular(
                lower[..., part, part], small_eye, upper=False, unitriangular=True
            )
        while block < size:
            for start in range(0, size, 2 * block):
                upper, under = slice(start, start + block), slice(start + block, start + 2 * block)
                inverse[..., under, upper] = (
                    -inverse[..., under, under]
                    @ lower[..., under, upper]
                    @ inverse[..., upper, upper]
                )
            block *= 2
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: torch.autograd.function.FunctionCtx, grad: torch.Tensor
    ) -> torch.Tensor:
        (inverse,) = ctx.saved_tensors  # type: ignore[attr-defined]
        transposed = inverse.transpose(-1, -2)
        return -(transposed @ grad @ transposed).tril(-1)


def chunked_delta_rule(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    chunk: int = 64,
) -> torch.Tensor:
    """Same arguments and result as `recurrent_delta_rule`; `chunk` must be a power of two.

    With G the running sum of g inside a chunk and D_ij = exp(G_i - G_j) for i >= j:
    A = strictly lower (diag(beta) K K^T o D), T = (I + A)^-1, U = T diag(beta) V,
    W = T diag(beta e^G) K; then, chunk by chunk with the state S entering it,
    delta = U - W S, O = diag(e^G) Q S + (Q K^T o D) delta,
    S <- e^{G_end} S + (diag(e^{G_end - G}) K)^T delta.
    """
    batch, length, n_value_heads, value_dim = v.shape
    padding = -length % chunk
    n_chunks = (length + padding) // chunk

    def split(x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x.float(), (0, 0) * (x.dim() - 2) + (0, padding))
        x = x.transpose(1, 2)  # (B, H, T, ...)
        return x.reshape(*x.shape[:2], n_chunks, chunk, *x.shape[3:])

    q, k, v, g, beta = split(q), split(k), split(v), split(g), split(beta)
    total = g.cumsum(-1)  # G: (B, Hv, N, C)
    keep = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()
    difference = total[..., :, None] - total[..., None, :]
    decay = difference.masked_fill(~keep, float("-inf")).exp()  # masked first: no overflow
    kk = tile_heads(k @ k.transpose(-1, -2), n_value_heads)
    inverse = UnitLowerInverse.apply((kk * decay * beta[..., None]).tril(-1))
    k_tiled = tile_heads(k, n_value_heads)
    grown = total.exp()[..., None]
    u = inverse @ (v * beta[..., None])
    w = inverse @ (k_tiled * (beta[..., None] * grown))
    within = tile_heads(q @ k.transpose(-1, -2), n_value_heads) * decay
    q_grown = tile_heads(q, n_value_heads) * grown
    last = total[..., -1:]
    k_shrunk = (k_tiled * (last - total).exp()[..., None]).transpose(-1, -2)
    carried = last.exp()[..., None]

    state = v.new_zeros(batch, n_value_heads, q.shape[-1], value_dim)
    outputs = []
    for n in range(n_chunks):
        delta = u[:, :, n] - w[:, :, n] @ state
        outputs.append(q_grown[:, :, n] @ state + within[:, :, n] @ delta)
        state = carried[:, :, n] * state + k_shrunk[:, :, n] @ delta
    out = torch.stack(outputs, dim=2).reshape(batch, n_value_heads, n_chunks * chunk, value_dim)
    return out.transpose(1, 2)[:, :length]
