"""The vocabulary of tiny models: byte-level, with a few merges, and ChatML's special tokens."""

from __future__ import annotations

from dataclasses import dataclass

from gguf import TokenType

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)

# "Ġ" stands for a space. Each merge joins two tokens that exist before it.
MERGES = (
    "t h", "th e", "Ġ the", "Ġ a", "i n", "e r", "o n", "r e", "a n", "an d", "Ġ and", "e n",
    "i s", "Ġ is", "o r", "in g", "o u", "Ġ t", "Ġt o", "l l", "h e", "e s", "Ġ ,", "Ġ 1",
)  # fmt: skip
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKERS = ("<think>", "</think>")
MINIMUM = 256 + len(MERGES) + len(CONTROL) + len(MARKERS)


@dataclass(frozen=True, slots=True)
class TinyVocab:
    """Tokens in id order with their GGUF types, and the merges in rank order."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    chat_template: str = CHAT_TEMPLATE

    @property
    def normal(self) -> tuple[int, ...]:
        """Ids of ordinary text tokens."""
        return tuple(i for i, kind in enumerate(self.types) if kind == TokenType.NORMAL)

    @property
    def printable(self) -> tuple[int, ...]:
        """Ids of the text tokens that are whole printable characters: ASCII and the merges."""
        space = byte_characters()[ord(" ")]
        return tuple(
            i for i in self.normal if all(c.isascii() or c == space for c in self.tokens[i])
        )

    @property
    def end_of_text(self) -> int:
        return self.tokens.index("<|endoftext|>")

    @property
    def end_of_turn(self) -> int:
        return self.tokens.index("<|im_end|>")


def byte_characters() -> tuple[str, ...]:
    """The character that stands for each byte value in GPT-2's byte-level vocabularies.

    Printable Latin-1 bytes stand for themselves, the rest take the code points from 256 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return tuple(chr(b) if b in printable else chr(next(others)) for b in range(256))


def tiny_vocab(size: int) -> TinyVocab:
    """A vocabulary of `size` tokens, padded with unused ones as published files are."""
    if size < MINIMUM:
        raise ValueError(f"a tiny vocabulary needs at least {MINIMUM} tokens, not {size}")
    tokens = [*sorted(byte_characters()), *(m.replace(" ", "") for m in MERGES)]
    types = [TokenType.NORMAL] * len(tokens)
    tokens += [*CONTROL, *MARKERS]
    types += [TokenType.CONTROL] * len(CONTROL) + [TokenType.USER_DEFINED] * len(MARKERS)
    padding = range(len(tokens), size)
    tokens += [f"[PAD{i}]" for i in padding]
    types += [TokenType.UNUSED] * len(padding)
    return TinyVocab(tuple(tokens), tuple(int(t) for t in types), MERGES)
