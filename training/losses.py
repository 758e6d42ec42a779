"""What is minimised: the trunk's next-token loss plus a share for the MTP block."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from training.model import Model

MTP_WEIGHTS = (0.2, 0.1)  # of the first and the second chained step: 0.3 together
IMITATION = 0.5  # how much of the MTP loss is to match the trunk rather than the text
LOOK_AHEAD = 1 + len(MTP_WEIGHTS)


@dataclass(frozen=True, slots=True)
class Losses:
    """`total` is differentiable; `next_token` and `mtp` are nats per token against the text."""

    total: torch.Tensor
    next_token: float
    mtp: tuple[float, ...]


def joint_loss(model: Model, tokens: torch.Tensor, chained_rows: int) -> Losses:
    """Loss on tokens (B, T + LOOK_AHEAD), of which T positions are read.

    A draft is accepted when it equals what the *trunk* says, so half of the MTP loss is the
    cross-entropy to the trunk's own distribution (held fixed), half to the text. The second
    chained step is trained on the first `chained_rows` rows only; it costs as much as the first.
    The MTP gradient reaches the trunk at the small weight of its loss.
    """
    length = tokens.shape[1] - LOOK_AHEAD
    hidden = model.trunk(tokens[:, :length])
    logits = model.logits(hidden).float()
    targets = tokens[:, 1 : length + 1]
    next_token = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    trunk_says = logits.detach().softmax(-1)
    total = next_token
    mtp = []

    def head_loss(m: torch.Tensor, rows: int, step: int) -> torch.Tensor:
        # Row j of step s predicts x_{j+2+s}, which is what trunk row j+1+s predicts.
        offset = 1 + step
        log_p = model.logits(m[:rows, : length - offset]).float().log_softmax(-1)
        text = tokens[:rows, 1 + offset : length + 1]
        against_text = -log_p.gather(-1, text[..., None]).mean()
        against_trunk = -(trunk_says[:rows, offset:] * log_p).sum(-1).mean()
        mtp.append(against_text.item())
        return (1 - IMITATION) * against_text + IMITATION * against_trunk

    embedded = model.token_embd(tokens[:, 1 : length + LOOK_AHEAD - 1])
    rows = chained_rows
    chained = model.mtp(embedded[:rows], hidden[:rows], steps=len(MTP_WEIGHTS))
    first = chained[0]
    if rows < tokens.shape[0]:
        rest = model.mtp(embedded[rows:, :length], hidden[rows:])[0]
        first = torch.cat([first, rest])
    total = total + MTP_WEIGHTS[0] * head_loss(first, tokens.shape[0], 0)
    for step in range(1, len(MTP_WEIGHTS)):
        total = total + MTP_WEIGHTS[step] * head_loss(chained[step], rows, step)
    return Losses(total, next_token.item(), tuple(mtp))
