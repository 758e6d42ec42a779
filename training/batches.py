"""Rows of tokens for training: the streams cut, shuffled and mixed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

# Share of rows per stream. The tests are half of the corpus, but the least worth imitating.
MIXTURE = {"library": 0.47, "reference": 0.05, "tests": 0.16, "chat": 0.32}


def _continuous_rows(tokens: np.ndarray, starts: np.ndarray, length: int,
                     rng: np.random.Generator) -> np.ndarray:  # fmt: skip
    """Documents in random order, end to end, cut every `length` tokens: (rows, length)."""
    ends = np.append(starts[1:], len(tokens))
    order = rng.permutation(len(starts))
    stream = np.concatenate([tokens[starts[i] : ends[i]] for i in order])
    stream = np.roll(stream, int(rng.integers(length)))
    n_rows = len(stream) // length
    return stream[: n_rows * length].reshape(n_rows, length)


def _aligned_rows(tokens: np.ndarray, starts: np.ndarray, length: int,
                  rng: np.random.Generator) -> np.ndarray:  # fmt: skip
    """Each row starts where a document's text starts (as a prompt does) and is filled with more."""
    ends = np.append(starts[1:], len(tokens))
    rows, parts, filled = [], [], 0
    for i in rng.permutation(len(starts)):
        first = starts[i] if parts else starts[i] + 1  # no <|endoftext|> at a row's beginning
        piece = tokens[first : ends[i]][: length - filled]
        parts.append(piece)
        filled += len(piece)
        if filled == length:
            rows.append(np.concatenate(parts))
            parts, filled = [], 0
    return np.stack(rows)


def read_stream(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, starts) as `prepare` wrote them."""
    with np.load(path) as arrays:
        return arrays["tokens"], arrays["starts"]


class Batches:
    """Endless mixed batches; each stream is used up before any of it repeats."""

    def __init__(self, data: Path, seed: int) -> None:
        self.streams = {name: read_stream(data / f"train-{name}.npz") for name in MIXTURE}
        self.rng = np.random.default_rng(seed)
        self.rows: dict[tuple[str, int], Iterator[np.ndarray]] = {}

    def _endless(self, name: str, length: int) -> Iterator[np.ndarray]:
        cut = _aligned_rows if name == "chat" else _continuous_rows
        while True:
            rows = cut(*self.streams[name], length, self.rng)
            yield from rows[self.rng.permutation(len(rows))]

    def draw(self, n_rows: int, length: int) -> torch.Tensor:
        """(n_rows, length) int64."""
        names = list(MIXTURE)
        chosen = self.rng.choice(len(names), size=n_rows, p=list(MIXTURE.values()))
        batch = []
        for name in (names[i] for i in chosen):
            if (name, length) not in self.rows:
                self.rows[name, length] = self._endless(name, length)
            batch.append(next(self.rows[name, length]))
        return torch.from_numpy(np.stack(batch).astype(np.int64))
