"""Text to token ids and back: byte-level BPE over a GGUF vocabulary.

The merging is the `tokenizers` library's. Special tokens are cut out of the text here, before it
sees any: that decides per call, without shared state, whether control tokens in the text count,
and lets a chat prompt say which of them are merely quoted. Control and unused tokens are left out
of the BPE vocabulary, so that no text can spell one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models

from headlong.errors import ParameterError, TokenizerError, UnsupportedError
from headlong.tokenizer.pretokenizers import find_pre_tokenizer
from headlong.tokenizer.stream import StreamDecoder
from headlong.tokenizer.vocabulary import TokenType, Vocabulary

__all__ = ["Tokenizer"]


def _byte_characters() -> dict[str, int]:
    """The character that stands for each byte in byte-level vocabularies (GPT-2's table).

    Printable Latin-1 characters stand for themselves, the other bytes take U+0100 upwards.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(0x100) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update((chr(0x100 + i), byte) for i, byte in enumerate(rest))
    return table


_BYTE_OF: Final = _byte_characters()
_BYTE_TOKEN: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPELLED: Final = (TokenType.NORMAL, TokenType.BYTE)
_MEANINGLESS: Final = (TokenType.UNUSED, TokenType.UNDEFINED)
_HIDDEN: Final = (TokenType.CONTROL, TokenType.UNKNOWN, *_MEANINGLESS)
# Bytes that no UTF-8 text contains need no token.
_NEVER_IN_UTF8: Final = frozenset((0xC0, 0xC1, *range(0xF5, 0x100)))


class Tokenizer:
    """Encodes and decodes with one vocabulary. Immutable, safe to share between threads.

    Raises at construction:
        UnsupportedError: another tokenizer model than byte-level BPE, or an unknown pre-tokenizer.
        TokenizerError: merges that are malformed or name tokens that do not exist.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        if vocabulary.model != "gpt2":
            raise UnsupportedError(
                f"tokenizer.ggml.model: {vocabulary.model!r} is not supported; "
                "supported is 'gpt2' (byte-level BPE)"
            )
        pre = find_pre_tokenizer(vocabulary.pre)
        self.vocabulary = vocabulary
        self.size: Final = vocabulary.size
        """Number of ids, unused ones included."""
        kinds = vocabulary.kinds()
        self._kinds = kinds
        self.add_bos: Final = (
            vocabulary.add_bos
            if vocabulary.add_bos is not None
            else pre.add_bos and vocabulary.bos_id is not None
        )
        """Whether a prompt starts with BOS."""
        self.eog_ids: Final = vocabulary.end_of_generation()
        """Ids that end generation."""
        self.unused_ids: Final = tuple(
            token for token, kind in enumerate(kinds) if kind is TokenType.UNUSED
        )
        """Ids without meaning (padding of the embedding table), ascending; never sample them."""

        self._hidden = frozenset(token for token, kind in enumerate(kinds) if kind in _HIDDEN)
        # Tokens that text is made of, and tokens that are matched whole. Of equal texts the first
        # counts.
        spelled: dict[str, int] = {}
        self._special: dict[str, int] = {}
        controls: list[str] = []
        fixed: list[str] = []
        for token, (text, kind) in enumerate(zip(vocabulary.tokens, kinds, strict=True)):
            if not text:
                continue
            if kind in _SPELLED:
                spelled.setdefault(text, token)
            elif kind not in _MEANINGLESS:
                self._special.setdefault(text, token)
                (fixed if kind is TokenType.USER_DEFINED else controls).append(text)
        self.control_texts: Final = tuple(controls)
        """Texts of the control tokens, in id order."""
        self._any_special = _alternation([*fixed, *controls])
        self._fixed_only = _alternation(fixed)

        self._missing_bytes = frozenset(
            byte for text, byte in _BYTE_OF.items() if text not in spelled
        ).difference(_NEVER_IN_UTF8)
        merges = _merge_pairs(vocabulary, spelled)
        fast = FastTokenizer(
            models.BPE(vocab=spelled, merges=merges, ignore_merges=pre.ignore_merges)
        )
        fast.pre_tokenizer = pre.build()
        # The batch form makes no offsets and releases the interpreter lock.
        self._bpe = partial(fast.encode_batch_fast, add_special_tokens=False)

    def encode(
        self,
        text: str,
        *,
        special: bool = True,
        add_bos: bool | None = None,
        literal: Collection[int] = (),
    ) -> list[int]:
        """The token ids of a text.

        Args:
            text: any text; it is taken as it is (no normalisation, nothing stripped).
            special: control tokens written out in the text stand for themselves; with False they
                are text like any other. User-defined tokens always count whole.
            add_bos: put BOS in front unless the text begins with it; None leaves it to the file.
            literal: offsets into `text` at which a control token is only quoted (see
                `RenderedPrompt`).

        Raises:
            ParameterError: the text holds lone surrogates, or BOS is asked for and there is none.
            TokenizerError: the text holds a byte that the vocabulary has no token for.
        """
        self._check(text)
        ids: list[int] = []
        start = 0
        for begin, end in self._special_spans(text, special, literal):
            if start < begin:
                ids += self._bpe([text[start:begin]])[0].ids
            ids.append(self._special[text[begin:end]])
            start = end
        if start < len(text):
            ids += self._bpe([text[start:]])[0].ids
        if self.add_bos if add_bos is None else add_bos:
            bos = self.vocabulary.bos_id
            if bos is None:
                raise ParameterError("add_bos: the vocabulary has no BOS token")
            if not ids or ids[0] != bos:
                ids.insert(0, bos)
        return ids

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """The text of the ids; bytes that are not UTF-8 become U+FFFD.

        With `special` control tokens are written out, else they leave no trace.
        Raises `TokenizerError` for an id outside the vocabulary.
        """
        decoder = self.stream(special=special)
        return "".join([*map(decoder.feed, ids), decoder.flush()])

    def stream(self, *, special: bool = False) -> StreamDecoder:
        """A decoder to be fed id by id, giving the same text as `decode` piece by piece."""
        if special:
            return StreamDecoder(self.token_bytes)
        return StreamDecoder(self._printed_bytes)

    def token_bytes(self, token: int) -> bytes:
        """The bytes an id stands for, control tokens written out.

        Raises `TokenizerError` for an id outside the vocabulary.
        """
        if not 0 <= token < self.size:
            raise TokenizerError(
                f"token id {token} is outside the vocabulary of {self.size} tokens"
            )
        text = self.vocabulary.tokens[token]
        kind = self._kinds[token]
        if kind is TokenType.NORMAL:
            # A character outside the byte table can only come from a faulty conversion; it stands
            # for itself, as everywhere else.
            try:
                return bytes([_BYTE_OF[c] for c in text])
            except KeyError:
                return b"".join(
                    bytes((_BYTE_OF[c],)) if c in _BYTE_OF else c.encode() for c in text
                )
        if kind is TokenType.BYTE and (byte := _BYTE_TOKEN.fullmatch(text)):
            return bytes((int(byte[1], 16),))
        return text.encode()

    def special_id(self, text: str) -> int | None:
        """The id of the control or user-defined token with that text, if there is one."""
        return self._special.get(text)

    def _printed_bytes(self, token: int) -> bytes:
        return b"" if token in self._hidden else self.token_bytes(token)

    def _special_spans(
        self, text: str, special: bool, literal: Collection[int]
    ) -> Iterator[tuple[int, int]]:
        """Where tokens that are matched whole lie in the text, in order, not overlapping."""
        pattern = self._any_special if special else self._fixed_only
        if pattern is None:
            return
        at = 0
        while found := pattern.search(text, at):
            begin, at = found.span()
            if begin in literal:
                # A user-defined token may begin where a control token is only quoted.
                quoted = self._fixed_only and self._fixed_only.match(text, begin)
                if not quoted:
                    at = begin + 1
                    continue
                at = quoted.end()
            yield begin, at

    def _check(self, text: str) -> None:
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise ParameterError(
                f"the text holds a lone surrogate (U+{ord(text[error.start]):04X}) at offset "
                f"{error.start}, which is not a character; remove it or send the whole pair"
            ) from None
        if self._missing_bytes and not self._missing_bytes.isdisjoint(data):
            byte = min(self._missing_bytes.intersection(data))
            raise TokenizerError(
                f"the text holds byte 0x{byte:02X}, for which the vocabulary has no token"
            )


def _alternation(texts: Collection[str]) -> re.Pattern[str] | None:
    """A pattern for any of the texts, the longest where several begin at one place."""
    if not texts:
        return None
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))))


def _merge_pairs(vocabulary: Vocabulary, spelled: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges as pairs, without those that would spell a token which text cannot be made of."""
    pairs: list[tuple[str, str]] = []
    for merge in vocabulary.merges:
        left, _, right = merge.partition(" ")
        if left in spelled and right in spelled and left + right in spelled:
            pairs.append((left, right))
    if len(pairs) < len(vocabulary.merges):
        _check_merges(vocabulary)
    return pairs


def _check_merges(vocabulary: Vocabulary) -> None:
    """Raise `TokenizerError` for the first merge that is malformed or joins unknown tokens."""
    known = set(vocabulary.tokens)
    for rank, merge in enumerate(vocabulary.merges):
        pair = merge.split(" ")
        if len(pair) != 2 or not all(pair):
            raise TokenizerError(
                f"tokenizer.ggml.merges: entry {rank} ({merge!r:.80}) is not two parts "
                "separated by one space"
            )
        for part in (*pair, "".join(pair)):
            if part not in known:
                raise TokenizerError(
                    f"tokenizer.ggml.merges: entry {rank} ({merge!r:.80}) needs the token "
                    f"{part!r:.80}, which the vocabulary does not have"
                )
