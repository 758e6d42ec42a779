"""The sampler chain: from a row of logits to a token, as a pure function.

The order is llama.cpp's: logit bias (and bans), penalties, top-k, typical-p, top-p, min-p,
temperature, draw. The draw adds noise keyed by (seed, position, id) and takes the maximum, so the
token depends on nothing but the row, the settings, the seed, and the tokens before the position.
Verification and drafting call the same method; a draft made with the same noise as the target's
own draw is accepted more often than a draft of the highest logit.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from headlong.errors import HeadlongError, ParameterError
from headlong.sampling.filters import (
    keep_min_p,
    keep_top_p,
    keep_typical_p,
    likely,
    nucleus,
    top_k,
)
from headlong.sampling.history import TokenHistory
from headlong.sampling.noise import gumbel
from headlong.sampling.params import SamplingParams
from headlong.sampling.penalties import penalise
from headlong.sampling.subset import TokenSubset

__all__ = ["Sampler"]

_Row: TypeAlias = npt.NDArray[np.float32]
_Ids: TypeAlias = npt.NDArray[np.int64]

_EVERY_COLUMN: Final = slice(None)


class Sampler:
    """Samples the tokens of one request. It holds no state that a draw could change.

    params: the request's settings. vocab_size: columns of the target's logits. seed: the
    request's, `params.seed` or, where that is None, one drawn when the request started. banned:
    ids that are never sampled (unused entries of the vocabulary). eog_ids: end-of-generation
    tokens, for `ignore_eos` and `min_tokens`. prompt_len: tokens before the first generated one,
    which `min_tokens` counts from.

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
        self._shift_ids = np.array([token for token, _ in shifts], np.int64)
        self._shift_by = np.array([bias for _, bias in shifts], np.float32)
        bans = {token for token, bias in params.bias_pairs if bias == -math.inf}
        bans.update(int(token) for token in banned)
        eog = {int(token) for token in eog_ids}
        if params.ignore_eos:
            bans |= eog
        self._bans = _Bans(bans, vocab_size)
        self._early_bans = _Bans(bans | eog, vocab_size)
        self._early_until = prompt_len + params.min_tokens  # first position free to end

    def history(self, tokens: Iterable[int] = ()) -> TokenHistory:
        """A history of these tokens that keeps the counts this sampler's penalties look at.

        Any other history gives the same tokens, but has its window counted for every row.
        """
        return TokenHistory(tokens, window=self._window)

    def sample(
        self,
        logits: _Row,
        history: TokenHistory | Sequence[int],
        position: int,
        subset: TokenSubset | None = None,
    ) -> int:
        """The token at `position`, which is the count of tokens before it.

        logits: float32 [vocab_size], left as they are; -inf rules a token out. history: the
        tokens before the position, prompt and output. subset: for a trimmed draft head, the ids
        of the columns; logits then have that length.

        Raises HeadlongError for logits of another shape or dtype, for NaN or +inf among them,
        when history and position disagree, and when bans leave no token.
        """
        self._check(logits, history, position, subset)
        row = self._shifted(logits, history, subset)
        best = int(row.argmax())  # finds NaN too: numpy ranks it above all numbers
        peak = float(row[best])
        if not peak < math.inf:
            raise HeadlongError(
                f"the logits at position {position} hold {'NaN' if math.isnan(peak) else '+inf'}: "
                "the model's weights or a kernel are at fault"
            )
        bans = self._early_bans if position < self._early_until else self._bans
        if self.params.greedy and _id_of(best, subset) not in bans.members and peak > -math.inf:
            return _id_of(best, subset)
        row = bans.applied(row, subset, in_place=row is not logits)
        best = int(row.argmax())
        if row[best] == -math.inf:
            raise HeadlongError(
                f"no token can be sampled at position {position}: logit_bias and the banned "
                "tokens leave none"
            )
        if self.params.greedy:
            return _id_of(best, subset)
        columns = self._candidates(row)
        ids = columns if subset is None else subset.ids[columns]
        return self._draw(row[columns].astype(np.float64), ids, position)

    @property
    def _window(self) -> int:
        return self.params.repeat_last_n if self.params.penalised else 0

    def _check(
        self,
        logits: _Row,
        history: TokenHistory | Sequence[int],
        position: int,
        subset: TokenSubset | None,
    ) -> None:
        columns = self._vocab_size if subset is None else len(subset)
        if logits.shape != (columns,) or logits.dtype != np.float32:
            raise HeadlongError(
                f"logits are {logits.dtype} {list(logits.shape)}; wanted float32 [{columns}]"
            )
        if len(history) != position:
            raise HeadlongError(
                f"the history holds {len(history)} tokens at position {position}; "
                "it must hold those before the position"
            )

    def _shifted(
        self, logits: _Row, history: TokenHistory | Sequence[int], subset: TokenSubset | None
    ) -> _Row:
        """Logits after bias and penalties: a copy, or the same array when neither applies."""
        ids, counts = self._repeated(history)
        if not self._shift_ids.size and not ids.size:
            return logits
        row = logits.copy()
        if self._shift_ids.size:
            columns, present = _columns(self._shift_ids, subset)
            row[columns] += self._shift_by[present]
        if ids.size:
            columns, present = _columns(ids, subset)
            row[columns] = penalise(
                row[columns],
                counts[present],
                repeat=self.params.repeat_penalty,
                frequency=self.params.frequency_penalty,
                presence=self.params.presence_penalty,
            )
        return row

    def _repeated(self, history: TokenHistory | Sequence[int]) -> tuple[_Ids, _Ids]:
        """Tokens of the window that penalties look at, and their counts; empty when off."""
        window = self._window
        if isinstance(history, TokenHistory) and history.window == window:
            return history.window_counts()
        recent = history[-window:] if window > 0 else history[:] if window else ()
        return np.unique(np.array(recent, np.int64), return_counts=True)

    def _candidates(self, row: _Row) -> _Ids:
        """Columns that the filters leave."""
        params = self.params
        top_p = params.top_p
        if params.top_k > 0:
            columns = top_k(row, params.top_k)
        elif params.typical_p < 1:
            columns = top_k(row, row.size)
        elif top_p < 1:
            columns = nucleus(row, top_p)
            top_p = 1.0
        elif params.min_p > 0:
            columns = likely(row, params.min_p)
        else:
            return np.flatnonzero(row > -math.inf)
        logits = row[columns].astype(np.float64)
        if params.typical_p < 1:
            kept = keep_typical_p(logits, params.typical_p)
            columns, logits = columns[kept], logits[kept]
        if top_p < 1:
            kept_n = keep_top_p(logits, top_p)
            columns, logits = columns[:kept_n], logits[:kept_n]
        if params.min_p > 0:
            columns = columns[: keep_min_p(logits, params.min_p)]
        return columns

    def _draw(self, logits: npt.NDArray[np.float64], ids: _Ids, position: int) -> int:
        """One id by Gumbel-max; a tie goes to the lowest id."""
        with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf
            scores = (logits - logits.max()) / self.params.temperature
        scores += gumbel(self.seed, position, ids)
        return int(ids[scores == scores.max()].min())


