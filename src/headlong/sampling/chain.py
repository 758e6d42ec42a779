"""The sampler chain: from logits to a token, as a pure function.

The order is llama.cpp's: logit bias (and bans), penalties, top-k, typical-p, top-p, min-p,
temperature, draw. The draw adds Gumbel noise keyed by (seed, position, id) and takes the maximum,
which is a draw from the softmax; so the token depends on nothing but the logits, the settings, the
seed, and the tokens before the position. Verification and drafting call the same method; a draft
made with the same noise as the target's own draw is accepted more often than a draft of the highest
logit. The arithmetic is in `native/sampler.cpp`; this file knows what a request asked for.

- grammar: a mask rules out, before everything else, what the grammar does not let through.
- bias: added to the logits of its ids; -inf bans an id.
- penalties, on tokens of the last `repeat_last_n`: positive logits are divided by `repeat_penalty`,
  others multiplied; then `count * frequency_penalty + presence_penalty` is subtracted.
- top-k: the k best, equal ones by id. All sums after it are over what it left.
- typical-p: those whose surprise, -log(probability), is closest to the entropy, until their
  probabilities reach p (Meister et al., "Locally typical sampling", TACL 2023).
- top-p: the fewest best whose probabilities reach p.
- min-p: those at least p times as probable as the best.

Every filter keeps at least one token. Where top-k is off, exponentials over the whole row are
float32 and their sums good to about six digits.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np

from headlong import _native
from headlong.errors import HeadlongError, ParameterError
from headlong.ops.batch import FloatArray
from headlong.ops.best import MOST_BEST, Candidates
from headlong.sampling.history import TokenHistory
from headlong.sampling.logprobs import TokenLogprob, TokenLogprobs
from headlong.sampling.mask import TokenMask
from headlong.sampling.params import SamplingParams
from headlong.sampling.subset import TokenSubset

__all__ = ["Logits", "Sampler", "most_needed"]

Logits: TypeAlias = FloatArray | Candidates
"""What is known of the token at a position: a whole row of logits, or the best of it."""


_FAR: Final = 2**62  # beyond every position, and still a 64-bit number


class Sampler:
    """Samples the tokens of one request. It holds no state that a draw could change.

    params: the request's settings. vocab_size: columns of the target's logits. seed: the
    request's, `params.seed` or, where that is None, one drawn when the request started. banned:
    ids that are never sampled (unused entries of the vocabulary); `Candidates` may hold them or
    not. eog_ids: end-of-generation tokens, for `ignore_eos` and `min_tokens`. prompt_len: tokens
    before the first generated one, which `min_tokens` counts from. isa: instruction set of the
    kernels (default: the fastest), which makes no difference to the token.

    Raises ParameterError when logit_bias names a token that the vocabulary lacks.
    """

    def __init__(
        self,
        params: SamplingParams,
        vocab_size: int,
        seed: int,
        banned: Iterable[int] = (),
        eog_ids: Iterable[int] = (),
        prompt_len: int = 0,
        isa: str = "",
    ) -> None:
        self.params = params
        self.seed = seed
        self._vocab_size = vocab_size
        for token, _ in params.bias_pairs:
            if token >= vocab_size:
                raise ParameterError(
                    f"logit_bias names the token {token}; this model's ids go from 0 to "
                    f"{vocab_size - 1}"
                )
        shifts = [pair for pair in params.bias_pairs if pair[1] not in (0.0, -math.inf)]
        unused = {int(token) for token in banned}
        eog = {int(token) for token in eog_ids}
        bans = unused | {token for token, bias in params.bias_pairs if bias == -math.inf}
        if params.ignore_eos:
            bans |= eog
        early = bans | eog if params.min_tokens else bans
        if early and not 0 <= min(early) <= max(early) < vocab_size:
            raise HeadlongError(
                f"banned or end-of-generation ids go from {min(early)} to {max(early)}; "
                f"the vocabulary has {vocab_size}"
            )
        self.needs = self._needs(len(early - unused), bool(shifts))
        self._logprobs = None if params.logprobs is None else TokenLogprobs(params.logprobs, unused)
        self._native = _native.Sampler(
            temperature=params.temperature,
            top_k=max(0, min(params.top_k, vocab_size)),
            top_p=params.top_p,
            min_p=params.min_p,
            typical_p=params.typical_p,
            repeat=params.repeat_penalty,
            frequency=params.frequency_penalty,
            presence=params.presence_penalty,
            seed=seed,
            bans=sorted(bans),
            early_bans=sorted(early),
            early_until=min(prompt_len + params.min_tokens, _FAR),  # first position free to end
            shift_ids=[token for token, _ in shifts],
            shifts=[bias for _, bias in shifts],
            isa=isa,
        )

    def _needs(self, own_bans: int, shifted: bool) -> int | None:
        params = self.params
        if shifted or params.penalised or params.grammar is not None:
            return None
        # As many of the best may be banned for this request alone.
        best = (1 if params.greedy else params.top_k) + own_bans
        all_kept = not params.greedy and params.top_k <= 0
        return None if all_kept or best > MOST_BEST else min(best, self._vocab_size)

    needs: int | None
    """How many of a row's best logits decide its token; None: it takes the whole row."""

    def history(self, tokens: Iterable[int] = ()) -> TokenHistory:
        """A history of these tokens that keeps the counts this sampler's penalties look at.

        Any other history gives the same tokens, but has its window counted for every row.
        """
        return TokenHistory(tokens, window=self._window)

    def sample(
        self,
        logits: Logits,
        history: TokenHistory | Sequence[int],
        position: int,
        subset: TokenSubset | None = None,
        mask: TokenMask | None = None,
    ) -> int:
        """The token at `position`, which is the count of tokens before it.

        logits: float32 [vocab_size], left as they are, where -inf rules a token out; or
        `Candidates` of at least `needs` logits. history: the tokens before the position, prompt
        and output. subset: for a whole row of a trimmed draft head, the ids of its columns. mask:
        for a whole row, which tokens a grammar lets through.

        Raises HeadlongError for logits of another shape or dtype, for NaN or +inf among them,
        when history and position disagree, and when mask and bans leave no token.
        """
        if len(history) != position:
            raise HeadlongError(
                f"the history holds {len(history)} tokens at position {position}; "
                "it must hold those before the position"
            )
        if isinstance(logits, Candidates):
            if self.needs is None or logits.ids.size < self.needs:
                raise HeadlongError(
                    f"{logits.ids.size} of the best logits are too few; wanted "
                    f"{self.needs or 'the whole row'}"
                )
            token = self._native.best(logits.logits, logits.ids, position)
        else:
            columns = self._vocab_size if subset is None else len(subset)
            if logits.shape != (columns,) or logits.dtype != np.float32:
                raise HeadlongError(
                    f"logits are {logits.dtype} {list(logits.shape)}; wanted float32 [{columns}]"
                )
            if mask is not None:
                logits, subset = mask.restrict(logits, subset)
            ids = None if subset is None else subset.ids
            token = _native.NO_TOKEN  # of an empty row
            if logits.size:
                token = self._native.row(logits, ids, self._counts(history), position)
        if token < 0:
            raise _refusal(token, position)
        return token

    @property
    def reads(self) -> int | None:
        """How many of a row's best logits `sample` and `logprob` need; None: the whole row."""
        return self.needs if self._logprobs is None else None

    def logprob(self, logits: Logits, token: int) -> TokenLogprob | None:
        """What a whole row says of the token sampled from it; None where nobody asked."""
        if self._logprobs is None or isinstance(logits, Candidates):
            return None
        return self._logprobs.read(logits, token)

    @property
    def _window(self) -> int:
        return self.params.repeat_last_n if self.params.penalised else 0

    def _counts(self, history: TokenHistory | Sequence[int]) -> _native.WindowCounts | None:
        """Tokens of the window that penalties look at; None when they are off."""
        window = self._window
        if window == 0:
            return None
        if isinstance(history, TokenHistory) and history.window == window:
            return history.counts
        return TokenHistory(history[-window:] if window > 0 else history[:], window=-1).counts


def most_needed(needs: Iterable[int | None]) -> int | None:
    """How many of the best logits of every row serve all of these; None: whole rows."""
    most = 1
    for best in needs:
        if best is None:
            return None
        most = max(most, best)
    return most


def _refusal(code: int, position: int) -> HeadlongError:
    if code == _native.NO_TOKEN:
        return HeadlongError(
            f"no token can be sampled at position {position}: grammar, logit_bias and the banned "
            "tokens leave none"
        )
    fault = "NaN" if code == _native.NAN_LOGITS else "+inf"
    return HeadlongError(
        f"the logits at position {position} hold {fault}: "
        "the model's weights or a kernel are at fault"
    )
