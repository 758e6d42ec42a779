import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.errors import HeadlongError
from headlong.sampling import MAX_DRAFT
from headlong.speculation import SpeculationStats

ROUND = st.integers(0, MAX_DRAFT).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
ROUNDS = st.lists(ROUND, max_size=40)


def stats_of(rounds: list[tuple[int, int]]) -> SpeculationStats:
    stats = SpeculationStats()
    for drafted, accepted in rounds:
        stats.record(drafted, accepted)
    return stats


@given(ROUNDS)
def test_counts(rounds: list[tuple[int, int]]) -> None:
    stats = stats_of(rounds)
    deepest = max((n for n, _ in rounds), default=0)
    assert stats.rounds == len(rounds)
    assert stats.draft_n == sum(n for n, _ in rounds)
    assert stats.draft_n_accepted == sum(a for _, a in rounds)
    depths = range(1, deepest + 1)
    assert stats.draft_n_by_depth == tuple(sum(n >= d for n, _ in rounds) for d in depths)
    assert stats.accepted_by_depth == tuple(sum(a >= d for _, a in rounds) for d in depths)
    for depth, rate in zip(depths, stats.conditional_by_depth, strict=True):
        reached = [a >= depth for n, a in rounds if n >= depth and a >= depth - 1]
        assert rate == (sum(reached) / len(reached) if reached else None)
    if rounds:
        tokens = sum(a + 1 for _, a in rounds)
        assert stats.tokens_per_round == pytest.approx(tokens / len(rounds))


@given(ROUNDS, ROUNDS)
def test_adding_is_recording_both(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    total = stats_of(first)
    other = stats_of(second)
    total.spend(draft=1, verify=2, sampling=4)
    other.spend(draft=8, verify=16, sampling=32)
    total.add(other)
    together = stats_of(first + second)
    together.spend(draft=9, verify=18, sampling=36)
    assert total == together
    assert other.draft_seconds == 8


def test_nothing_yet() -> None:
    stats = SpeculationStats()
    assert stats.acceptance_rate is None
    assert stats.tokens_per_round is None
    assert stats.draft_n_by_depth == stats.conditional_by_depth == ()


def test_as_dict_is_json() -> None:
    stats = stats_of([(3, 1), (2, 2), (0, 0)])
    stats.spend(draft=0.25, verify=1.5)
    assert json.loads(json.dumps(stats.as_dict())) == {
        "rounds": 3,
        "draft_n": 5,
        "draft_n_accepted": 3,
        "draft_n_by_depth": [2, 2, 1],
        "accepted_by_depth": [2, 1, 0],
        "conditional_by_depth": [1.0, 0.5, None],
        "acceptance_rate": 0.6,
        "tokens_per_round": 2.0,
        "draft_seconds": 0.25,
        "verify_seconds": 1.5,
        "sampling_seconds": 0.0,
    }


@pytest.mark.parametrize(("drafted", "accepted"), [(1, 2), (-1, -1), (3, -1), (MAX_DRAFT + 1, 0)])
def test_a_round_that_cannot_be_is_refused(drafted: int, accepted: int) -> None:
    stats = SpeculationStats()
    with pytest.raises(HeadlongError, match="cannot be"):
        stats.record(drafted, accepted)
    assert stats == SpeculationStats()
