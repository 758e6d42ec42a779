"""Held-out loss of a checkpoint, and how many drafts of its MTP block would be accepted.

    python -m training.evaluate [--run training/runs/tiny]

Nothing here reads a file that was trained on. Results also go to evaluation.json in the run's
folder.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from training.batches import MIXTURE, read_stream
from training.checkpoint import load_model
from training.decode import generate
from training.model import Model
from training.prepare import DEFAULT_DATA
from training.tokenizer import CONTROL, END_OF_TEXT, USER_DEFINED, load_tokenizer

LENGTH = 512
DEPTHS = 4
PROMPT = 128
GENERATED = 128


def held_out_rows(data: Path, stream: str, length: int) -> torch.Tensor:
    """(rows, length) of a stream's held-out text, in order, without its last partial row."""
    tokens, _ = read_stream(data / f"held-{stream}.npz")
    n_rows = len(tokens) // length
    return torch.from_numpy(tokens[: n_rows * length].reshape(n_rows, length).astype(np.int64))


def spread(rows: torch.Tensor, n_rows: int) -> torch.Tensor:
    """At most `n_rows` of `rows`, evenly spread from the first to the last."""
    return rows[torch.linspace(0, len(rows) - 1, min(n_rows, len(rows))).long()]


@torch.no_grad()
def nats_per_token(model: Model, rows: torch.Tensor) -> float:
    """Mean next-token loss of the trunk on rows (B, T + 1), each read from an empty state."""
    total = 0.0
    for part in rows.split(8):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.logits(model.trunk(part[:, :-1])).float()
        loss = functional.cross_entropy(
            logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"
        )
        total += loss.item()
    return total / rows[:, 1:].numel()


def held_out_losses(model: Model, data: Path, rows_per_stream: int) -> dict[str, float]:
    """Nats per token on each held-out stream, on rows of 512 spread over it."""
    return {
        stream: round(
            nats_per_token(model, spread(held_out_rows(data, stream, LENGTH + 1), rows_per_stream)),
            4,
        )
        for stream in MIXTURE
    }


def token_bytes(tokenizer: Tokenizer) -> torch.Tensor:
    """Bytes of text that each token stands for; <|endoftext|> stands for none."""
    marks = {*CONTROL, *USER_DEFINED}
    sizes = torch.zeros(tokenizer.get_vocab_size(), dtype=torch.long)
    for text, token in tokenizer.get_vocab().items():
        # An ordinary token is spelled with one character per byte.
        sizes[token] = len(text.encode()) if text in marks else len(text)
    sizes[tokenizer.token_to_id(END_OF_TEXT)] = 0
    return sizes


@torch.no_grad()
def acceptance_by_depth(model: Model, rows: torch.Tensor, first: int) -> list[tuple[int, int]]:
    """(drafted, accepted) at depths 1..4 over all drafting positions of rows (B, T).

    Row j reads token j + 1 and drafts for position j + 2 and on; a draft is accepted when it is
    the trunk's own greedy choice there. Depth s is drafted only where the drafts before were
    accepted *and* are what the text says, since the trunk's choices are known only along the text.
    In text that the model wrote greedily itself these are the same condition, and the numbers are
    those of decoding with four drafts from every position. Token `first` is the first that
    drafting starts from.
    """
    counts = [(0, 0)] * DEPTHS
    for part in rows.split(8):
        length = part.shape[1] - DEPTHS
        hidden = model.trunk(part)
        greedy = model.logits(hidden).argmax(-1)  # greedy[:, i] is the choice for position i + 1
        embedded = model.token_embd(part[:, 1:])
        chained = model.mtp(embedded[:, : length + DEPTHS - 1], hidden[:, :length], steps=DEPTHS)
        alive = torch.ones(part.shape[0], length, dtype=torch.bool)
        alive[:, : max(0, first - 1)] = False
        for depth, m in enumerate(chained):
            drafts = model.logits(m).argmax(-1)
            choice = greedy[:, 1 + depth : 1 + depth + length]
            accepted = alive & (drafts == choice)
            drafted, total = counts[depth]
            counts[depth] = (drafted + int(alive.sum()), total + int(accepted.sum()))
            if depth + 1 < DEPTHS:
                alive = accepted & (choice == part[:, 2 + depth : 2 + depth + length])
    return counts


def rates(counts: list[tuple[int, int]]) -> list[float]:
    """P(draft accepted | the drafts before it accepted) by depth."""
    return [round(accepted / max(drafted, 1), 4) for drafted, accepted in counts]


def evaluate(model: Model, data: Path, rows_per_stream: int) -> dict[str, object]:
    """All figures of a model, by stream."""
    sizes = token_bytes(load_tokenizer(data / "tokenizer.json"))
    result: dict[str, object] = {}
    for stream in MIXTURE:
        rows = held_out_rows(data, stream, LENGTH + 1)
        nats = nats_per_token(model, rows)
        bytes_per_token = sizes[rows[:, 1:]].float().mean().item()
        some = spread(rows, rows_per_stream)
        prompts = spread(held_out_rows(data, stream, PROMPT), rows_per_stream)
        written = torch.cat([prompts, generate(model, prompts, GENERATED)], dim=1)
        result[stream] = {
            "tokens": rows[:, 1:].numel(),
            "nats_per_token": round(nats, 4),
            "bits_per_byte": round(nats / math.log(2) / bytes_per_token, 4),
            "accepted_along_text": rates(acceptance_by_depth(model, some, first=0)),
            "accepted_along_own_text": rates(acceptance_by_depth(model, written, first=PROMPT)),
        }
        print(stream, json.dumps(result[stream]), flush=True)
    return result


def main() -> None:
    """Parse the command line and evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("training/runs/tiny"))
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--rows", type=int, default=32, help="rows per stream for acceptance")
    options = parser.parse_args()
    model, clock = load_model(options.run / "checkpoint.pt")
    result = evaluate(model, options.data, options.rows)
    result["step"], result["tokens"] = clock.step, clock.tokens
    (options.run / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
