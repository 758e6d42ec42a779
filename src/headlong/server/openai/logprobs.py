"""Log-probabilities of tokens in the two forms that OpenAI's API has for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from headlong.sampling import TokenLogprob
from headlong.server.openai.answer_schema import (
    ChatLogprobs,
    CompletionLogprobs,
    TokenLikelihood,
    TopLikelihood,
)
from headlong.tokenizer import Tokenizer

__all__ = ["OffsetLogprobs", "chat_logprobs"]

# JSON has no infinity; this is what OpenAI sends for what cannot be.
_IMPOSSIBLE: Final = -9999.0


def chat_logprobs(tokenizer: Tokenizer, logprobs: Iterable[TokenLogprob]) -> ChatLogprobs:
    """The form of chat completions, without the token that ends an answer."""
    return ChatLogprobs(
        content=[
            TokenLikelihood(
                token=_text(tokenizer, one.token),
                logprob=_finite(one.logprob),
                bytes=list(tokenizer.token_bytes(one.token)),
                top_logprobs=[
                    TopLikelihood(
                        token=_text(tokenizer, token),
                        logprob=_finite(logprob),
                        bytes=list(tokenizer.token_bytes(token)),
                    )
                    for token, logprob in one.top
                ],
            )
            for one in logprobs
            if one.token not in tokenizer.eog_ids
        ],
        refusal=None,
    )


class OffsetLogprobs:
    """The form of completions, in pieces: ``text_offset`` counts characters of the whole answer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = tokenizer.stream()
        self._offset = 0

    def read(self, logprobs: Iterable[TokenLogprob]) -> CompletionLogprobs:
        """The next tokens, without the one that ends an answer."""
        read = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for one in logprobs:
            if one.token in self._tokenizer.eog_ids:
                continue
            token = _spelling(self._tokenizer, one.token)
            read.tokens.append(token)
            read.token_logprobs.append(_finite(one.logprob))
            # The token itself is among them, as OpenAI has it, whether it is likely or not.
            likely = {_spelling(self._tokenizer, t): _finite(logprob) for t, logprob in one.top}
            read.top_logprobs.append({token: _finite(one.logprob)} | likely)
            read.text_offset.append(self._offset)
            self._offset += len(self._decoder.feed(one.token))
        return read


def _finite(logprob: float) -> float:
    return max(logprob, _IMPOSSIBLE)


def _text(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


def _spelling(tokenizer: Tokenizer, token: int) -> str:
    """The token's text, or its bytes where they are no whole characters."""
    data = tokenizer.token_bytes(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
