"""What servers are asked: our own texts, each known by the hash of its messages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from headlong.bench.long_text import long_text
from headlong.errors import ParameterError

__all__ = ["SHAPES", "Message", "Workload", "question_about", "shape"]


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


SHAPES: Final = ("chat", "code", "long prompt", "long answer")
"""The workload shapes of published tables."""

_CHAT_TOKENS: Final = 100  # as in published tables
_CODE_TOKENS: Final = 256
_LONG_PROMPT_TOKENS: Final = 128
_LONG_ANSWER_TOKENS: Final = 1024
_LONG_PROMPT: Final = 4096

_CHAT = (
    "I moved into a small flat with a balcony that faces north. Which herbs and vegetables can I "
    "grow there, and what should I do first?"
)
_CODE = (
    "Write a Python command-line program that reads a CSV file of bank bookings (date, payee, "
    "amount, category) and prints income and spending per month and category. Use only the "
    "standard library, `argparse`, dataclasses and type hints, and handle malformed lines."
)
_LONG_ANSWER = (
    "Write a detailed guide to building a wooden rowing boat of four metres: choosing the timber, "
    "drawing the lines, setting up the moulds, planking, fitting the thwarts and oarlocks, "
    "finishing, and the first launch. Explain each step and its common mistakes."
)
_QUESTION = (
    "\n\n---\n\nThese are notes, code and measurements of one project. Describe what the project "
    "does, which problems come up again and again, and which three you would solve first and why."
)


def shape(
    name: str,
    *,
    max_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int = 42,
    exact: bool = True,
    prompt_tokens: int = _LONG_PROMPT,
) -> Workload:
    """A workload shape by name.

    Args:
        max_tokens: length of the answer instead of the shape's own.
        prompt_tokens: rough length of the long prompt; the others have their own.

    Raises:
        ParameterError: there is no such shape.
    """
    texts = {
        "chat": (_CHAT, _CHAT_TOKENS),
        "code": (_CODE, _CODE_TOKENS),
        "long prompt": (None, _LONG_PROMPT_TOKENS),
        "long answer": (_LONG_ANSWER, _LONG_ANSWER_TOKENS),
    }
    if name not in texts:
        raise ParameterError(f"there is no workload shape {name!r}; known: {', '.join(SHAPES)}")
    text, tokens = texts[name]
    return Workload(
        name,
        (Message("user", text or long_text(prompt_tokens) + _QUESTION),),
        max_tokens or tokens,
        exact_length=exact,
        temperature=temperature,
        seed=seed,
        category=name,
    )


def question_about(text: str) -> str:
    """A long text with a question at its end, so that an answer has something to say."""
    return text + _QUESTION
