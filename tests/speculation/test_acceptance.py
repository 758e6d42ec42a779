import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.sampling import MAX_DRAFT
from headlong.speculation import Acceptance

ROUND = st.integers(0, MAX_DRAFT).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


def draw(rng: random.Random, rates: list[float]) -> int:
    """How many drafts of a round are accepted."""
    accepted = 0
    while accepted < len(rates) and rng.random() < rates[accepted]:
        accepted += 1
    return accepted


@given(st.lists(ROUND, max_size=60), st.lists(ROUND, max_size=60))
def test_rates_are_probabilities_and_survival_falls(
    shared: list[tuple[int, int]], own: list[tuple[int, int]]
) -> None:
    engine = Acceptance()
    for n, accepted in shared:
        engine.record(n, accepted)
    request = Acceptance(prior=engine)
    for n, accepted in own:
        request.record(n, accepted)
    for acceptance in (engine, request):
        assert all(0 < rate < 1 for rate in acceptance.rates(MAX_DRAFT))
        survival = acceptance.survival(MAX_DRAFT)
        assert survival == sorted(survival, reverse=True)
        assert acceptance.rates(4) == acceptance.rates(MAX_DRAFT)[:4]
        for n in range(MAX_DRAFT + 1):
            assert acceptance.expected_tokens(n) == pytest.approx(1 + sum(survival[:n]))


@pytest.mark.parametrize("rates", [[0.9, 0.7, 0.5, 0.3], [0.1, 0.1, 0.1, 0.1], [0.99] * 4])
def test_learns_the_rates(rates: list[float]) -> None:
    rng = random.Random(1)
    engine = Acceptance()
    request = Acceptance(prior=engine)
    mean = [0.0] * 4
    for i in range(1200):
        accepted = draw(rng, rates)
        request.record(4, accepted)
        engine.record(4, accepted)
        if i >= 200:
            mean = [m + r / 1000 for m, r in zip(mean, request.rates(4), strict=True)]
    # What is rarely reached is known less well.
    for depth, (found, rate) in enumerate(zip(mean, rates, strict=True)):
        assert found == pytest.approx(rate, abs=0.05 if rates[0] > 0.5 or depth == 0 else 0.2)


def test_the_prior_speaks_first_and_then_the_request() -> None:
    engine = Acceptance()
    for _ in range(300):
        engine.record(2, 2)
    request = Acceptance(prior=engine)
    assert request.rates(1)[0] == pytest.approx(engine.rates(1)[0])
    assert request.rates(1)[0] > 0.9
    for _ in range(30):
        request.record(2, 0)
    assert request.rates(1)[0] < 0.25
    assert engine.rates(1)[0] > 0.9


def test_deeper_depths_are_expected_between_the_engine_and_the_request() -> None:
    engine = Acceptance()
    for _ in range(300):
        engine.record(2, 2)
    request = Acceptance(prior=engine)
    for _ in range(100):
        request.record(1, 0)  # says nothing about depth 2 itself
    first, second = request.rates(2)
    assert second == pytest.approx((first + engine.rates(2)[1]) / 2)


def test_old_rounds_fade() -> None:
    acceptance = Acceptance()
    for _ in range(500):
        acceptance.record(1, 1)
    for _ in range(64):
        acceptance.record(1, 0)
    # After one half-life the new rounds weigh as much as all before them.
    assert acceptance.rates(1)[0] == pytest.approx(0.5, abs=0.05)


def test_only_reached_depths_say_something() -> None:
    acceptance = Acceptance()
    before = acceptance.rates(MAX_DRAFT)
    acceptance.record(0, 0)
    assert acceptance.rates(MAX_DRAFT) == before
    acceptance.record(3, 1)  # right, wrong, unknown
    first, second, third = acceptance.rates(3)
    assert first > before[0]
    assert second < first
    assert third == pytest.approx(second)


def test_a_depth_nobody_reached_is_expected_like_the_one_before() -> None:
    acceptance = Acceptance()
    for _ in range(200):
        acceptance.record(1, 1)
    assert acceptance.rates(3)[2] > 0.9


def test_remembers_when_a_depth_was_last_tried() -> None:
    acceptance = Acceptance()
    acceptance.record(2, 1)
    assert [acceptance.rounds_since(d) for d in (1, 2, 3)] == [0, 0, 1]
    assert [acceptance.last_accepted(d) for d in (1, 2, 3)] == [True, False, False]
    acceptance.record(1, 0)
    acceptance.record(0, 0)
    assert [acceptance.rounds_since(d) for d in (1, 2, 3)] == [1, 2, 3]
    assert [acceptance.last_accepted(d) for d in (1, 2, 3)] == [False, False, False]


def test_how_deep_to_look() -> None:
    engine = Acceptance()
    assert engine.horizon == 4
    assert Acceptance(prior=engine).horizon == 4
    request = Acceptance(prior=engine)
    request.record(4, 4)
    assert request.horizon == 9
    for _ in range(400):
        engine.record(MAX_DRAFT, MAX_DRAFT)
    assert Acceptance(prior=engine).horizon == MAX_DRAFT
    for _ in range(400):
        engine.record(2, 0)
    assert Acceptance(prior=engine).horizon == 4