class _Bans:
    """Token ids that cannot be sampled."""

    __slots__ = ("ids", "members")

    def __init__(self, members: Iterable[int], vocab_size: int) -> None:
        self.members = frozenset(members)
        self.ids: _Ids = np.array(sorted(self.members), np.int64)
        if self.ids.size and not 0 <= self.ids[0] <= self.ids[-1] < vocab_size:
            raise HeadlongError(
                f"banned or end-of-generation ids go from {self.ids[0]} to {self.ids[-1]}; "
                f"the vocabulary has {vocab_size}"
            )

    def applied(self, row: _Row, subset: TokenSubset | None, *, in_place: bool) -> _Row:
        """The row with these tokens at -inf; the same array when there are none."""
        columns, _ = _columns(self.ids, subset)
        if not columns.size:
            return row
        if not in_place:
            row = row.copy()
        row[columns] = -math.inf
        return row


def _id_of(column: int, subset: TokenSubset | None) -> int:
    return column if subset is None else int(subset.ids[column])


def _columns(ids: _Ids, subset: TokenSubset | None) -> tuple[_Ids, npt.NDArray[np.bool_] | slice]:
    """Columns of ids, and which of the ids have one."""
    return (ids, _EVERY_COLUMN) if subset is None else subset.columns(ids)
