"""However a token is sampled, it is the same one: instruction sets, best logits or whole rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_sampler import slow_sample

from headlong import _native
from headlong.errors import HeadlongError
from headlong.ops.best import MOST_BEST, Candidates, allowed_bits
from headlong.ops.reference import best_of
from headlong.sampling import Sampler, SamplingParams, TokenSubset, most_needed

Row = npt.NDArray[np.float32]
ISAS = _native.isas()
PLAIN = SamplingParams(top_k=0, top_p=1, min_p=0)

SETTINGS = [
    SamplingParams(temperature=0),
    SamplingParams(),
    replace(PLAIN, temperature=0.7),
    replace(PLAIN, temperature=5.0),
    replace(PLAIN, top_p=0.9),
    replace(PLAIN, top_p=0.999, min_p=0.01),
    replace(PLAIN, min_p=0.02),
    replace(PLAIN, typical_p=0.7),
    replace(PLAIN, typical_p=0.97, top_p=0.8, min_p=0.1),
    SamplingParams(top_k=300, typical_p=0.6, top_p=0.7, min_p=0.0),
    SamplingParams(repeat_penalty=1.3, frequency_penalty=0.4, presence_penalty=-0.3),
]


def row_of(kind: str, size: int, seed: int) -> Row:
    """Logits of a sure model, one in doubt, flat ones, and ones with many equals."""
    rng = np.random.default_rng(seed)
    if kind == "equals":
        return rng.integers(-3, 4, size).astype(np.float32)
    power = {"sure": 3.0, "in doubt": 1.5, "flat": 0.1}[kind]
    logits = -power * np.log(np.arange(1, size + 1)) + rng.normal(0, 0.3, size)
    row = rng.permutation(logits).astype(np.float32)
    row[rng.integers(0, size, size // 50)] = -math.inf
    return row


@pytest.mark.parametrize("kind", ["sure", "in doubt", "flat", "equals"])
@pytest.mark.parametrize("params", SETTINGS, ids=lambda p: f"{p.temperature}-{p.top_k}-{p.top_p}")
def test_long_rows_as_the_slow_chain(params: SamplingParams, kind: str) -> None:
    for size in (1000, 4999):
        row = row_of(kind, size, size)
        banned = frozenset([0, 7, size - 1, int(row.argmax())])
        history = np.random.default_rng(1).integers(0, size, 90).tolist()
        for seed in range(6):
            expected = slow_sample(row.tolist(), history, params, seed, banned)
            for isa in ISAS:
                sampler = Sampler(params, size, seed, banned, isa=isa)
                assert sampler.sample(row, history, 90) == expected, (isa, seed)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("top_p", [0.3, 0.95])
def test_top_p_that_keeps_thousands(power: float, top_p: float) -> None:
    size = 40_000
    rng = np.random.default_rng(4)
    logits = -power * np.log(np.arange(1, size + 1)) + rng.normal(0, 1, size)
    row = rng.permutation(logits).astype(np.float32)
    for params in (replace(PLAIN, top_p=top_p), replace(PLAIN, top_p=top_p, min_p=1e-3)):
        for seed in range(3):
            expected = slow_sample(row.tolist(), [], params, seed)
            for isa in ISAS:
                assert Sampler(params, size, seed, isa=isa).sample(row, [], 0) == expected


def test_top_p_cuts_where_the_sum_is_reached() -> None:
    # At so high a temperature every token that is left gets drawn sooner or later.
    size = 6000
    row = np.log(np.arange(size, 0, -1)).astype(np.float32)
    params = replace(PLAIN, temperature=1e9, top_p=0.75)
    drawn = {Sampler(params, size, seed).sample(row, [], 0) for seed in range(20_000)}
    weights = np.arange(size, 0, -1)
    kept = int(np.searchsorted(np.cumsum(weights), 0.75 * weights.sum())) + 1
    assert kept - 8 <= max(drawn) < kept


@pytest.mark.parametrize("kind", ["sure", "in doubt", "flat"])
@pytest.mark.parametrize("params", SETTINGS, ids=lambda p: f"{p.temperature}-{p.top_k}-{p.top_p}")
def test_instruction_sets_agree_on_a_whole_vocabulary(params: SamplingParams, kind: str) -> None:
    size = 248_320
    row = row_of(kind, size, 3)
    for seed in range(3):
        tokens = {Sampler(params, size, seed, isa=isa).sample(row, [5, 6], 2) for isa in ISAS}
        assert len(tokens) == 1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_pruning_never_loses_the_winner(temperature: float) -> None:
    size = 3000
    ids = range(size)
    for seed in range(60):
        row = row_of(["sure", "in doubt", "flat", "equals"][seed % 4], size, seed)
        noise = np.array([_native.gumbel(seed, 0, i) for i in ids])
        scores = (row.astype(np.float64) - float(row.max())) / temperature + noise
        params = replace(PLAIN, temperature=temperature)
        for isa in ISAS:
            token = Sampler(params, size, seed, isa=isa).sample(row, [], 0)
            assert token == int(scores.argmax())


@settings(max_examples=150, deadline=None)
@given(
    params=st.sampled_from([p for p in SETTINGS if not p.penalised]).flatmap(
        lambda p: st.sampled_from(
            [p, replace(p, ignore_eos=True), replace(p, min_tokens=3), replace(p, top_k=5)]
        )
    ),
    kind=st.sampled_from(["sure", "in doubt", "flat", "equals"]),
    seed=st.integers(0, 2**32 - 1),
    more=st.integers(0, 30),
    ban=st.sets(st.integers(0, 299), max_size=8),
)
def test_the_best_logits_give_the_token_of_the_whole_row(
    params: SamplingParams, kind: str, seed: int, more: int, ban: set[int]
) -> None:
    size, unused = 300, [3, 250, 299]
    row = row_of(kind, size, seed)
    params = replace(params, logit_bias=dict.fromkeys(ban, -math.inf))
    eog = [int(row.argmax()), 17]
    sampler = Sampler(params, size, seed, unused, eog, prompt_len=2)
    if sampler.needs is None:
        assert params.top_k <= 0 or params.top_k + len(ban) > MOST_BEST - 2
        assert not params.greedy
        return
    for allowed in (allowed_bits(size, unused), None):
        # Who asks for less than what is unused here takes the risk that there are too few.
        k = min(size, sampler.needs + more + (0 if allowed is not None else len(unused)))
        (best,) = best_of(row[None], k, allowed).rows()
        for position in (2, 9):
            history = [1] * position
            token = sampler.sample(row, history, position)
            assert sampler.sample(best, history, position) == token


def test_the_best_of_a_subset() -> None:
    row = row_of("in doubt", 200, 1)
    ids = np.sort(np.random.default_rng(2).permutation(5000)[:200]).astype(np.int32)
    for params in (SamplingParams(), SamplingParams(temperature=0)):
        sampler = Sampler(params, 5000, 9)
        (best,) = best_of(row[None], 60).rows()
        some = Candidates(best.logits, ids[best.ids])
        assert sampler.sample(some, [], 0) == sampler.sample(row, [], 0, TokenSubset(ids))


@pytest.mark.parametrize(
    ("params", "needs"),
    [
        (SamplingParams(temperature=0), 1),
        (SamplingParams(temperature=0, ignore_eos=True), 3),
        (SamplingParams(temperature=0, logit_bias={5: -math.inf, 3: -math.inf}), 2),
        (SamplingParams(), 40),
        (SamplingParams(min_tokens=2), 42),
        (SamplingParams(top_k=128), 128),
        (SamplingParams(top_k=129), None),
        (SamplingParams(top_k=0), None),
        (SamplingParams(temperature=0, top_k=0), 1),
        (SamplingParams(logit_bias={5: 0.5}), None),
        (SamplingParams(temperature=0, presence_penalty=0.1), None),
        (SamplingParams(presence_penalty=0.1, repeat_last_n=0), 40),
    ],
)
def test_what_a_request_needs(params: SamplingParams, needs: int | None) -> None:
    assert Sampler(params, 1000, 0, banned=[3], eog_ids=[8, 9]).needs == needs
    assert (Sampler(params, 7, 0).needs or 0) <= 7


def test_what_a_batch_needs() -> None:
    assert most_needed([1, 40, 3]) == 40
    assert most_needed([1, None, 3]) is None
    assert most_needed([]) == 1


def test_too_few_are_refused() -> None:
    (best,) = best_of(np.zeros((1, 100), np.float32), 39).rows()
    with pytest.raises(HeadlongError, match="39 of the best logits are too few; wanted 40"):
        Sampler(SamplingParams(), 100, 0).sample(best, [], 0)
    with pytest.raises(HeadlongError, match="wanted the whole row"):
        Sampler(PLAIN, 100, 0).sample(best, [], 0)


@pytest.mark.parametrize(("value", "name"), [(math.nan, "NaN"), (math.inf, r"\+inf")])
def test_what_is_no_logit_is_found_among_the_best(value: float, name: str) -> None:
    row = np.zeros((1, 100), np.float32)
    row[0, 70] = value
    (best,) = best_of(row, 40, allowed_bits(100, [70])).rows()
    with pytest.raises(HeadlongError, match=name):
        Sampler(SamplingParams(), 100, 0, banned=[70]).sample(best, [], 0)


def test_nothing_left_of_the_best() -> None:
    (best,) = best_of(np.full((1, 50), -math.inf, np.float32), 40).rows()
    with pytest.raises(HeadlongError, match="no token can be sampled"):
        Sampler(SamplingParams(), 50, 0).sample(best, [], 0)


def test_settings_without_bounds_are_taken() -> None:
    huge = SamplingParams(top_k=10**30, repeat_last_n=10**30, presence_penalty=1, min_tokens=10**30)
    assert Sampler(huge, 9, 0, eog_ids=[4]).sample(np.zeros(9, np.float32), [4], 1) != 4
    low = SamplingParams(top_k=-(10**30), temperature=-1e300)
    assert Sampler(low, 9, 0).sample(np.arange(9, dtype=np.float32), [], 0) == 8


def test_a_penalty_may_push_a_logit_to_infinity() -> None:
    params = SamplingParams(repeat_penalty=1e-300)
    with pytest.raises(HeadlongError, match=r"\+inf"):
        Sampler(params, 4, 0).sample(np.ones(4, np.float32), [2], 1)
