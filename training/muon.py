"""Muon: momentum whose update is orthogonalised before it is applied to a weight matrix.

At this size a step costs little and a token costs much, so the optimiser that learns most from a
token wins. Every hidden matrix moves by a matrix whose singular values are all about one; vectors
and the embedding table are left to AdamW. (Method: Jordan et al., "Muon: an optimizer for hidden
layers in neural networks", 2024; the quintic's coefficients are theirs.)
"""

from collections.abc import Iterable

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(update: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The semi-orthogonal matrix nearest to `update`, singular values within about 0.7..1.2.

    Each Newton-Schulz step applies s -> a s + b s^3 + c s^5 to the singular values, in bfloat16.
    """
    a, b, c = QUINTIC
    x = update.to(torch.bfloat16)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    if tall:
        x = x.T
    return x.to(update.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; `lr` is the RMS change of a square matrix's rows per step.

    A matrix with more rows than columns moves sqrt(rows / columns) further, so that its outputs
    change as much as those of a square one. Weight decay is decoupled: w -= lr * decay * w.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update to every matrix that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                direction = weight.grad.lerp(momentum, group["momentum"])
                rows, columns = weight.shape
                scale = max(1.0, rows / columns) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonalise(direction), alpha=-group["lr"] * scale)
