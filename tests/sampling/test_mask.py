"""Masks: what they leave of a row, whole or of a trimmed head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.errors import HeadlongError
from headlong.sampling import Grammar, Sampler, SamplingParams, TokenMask, TokenSubset

SIZE = 3000
SAMPLER = Sampler(SamplingParams(grammar=Grammar.regex("a"), seed=0), SIZE, seed=0)


def mask_of(flags: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> TokenMask:
    return TokenMask(np.packbits(flags, bitorder="little"), flags.size)


@given(
    share=st.sampled_from([0.0, 0.001, 0.3, 0.9, 1.0]),
    trimmed=st.booleans(),
    greedy=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_sampling_under_a_mask_is_sampling_with_the_others_ruled_out(
    share: float, trimmed: bool, greedy: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    flags = rng.random(SIZE) < share
    mask = mask_of(flags)
    row = rng.standard_normal(SIZE).astype(np.float32)
    subset = None
    kept = flags
    if trimmed:
        subset = TokenSubset(np.flatnonzero(rng.random(SIZE) < 0.2))
        row, kept = row[subset.ids], flags[subset.ids]
    params = SamplingParams(
        grammar=Grammar.regex("a"), temperature=0 if greedy else 1, top_k=0, top_p=1, min_p=0
    )
    sampler = Sampler(params, SIZE, seed)
    assert mask.count == flags.sum()
    if not kept.any():
        with pytest.raises(HeadlongError, match="grammar, logit_bias and the banned"):
            sampler.sample(row, [], 0, subset, mask)
        return
    token = sampler.sample(row, [], 0, subset, mask)
    assert flags[token]
    ruled_out = np.where(kept, row, np.float32(-np.inf))
    assert token == sampler.sample(ruled_out, [], 0, subset)


def test_the_only_token() -> None:
    flags = np.zeros(SIZE, np.bool_)
    assert mask_of(flags).only is None
    flags[77] = True
    assert mask_of(flags).only == 77
    flags[78] = True
    assert mask_of(flags).only is None


def test_bits_beyond_the_vocabulary_are_of_no_account() -> None:
    mask = TokenMask(np.full(8, 255, np.uint8), 50)
    row = np.zeros(50, np.float32)
    assert mask.count == 50
    assert mask.restrict(row)[0].size == 50


def test_a_mask_leaves_the_row_as_it_is() -> None:
    flags = np.ones(SIZE, np.bool_)
    flags[:10] = False
    row = np.arange(SIZE, dtype=np.float32)
    before = row.copy()
    assert SAMPLER.sample(row, [], 0, mask=mask_of(flags)) >= 10
    assert np.array_equal(row, before)
