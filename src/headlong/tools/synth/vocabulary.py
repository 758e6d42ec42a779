"""A made-up vocabulary of published size: byte-level BPE whose every token can be reached.

The first 256 tokens are the bytes. Every other ordinary token is one merge of two tokens before
it. Words are a space and syllables of three letter sets that take turns, so that the merges of a
word apply in one order only, and text made of words encodes to the very tokens it was made of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from headlong.errors import ParameterError
from headlong.tokenizer import TokenType, Vocabulary

__all__ = ["MadeUpVocabulary", "make_vocabulary"]

# ChatML without tools and thinking.
_CHAT_TEMPLATE: Final = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)

_CONTROL: Final = TokenType.CONTROL
_USER: Final = TokenType.USER_DEFINED

# In the order of the published vocabularies, where the first has id 248044.
_SPECIAL: Final = (
    ("<|endoftext|>", _CONTROL),
    ("<|im_start|>", _CONTROL),
    ("<|im_end|>", _CONTROL),
    ("<|object_ref_start|>", _CONTROL),
    ("<|object_ref_end|>", _CONTROL),
    ("<|box_start|>", _CONTROL),
    ("<|box_end|>", _CONTROL),
    ("<|quad_start|>", _CONTROL),
    ("<|quad_end|>", _CONTROL),
    ("<|vision_start|>", _CONTROL),
    ("<|vision_end|>", _CONTROL),
    ("<|vision_pad|>", _CONTROL),
    ("<|image_pad|>", _CONTROL),
    ("<|video_pad|>", _CONTROL),
    ("<tool_call>", _USER),
    ("</tool_call>", _USER),
    ("<|fim_prefix|>", _USER),
    ("<|fim_middle|>", _USER),
    ("<|fim_suffix|>", _USER),
    ("<|fim_pad|>", _USER),
    ("<|repo_name|>", _USER),
    ("<|file_sep|>", _USER),
    ("<tool_response>", _USER),
    ("</tool_response>", _USER),
    ("<think>", _USER),
    ("</think>", _USER),
)

# Unused rows at the end, as padding to a round size leaves them: 248320 - 248044 - 26.
_PADDING: Final = 250

# Words that every vocabulary has at least.
_MIN_WORDS: Final = 64

_SPACE: Final = "Ġ"
_VOWELS: Final = "aeiou"
# Onsets of a word's first (and fourth), second and third syllable. No letter is in two sets, so no
# merge joins two syllables that do not follow a space.
_ONSETS: Final = ("bcdfghjk", "lmnpqr", "stvwxyz")


@dataclass(frozen=True, slots=True)
class MadeUpVocabulary:
    """A vocabulary, and which ids are whole words with a space before them."""

    vocabulary: Vocabulary
    words: range


def make_vocabulary(size: int) -> MadeUpVocabulary:
    """A vocabulary of `size` tokens; of 248320, the special tokens have the published ids.

    Raises:
        ParameterError: `size` is too small for bytes, syllables, special tokens and some words.
    """
    padding = min(_PADDING, size // 16)
    ordinary = size - len(_SPECIAL) - padding
    tokens = sorted(_byte_characters())
    merges: list[str] = []
    first_word = len(tokens) + sum(len(onsets) for onsets in _ONSETS) * len(_VOWELS)
    if ordinary < first_word + _MIN_WORDS:
        raise ParameterError(f"a vocabulary of {size} tokens is too small.")
    for left, right in _merges():
        if len(tokens) == ordinary:
            break
        merges.append(f"{left} {right}")
        tokens.append(left + right)
    types = [TokenType.NORMAL] * len(tokens)
    tokens += [name for name, _ in _SPECIAL]
    types += [kind for _, kind in _SPECIAL]
    tokens += [f"[PAD{i}]" for i in range(len(tokens), size)]
    types += [TokenType.UNUSED] * (size - len(types))
    vocabulary = Vocabulary(
        tokens,
        types,
        merges,
        pre="qwen35",
        eos_id=tokens.index("<|im_end|>"),
        padding_id=tokens.index("<|endoftext|>"),
        add_bos=False,
        chat_template=_CHAT_TEMPLATE,
    )
    return MadeUpVocabulary(vocabulary, range(first_word, ordinary))


def _merges() -> Iterator[tuple[str, str]]:
    """Letters to syllables, then words from one syllable up: 1.7 million words in all."""
    for onsets in _ONSETS:
        yield from product(onsets, _VOWELS)
    syllables = [["".join(pair) for pair in product(onsets, _VOWELS)] for onsets in _ONSETS]
    words = [_SPACE]
    for position in range(4):
        longer = []
        for word, syllable in product(words, syllables[position % 3]):
            yield word, syllable
            longer.append(word + syllable)
        words = longer


def _byte_characters() -> list[str]:
    """The character that stands for each byte in byte-level vocabularies.

    Printable Latin-1 bytes stand for themselves, the others take the code points from 256 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
