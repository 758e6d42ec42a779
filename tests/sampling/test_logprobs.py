"""Log-probabilities against float64, in the order that is promised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.errors import ParameterError
from headlong.ops.reference import best_of
from headlong.sampling import Sampler, SamplingParams, TokenLogprob
from headlong.sampling.logprobs import TokenLogprobs


@given(
    size=st.sampled_from([1, 3, 320, 511, 512, 513, 5000]),
    count=st.integers(0, 20),
    unused=st.sets(st.integers(0, 319), max_size=40),
    levels=st.sampled_from([1, 3, 10_000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_likeliest_of_the_models_own_distribution(
    size: int, count: int, unused: set[int], levels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    row = (rng.integers(0, levels, size) * (8 / levels)).astype(np.float32)  # with ties
    unused = {token for token in unused if token < size}
    token = int(rng.integers(size))
    read = TokenLogprobs(count, unused).read(row, token)
    exact = row.astype(np.float64) - np.log(np.exp(row.astype(np.float64)).sum())
    assert read.token == token
    assert read.logprob == pytest.approx(exact[token], abs=1e-5)
    wanted = sorted(set(range(size)) - unused, key=lambda t: (-row[t], t))[:count]
    assert [t for t, _ in read.top] == wanted
    assert [p for _, p in read.top] == pytest.approx([exact[t] for t in wanted], abs=1e-5)


def test_a_token_among_the_likeliest_has_the_same_figure_twice() -> None:
    row = np.linspace(-5, 5, 4096, dtype=np.float32)
    read = TokenLogprobs(3, ()).read(row, 4094)
    assert dict(read.top)[4094] == read.logprob
    assert read.top[0][1] > read.logprob > read.top[2][1]


def test_tokens_that_are_ruled_out_are_no_alternatives() -> None:
    row = np.array([1, -np.inf, 0, -np.inf], np.float32)
    assert [t for t, _ in TokenLogprobs(20, [2]).read(row, 0).top] == [0]


def test_settings_do_not_change_what_the_model_said() -> None:
    row = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    plain = Sampler(SamplingParams(logprobs=5), 1000, seed=1).logprob(row, 7)
    changed = SamplingParams(
        logprobs=5, temperature=2, top_k=1, logit_bias={7: 5.0, 8: False}, repeat_penalty=1.5
    )
    assert isinstance(plain, TokenLogprob)
    assert Sampler(changed, 1000, seed=1).logprob(row, 7) == plain


def test_a_sampler_reads_whole_rows_only_where_somebody_asked() -> None:
    row = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    without = Sampler(SamplingParams(), 1000, seed=1)
    asked = Sampler(SamplingParams(logprobs=0), 1000, seed=1)
    assert (without.needs, without.reads) == (40, 40)
    assert (asked.needs, asked.reads) == (40, None)
    assert without.logprob(row, 3) is None
    token = asked.sample(row, [], 0)
    assert token == without.sample(best_of(row[None], 40).rows()[0], [], 0)
    read = asked.logprob(row, token)
    assert read is not None
    assert read.top == ()
    assert math.exp(read.logprob) < 1


@pytest.mark.parametrize("value", [-1, 21, 1.5, True, "5"])
def test_the_number_of_alternatives_is_checked(value: Any) -> None:
    with pytest.raises(
        ParameterError, match=r"logprobs is .* a whole number from 0 to 20, or None"
    ):
        SamplingParams(logprobs=value)
