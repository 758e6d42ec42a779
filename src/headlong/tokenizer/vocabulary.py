"""The vocabulary a GGUF file carries: tokens, their kinds, merges, special ids, chat templates.

Plain data, checked once; `Tokenizer` turns it into something that encodes. Keys of
`tokenizer.ggml.*` that this file does not read are settled here too: `add_eos_token` is accepted
without effect (a prompt that shall be continued is never closed), scores and the normalisation
switches belong to other tokenizer models, which are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Self

from headlong.errors import TokenizerError, UnsupportedError
from headlong.gguf import Metadata

__all__ = ["END_OF_GENERATION", "TokenType", "Vocabulary"]


class TokenType(IntEnum):
    """The kinds of token in `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Tokens that end a turn or a text whatever the file says about them: files name at most one EOS,
# models were trained with several. The list, its fill-in-the-middle members and the exception for
# <|end|> (see `end_of_generation`) are llama.cpp's.
END_OF_GENERATION: frozenset[str] = frozenset(
    (
        "<|im_end|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|calls|>",
        "<|flush|>",
        "<end_of_turn>",
        "<end_of_utterance>",
        "<EOT>",
        "_<EOT>",
        "<｜end▁of▁sentence｜>",
        "<|fim_pad|>",
        "<fim-pad>",
        "<fim_pad>",
        "<PAD>",
        "<|fim_repo|>",
        "<|repo_name|>",
        "<fim-repo>",
        "<REPO>",
        "<reponame>",
        "<|file_sep|>",
    )
)

_ID_KEYS = ("bos", "eos", "eot", "eom", "padding", "unknown")


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """A checked vocabulary; token ids are positions in `tokens`.

    Raises `TokenizerError` where the parts do not fit together: no tokens, as many types as
    tokens, unknown types, special ids out of range.
    """

    tokens: Sequence[str] = field(repr=False)
    types: Sequence[int] = field(repr=False)
    merges: Sequence[str] = field(repr=False)  # "left right", best first
    pre: str  # tokenizer.ggml.pre
    model: str = "gpt2"  # tokenizer.ggml.model
    bos_id: int | None = None
    eos_id: int | None = None
    eot_id: int | None = None
    eom_id: int | None = None
    padding_id: int | None = None
    unknown_id: int | None = None
    add_bos: bool | None = None  # None: the pre-tokenizer's default
    chat_template: str | None = field(default=None, repr=False)
    named_chat_templates: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )

    def __post_init__(self) -> None:
        if not self.tokens:
            raise TokenizerError("tokenizer.ggml.tokens: the vocabulary is empty")
        if len(self.types) != len(self.tokens):
            raise TokenizerError(
                f"tokenizer.ggml.token_type: {len(self.types)} types for {len(self.tokens)} tokens"
            )
        foreign = set(self.types) - set(TokenType)
        if foreign:
            raise TokenizerError(f"tokenizer.ggml.token_type: unknown type {min(foreign)}")
        for name, token in (
            ("bos", self.bos_id),
            ("eos", self.eos_id),
            ("eot", self.eot_id),
            ("eom", self.eom_id),
            ("padding", self.padding_id),
            ("unknown", self.unknown_id),
        ):
            if token is not None and not 0 <= token < len(self.tokens):
                raise TokenizerError(
                    f"tokenizer.ggml.{name}_token_id: {token} is outside the vocabulary of "
                    f"{len(self.tokens)} tokens"
                )
        if self.add_bos and self.bos_id is None:
            raise TokenizerError(
                "tokenizer.ggml.add_bos_token is set, but tokenizer.ggml.bos_token_id is missing"
            )

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Self:
        """The vocabulary of an opened GGUF file.

        Raises `ModelError` for missing or mistyped keys, `TokenizerError` for parts that do not
        fit together, `UnsupportedError` for switches that this tokenizer does not implement.
        """
        prefix = "tokenizer.ggml."
        if metadata.get(prefix + "add_space_prefix", bool, False):
            raise UnsupportedError(
                f"{metadata.path}: tokenizer.ggml.add_space_prefix is set; "
                "byte-level vocabularies are read without a space put in front"
            )
        tokens = metadata.strings(prefix + "tokens")
        types_key = prefix + "token_type"
        ids = {name: metadata.get(f"{prefix}{name}_token_id", int, None) for name in _ID_KEYS}
        named = {
            name: metadata.require(f"tokenizer.chat_template.{name}", str)
            for name in (
                metadata.strings("tokenizer.chat_templates")
                if "tokenizer.chat_templates" in metadata
                else ()
            )
        }
        return cls(
            tokens=tokens,
            # Without types every token is text, as the format says.
            types=metadata.ints(types_key) if types_key in metadata else [1] * len(tokens),
            merges=metadata.strings(prefix + "merges") if prefix + "merges" in metadata else (),
            pre=metadata.get(prefix + "pre", str, ""),
            model=metadata.require(prefix + "model", str),
            bos_id=ids["bos"],
            eos_id=ids["eos"],
            eot_id=ids["eot"],
            eom_id=ids["eom"],
            padding_id=ids["padding"],
            unknown_id=ids["unknown"],
            add_bos=metadata.get(prefix + "add_bos_token", bool, None),
            chat_template=metadata.get("tokenizer.chat_template", str, None),
            named_chat_templates=MappingProxyType(named),
        )

    @property
    def size(self) -> int:
        """Number of ids, unused ones included."""
        return len(self.tokens)

    def kinds(self) -> list[TokenType]:
        """The kind of every token as this engine treats it.

        Two corrections to what files say: tokens of `END_OF_GENERATION` are control tokens, and
        placeholders `[PADn]` with their own id as n are unused (older converters called them
        user-defined, which would let a prompt address a row that was never trained).
        """
        kinds = list(map({int(kind): kind for kind in TokenType}.__getitem__, self.types))
        for token, text in enumerate(self.tokens):
            if text in END_OF_GENERATION:
                kinds[token] = TokenType.CONTROL
            elif text.startswith("[PAD") and text == f"[PAD{token}]":
                kinds[token] = TokenType.UNUSED
        return kinds

    def end_of_generation(self) -> frozenset[int]:
        """Ids after which nothing more is generated: eos, eot, eom, and those known by text."""
        texts = {text: i for i, text in enumerate(self.tokens) if text in END_OF_GENERATION}
        if "<|return|>" in texts and "<|call|>" in texts:
            texts.pop("<|end|>", None)  # there it ends a message, and the answer goes on
        named = (self.eos_id, self.eot_id, self.eom_id)
        return frozenset(texts.values()) | {token for token in named if token is not None}
