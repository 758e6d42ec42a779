"""What servers are asked: our own texts, each known by the hash of its messages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

__all__ = ["Message", "Workload"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Workload:
    """One prompt and how it is to be answered.

    Args:
        name: unique among those of one run, e.g. ``code_python``.
        messages: the conversation; one user message mostly.
        max_tokens: most tokens of the answer.
        exact_length: ask for exactly that many (``ignore_eos`` and ``min_tokens``), so that rates
            are of equal lengths.
        temperature: 0 is greedy.
        seed: of the sampler.
        category: what kind of text it is, for groups in reports.
    """

    name: str
    messages: tuple[Message, ...]
    max_tokens: int
    exact_length: bool = False
    temperature: float = 0.0
    seed: int = 42
    category: str = ""

    @property
    def sha256(self) -> str:
        """Hash of the messages, as hexadecimal digits."""
        pairs = [[m.role, m.content] for m in self.messages]
        return hashlib.sha256(json.dumps(pairs, ensure_ascii=False).encode()).hexdigest()
