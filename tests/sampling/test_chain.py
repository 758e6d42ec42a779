"""The whole chain: against a slow one, against the softmax, and in its promises."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from slow_sampler import slow_sample

from headlong.errors import HeadlongError, ParameterError
from headlong.ops.reference import best_of
from headlong.sampling import Sampler, SamplingParams, TokenHistory, TokenSubset, probability

VOCAB = 48
GREEDY = SamplingParams(temperature=0)
PLAIN = SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0)

params_of_all_kinds = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 0.8, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 10, 40, 1000]),
    top_p=st.sampled_from([0.0, 0.31, 0.93, 1.0]),
    min_p=st.sampled_from([0.0, 0.07, 0.51, 1.0]),
    typical_p=st.sampled_from([0.23, 0.87, 1.0, 1.0]),
    repeat_penalty=st.sampled_from([1.0, 1.0, 1.3, 0.7]),
    repeat_last_n=st.sampled_from([-1, 0, 1, 5, 64]),
    presence_penalty=st.sampled_from([0.0, 0.6, -0.4]),
    frequency_penalty=st.sampled_from([0.0, 0.3]),
    logit_bias=st.dictionaries(
        st.integers(0, VOCAB - 1), st.sampled_from([1.5, -3.0, -math.inf, 0.0]), max_size=4
    ),
)
rows = st.integers(0, 2**32 - 1).map(
    lambda seed: (np.random.default_rng(seed).standard_normal(VOCAB) * 2.5).astype(np.float32)
)
histories = st.lists(st.integers(0, VOCAB - 1), max_size=80)
seeds = st.integers(0, 2**64 - 1)
Row = npt.NDArray[np.float32]


@settings(max_examples=400)
@given(params_of_all_kinds, rows, histories, seeds, st.sets(st.integers(0, VOCAB - 1), max_size=5))
def test_equals_the_slow_chain(
    params: SamplingParams, row: Row, history: list[int], seed: int, banned: set[int]
) -> None:
    sampler = Sampler(params, VOCAB, seed, banned)
    expected = slow_sample(
        row.tolist(),
        history,
        params,
        seed,
        frozenset(banned) | {t for t, b in params.bias_pairs if b == -math.inf},
    )
    assert sampler.sample(row, sampler.history(history), len(history)) == expected


@given(params_of_all_kinds, rows, histories, seeds)
def test_pure(params: SamplingParams, row: Row, history: list[int], seed: int) -> None:
    sampler = Sampler(params, VOCAB, seed)
    before = row.copy()
    row.flags.writeable = False
    first = sampler.sample(row, sampler.history(history), len(history))
    # Other draws in between, another object, and any kind of history change nothing.
    sampler.sample(before[::-1].copy(), history[:-1], len(history[:-1]))
    assert sampler.sample(row, history, len(history)) == first
    assert Sampler(params, VOCAB, seed).sample(row, tuple(history), len(history)) == first
    assert sampler.sample(row, TokenHistory(history), len(history)) == first
    assert np.array_equal(row, before)


@given(params_of_all_kinds, rows, histories, seeds, st.sets(st.integers(0, VOCAB - 1), min_size=1))
def test_a_subset_is_a_row_with_the_rest_ruled_out(
    params: SamplingParams, row: Row, history: list[int], seed: int, ids: set[int]
) -> None:
    sampler = Sampler(params, VOCAB, seed, banned=[3], eog_ids=[4], prompt_len=len(history))
    subset = TokenSubset(sorted(ids))
    assume(ids - {3} - {t for t, b in params.bias_pairs if b == -math.inf})
    whole = np.full(VOCAB, -math.inf, np.float32)
    whole[subset.ids] = row[subset.ids]
    n = len(history)
    expected = sampler.sample(whole, history, n)
    assert sampler.sample(row[subset.ids], history, n, subset) == expected
    assert expected in ids


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("axis", ["seed", "position"])
def test_frequencies_are_the_softmax(axis: str, temperature: float) -> None:
    row = np.array([1.0, 0.5, 0.0, -0.5, 2.0, -math.inf, 1.0, -1.0], np.float32)
    params = replace(PLAIN, temperature=temperature)
    draws = 4000
    counts = np.zeros(8)
    if axis == "seed":
        for seed in range(draws):
            counts[Sampler(params, 8, seed).sample(row, (), 0)] += 1
    else:
        sampler, history = Sampler(params, 8, 99), TokenHistory()
        for position in range(draws):
            counts[sampler.sample(row, history, position)] += 1
            history.append(0)
    weights = np.exp(row.astype(np.float64) / temperature)
    expected = draws * weights / weights.sum()
    assert counts[5] == 0
    alive = expected > 0
    chi = ((counts - expected)[alive] ** 2 / expected[alive]).sum()
    assert chi < 22.5  # 6 degrees of freedom: p = 0.001


def test_frequencies_after_filters_are_renormalised() -> None:
    row = np.log(np.array([0.4, 0.3, 0.2, 0.06, 0.04])).astype(np.float32)
    params = SamplingParams(temperature=1, top_k=4, top_p=0.9, min_p=0)
    # top-k leaves 0.417 0.313 0.208 0.063; their sums 0.42 0.73 0.94 reach 0.9 with the third.
    counts = np.zeros(5)
    for seed in range(3000):
        counts[Sampler(params, 5, seed).sample(row, (), 0)] += 1
    assert counts[3:].sum() == 0
    expected = 3000 * np.array([4, 3, 2]) / 9
    assert ((counts[:3] - expected) ** 2 / expected).sum() < 13.8  # 2 degrees: p = 0.001


def test_greedy_takes_the_lowest_of_the_best() -> None:
    row = np.array([1, 3, 2, 3, 3], np.float32)
    assert Sampler(GREEDY, 5, 0).sample(row, (), 0) == 1
    assert Sampler(GREEDY, 5, 0, banned=[1]).sample(row, (), 0) == 3
    assert Sampler(replace(GREEDY, temperature=-1.0), 5, 0).sample(row, (), 0) == 1


def test_greedy_looks_after_bias_and_penalties() -> None:
    row = np.array([1.0, 3.0, 2.0], np.float32)
    assert Sampler(replace(GREEDY, logit_bias={0: 2.5}), 3, 0).sample(row, (), 0) == 0
    penalised = replace(GREEDY, presence_penalty=1.5)
    assert Sampler(penalised, 3, 0).sample(row, [1], 1) == 2
    assert Sampler(replace(penalised, repeat_last_n=1), 3, 0).sample(row, [1, 0], 2) == 1


def test_a_tiny_temperature_is_greedy() -> None:
    row = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    for temperature in (1e-3, 1e-30, 5e-324):
        sampler = Sampler(replace(PLAIN, temperature=temperature), 100, 5)
        assert sampler.sample(row, (), 0) == int(row.argmax())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_end_of_generation_waits_for_min_tokens(temperature: float) -> None:
    row = np.array([0, 0, 50, 0], np.float32)
    params = SamplingParams(temperature=temperature, min_tokens=3)
    sampler = Sampler(params, 4, 1, eog_ids=[2], prompt_len=5)
    tokens = [sampler.sample(row, [0] * n, n) for n in (5, 6, 7, 8, 9)]
    assert [token == 2 for token in tokens] == [False, False, False, True, True]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_ignore_eos_bans_them_for_good(temperature: float) -> None:
    row = np.array([0, 0, 50, 0, 60], np.float32)
    params = SamplingParams(temperature=temperature, ignore_eos=True)
    sampler = Sampler(params, 5, 1, eog_ids=iter([2, 4]))
    assert not {sampler.sample(row, [0] * n, n) for n in range(50)} & {2, 4}


def test_a_draft_with_the_same_noise_agrees_more_often() -> None:
    # The reason for drafting with the target's own noise: on logits that are a little off, the
    # same noise picks the same token far more often than the draft's best token is the one.
    rng = np.random.default_rng(2)
    params = SamplingParams(temperature=1.0)
    coupled = greedy = 0
    for position in range(300):
        target = (rng.standard_normal(200) * 2).astype(np.float32)
        draft = target + (rng.standard_normal(200) * 0.3).astype(np.float32)
        sampler, history = Sampler(params, 200, 7), [0] * position
        token = sampler.sample(target, history, position)
        coupled += sampler.sample(draft, history, position) == token
        greedy += int(draft.argmax()) == token
    assert coupled > 210
    assert coupled > greedy + 60


class TestErrors:
    row = np.zeros(8, np.float32)

    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    @pytest.mark.parametrize(("value", "name"), [(math.nan, "NaN"), (math.inf, r"\+inf")])
    def test_what_is_no_logit(self, temperature: float, value: float, name: str) -> None:
        row = self.row.copy()
        row[5] = value
        sampler = Sampler(SamplingParams(temperature=temperature), 8, 0)
        with pytest.raises(HeadlongError, match=f"position 2 hold {name}"):
            sampler.sample(row, [1, 1], 2)

    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    def test_nothing_left(self, temperature: float) -> None:
        sampler = Sampler(SamplingParams(temperature=temperature), 8, 0, banned=range(8))
        with pytest.raises(HeadlongError, match="no token can be sampled at position 0"):
            sampler.sample(self.row, (), 0)
        with pytest.raises(HeadlongError, match="no token can be sampled"):
            Sampler(SamplingParams(temperature=temperature), 8, 0).sample(self.row - np.inf, (), 0)

    def test_history_and_position_disagree(self) -> None:
        with pytest.raises(HeadlongError, match="holds 3 tokens at position 4"):
            Sampler(GREEDY, 8, 0).sample(self.row, [1, 2, 3], 4)

    @pytest.mark.parametrize("row", [row[:7], row.astype(np.float64), row[None]])
    def test_another_shape_or_dtype(self, row: Row) -> None:
        with pytest.raises(HeadlongError, match=r"wanted float32 \[8\]"):
            Sampler(GREEDY, 8, 0).sample(row, (), 0)

    def test_a_subset_of_another_length(self) -> None:
        with pytest.raises(HeadlongError, match=r"wanted float32 \[2\]"):
            Sampler(GREEDY, 8, 0).sample(self.row, (), 0, TokenSubset([1, 2]))

    def test_a_bias_outside_the_vocabulary(self) -> None:
        with pytest.raises(ParameterError, match=r"logit_bias names the token 8; .* 0 to 7"):
            Sampler(SamplingParams(logit_bias={8: 1.0}), 8, 0)

    @pytest.mark.parametrize("ids", [[8], [-1, 3]])
    def test_bans_outside_the_vocabulary(self, ids: list[int]) -> None:
        with pytest.raises(HeadlongError, match="the vocabulary has 8"):
            Sampler(GREEDY, 8, 0, banned=ids)


class TestProbability:
    def test_is_the_softmax(self) -> None:
        row = (np.random.default_rng(3).standard_normal(5000) * 3).astype(np.float32)
        exact = np.exp(row.astype(np.float64))
        exact /= exact.sum()
        for column in (0, int(row.argmax()), int(row.argmin()), 4999):
            assert probability(row, column) == pytest.approx(exact[column], rel=1e-5)

    def test_ruled_out_columns(self) -> None:
        row = np.array([0.0, -math.inf, 0.0], np.float32)
        assert [probability(row, i) for i in range(3)] == [0.5, 0.0, 0.5]

    def test_of_a_subset_and_of_the_best(self) -> None:
        row = np.log(np.array([[0.1, 0.6, 0.3]])).astype(np.float32)
        assert probability(row[0], 8, TokenSubset([2, 5, 8])) == pytest.approx(0.3)
        (best,) = best_of(row, 2, log_sums=True).rows()
        assert probability(best, 1) == pytest.approx(0.6)
        with pytest.raises(HeadlongError, match="how probable the token 0 is"):
            probability(best, 0)
        with pytest.raises(HeadlongError, match="how probable the token 1 is"):
            probability(replace(best, log_sum=None), 1)
